"""AugMix without the operations that resemble corruptions of the benchmark."""

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf

from v1keras.data.augment import transform_images
from v1keras.data.chains import chain_lengths, image_seeds, mix_chains, uniform

_OPERATION_STREAM, _STRENGTH_STREAM = 1, 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class AugMixAugmentation:
    """Mixtures of chains of geometric operations, drawn for each image.

    Hendrycks et al. 2020, "AugMix: A Simple Data Processing Method to Improve
    Robustness and Uncertainty" (ICLR, arXiv 1912.02781). Each of `width` chains applies
    one to `depth` of rotation, shear and translation; the chains are mixed by random
    weights, and the mixture with the image itself. The paper's operations on colour and
    contrast (autocontrast, equalize, posterize, solarize) are left out, and so is its
    consistency loss. A chain is one affine map, so that each is resampled once.

    Args:
        width: int. The number of chains. Defaults to `3`.
        depth: int. The most operations in a chain. Defaults to `3`.
        rotation: float. The largest angle, in degrees. Defaults to `9.0`.
        shear: float. The largest shear. Defaults to `0.09`.
        translation: float. The largest shift, as a share of the side. Defaults to
            `0.1`.

    Raises:
        ValueError: if a value is out of range.

    Example:

    >>> augment = v1keras.data.AugMixAugmentation(width=2)
    >>> augment.apply(np.zeros((8, 32, 32, 3), "float32"), np.ones((8, 5))).shape
    TensorShape([8, 32, 32, 3])
    """

    DRAWS: ClassVar[int] = 2
    """How many random numbers one image takes; the rest derives from them."""

    width: int = 3
    depth: int = 3
    rotation: float = 9.0
    shear: float = 0.09
    translation: float = 0.1

    def __post_init__(self) -> None:
        for name in ("width", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: "
                    f"{name}={getattr(self, name)}"
                )
        for name, limit in (("rotation", 180), ("shear", 1), ("translation", 1)):
            if not 0 <= getattr(self, name) <= limit:
                raise ValueError(
                    f"`{name}` must lie between 0 and {limit}. Received: "
                    f"{name}={getattr(self, name)}"
                )

    def apply(self, images: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
        """Augments a batch by given draws, those of an image in each row.

        Args:
            images: float32 tensor (B, H, W, C).
            unit: float32 tensor (B, at least `DRAWS`). Uniform on [0, 1).

        Returns:
            float32 tensor (B, H, W, C).
        """
        seeds = image_seeds(unit)
        places = self.width * self.depth
        operations = tf.cast(uniform(seeds, places, _OPERATION_STREAM) * 5, tf.int32)
        strengths = 2.0 * uniform(seeds, places, _STRENGTH_STREAM) - 1.0
        lengths = chain_lengths(seeds, self.width, self.depth)
        sides = tf.cast(tf.shape(images)[1:3], tf.float32)
        chains = []
        for chain in range(self.width):
            matrix = tf.eye(3, batch_shape=[tf.shape(images)[0]])
            for step in range(self.depth):
                place = chain * self.depth + step
                operation = self._matrices(
                    operations[:, place], strengths[:, place], sides
                )
                active = (step < lengths[:, chain])[:, None, None]
                matrix = tf.where(active, tf.matmul(matrix, operation), matrix)
            chains.append(transform_images(images, _about_centre(matrix, sides)))
        return mix_chains(images, chains, seeds)

    def _matrices(self, operation, strength, sides) -> tf.Tensor:
        """Homogeneous maps (B, 3, 3) of (x, y) relative to the centre.

        The operations are rotation, shear along x and y, and shift along x and y.
        """
        chosen = [strength * tf.cast(operation == n, tf.float32) for n in range(5)]
        angle = chosen[0] * math.radians(self.rotation)
        cosine, sine = tf.cos(angle), tf.sin(angle)
        shear_x, shear_y = chosen[1] * self.shear, chosen[2] * self.shear
        shift_x = chosen[3] * self.translation * sides[1]
        shift_y = chosen[4] * self.translation * sides[0]
        zero, one = tf.zeros_like(angle), tf.ones_like(angle)
        # At most one operation differs from the identity, so that they add up.
        rows = (
            (cosine, shear_x - sine, shift_x),
            (shear_y + sine, cosine, shift_y),
            (zero, zero, one),
        )
        return tf.stack([tf.stack(row, axis=1) for row in rows], axis=1)


def _about_centre(matrix: tf.Tensor, sides: tf.Tensor) -> tf.Tensor:
    """Maps about the centre as `transform_images` takes them, (B, 8)."""
    y, x = tf.unstack((sides - 1.0) / 2.0)
    shift_x = matrix[:, 0, 2] + x - matrix[:, 0, 0] * x - matrix[:, 0, 1] * y
    shift_y = matrix[:, 1, 2] + y - matrix[:, 1, 0] * x - matrix[:, 1, 1] * y
    zero = tf.zeros_like(shift_x)
    return tf.stack(
        [
            *(matrix[:, 0, 0], matrix[:, 0, 1], shift_x),
            *(matrix[:, 1, 0], matrix[:, 1, 1], shift_y),
            *(zero, zero),
        ],
        axis=1,
    )
