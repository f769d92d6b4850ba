"""Random affine maps and flips of training images.

The corruptions of the robustness benchmarks are deliberately not among them: a model
that has trained on them says nothing about robustness to others.
"""

import dataclasses
import math
from typing import ClassVar

import tensorflow as tf


def affine_transforms(
    rotation: tf.Tensor,
    translation: tf.Tensor,
    scale: tf.Tensor,
    flip: tf.Tensor,
    image_shape: tuple[tf.Tensor | int, tf.Tensor | int],
) -> tf.Tensor:
    """Maps from result pixels to image pixels, one for each image of a batch.

    The image is flipped, scaled and rotated about its centre, then shifted.

    Args:
        rotation: float tensor (B,). Angles in radians; positive ones turn the image
            clockwise as it is seen.
        translation: float tensor (B, 2). Shifts to the right and down in pixels.
        scale: float tensor (B,). Enlargement; 1 keeps the size.
        flip: bool tensor (B,). Whether left and right are exchanged.
        image_shape: pair of int. Height and width in pixels.

    Returns:
        float32 tensor (B, 8), as `tf.raw_ops.ImageProjectiveTransformV3` takes it.
    """
    height, width = (tf.cast(side, tf.float32) for side in image_shape)
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    # The inverse of result = R s F (pixel - centre) + centre + translation.
    cosine, sine = tf.cos(rotation) / scale, tf.sin(rotation) / scale
    mirror = tf.where(flip, -1.0, 1.0)
    a0, a1 = mirror * cosine, mirror * sine
    b0, b1 = -sine, cosine
    x, y = centre_x + translation[:, 0], centre_y + translation[:, 1]
    a2 = centre_x - a0 * x - a1 * y
    b2 = centre_y - b0 * x - b1 * y
    zero = tf.zeros_like(a0)
    return tf.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


def transform_images(images: tf.Tensor, transforms: tf.Tensor) -> tf.Tensor:
    """Resamples a batch once, bilinearly; what lies outside of an image is black.

    Args:
        images: float32 tensor (B, H, W, C).
        transforms: float32 tensor (B, 8), see `affine_transforms`.

    Returns:
        float32 tensor (B, H, W, C).
    """
    # Not `keras.ops.image.affine_transform`, which computes the same: under JAX or
    # PyTorch as Keras' backend it could not run in `tf.data`.
    resampled = tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=transforms,
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(resampled, images.shape)


@dataclasses.dataclass(frozen=True)
class AffineAugmentation:
    """Random affine maps and horizontal flips, drawn for each image.

    The defaults are those of Baidya et al. 2021 (arXiv 2110.10645). Flip, scaling,
    rotation and shift are one map, so that images are resampled only once.

    Args:
        rotation: float. Angles lie between `-rotation` and `rotation` degrees.
            Defaults to `30.0`.
        translation: float. Shifts lie between plus and minus this share of the width
            and height. Defaults to `0.05`.
        scale: pair of float. Range of the enlargement. Defaults to `(1.0, 1.2)`.
        flip: bool. Whether half of the images are mirrored. Defaults to `True`.

    Example:

    >>> augment = AffineAugmentation(rotation=10.0)
    >>> augment(tf.zeros((8, 64, 64, 3)), seed=(0, 1)).shape
    TensorShape([8, 64, 64, 3])
    """

    DRAWS: ClassVar[int] = 5
    """How many random numbers one image takes."""

    rotation: float = 30.0
    translation: float = 0.05
    scale: tuple[float, float] = (1.0, 1.2)
    flip: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.rotation <= 180:
            raise ValueError(
                "`rotation` must lie between 0 and 180 degrees. "
                f"Received: rotation={self.rotation}"
            )
        if not 0 <= self.translation < 1:
            raise ValueError(
                "`translation` must lie between 0 and 1. "
                f"Received: translation={self.translation}"
            )
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(
                "`scale` must be a positive, increasing range. "
                f"Received: scale={self.scale}"
            )

    def __call__(
        self, images: tf.Tensor, seed: tf.Tensor | tuple[int, int]
    ) -> tf.Tensor:
        """Augments a batch; the same seed draws the same maps.

        Args:
            images: float32 tensor (B, H, W, C).
            seed: int tensor (2,).

        Returns:
            float32 tensor (B, H, W, C).
        """
        unit = tf.random.stateless_uniform((tf.shape(images)[0], self.DRAWS), seed)
        return self.apply(images, unit)

    def apply(self, images: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
        """Augments a batch by given draws, those of an image in each row.

        Args:
            images: float32 tensor (B, H, W, C).
            unit: float32 tensor (B, `DRAWS`). Uniform on [0, 1).

        Returns:
            float32 tensor (B, H, W, C).
        """
        shape = tf.shape(images)
        height, width = shape[1], shape[2]
        signed = 2 * unit - 1
        sides = tf.cast(tf.stack([width, height]), tf.float32)
        transforms = affine_transforms(
            rotation=signed[:, 0] * math.radians(self.rotation),
            translation=signed[:, 1:3] * self.translation * sides,
            scale=self.scale[0] + (self.scale[1] - self.scale[0]) * unit[:, 3],
            flip=(unit[:, 4] < 0.5) & self.flip,
            image_shape=(height, width),
        )
        return transform_images(images, transforms)
