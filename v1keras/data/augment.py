"""Random affine maps and flips of training images.

The corruptions of the robustness benchmarks are deliberately not among them: a model
that has trained on them says nothing about robustness to others.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    import tensorflow as tf

    Floats = np.ndarray | tf.Tensor


def affine_transforms(
    rotation: Floats,
    translation: Floats,
    scale: Floats,
    flip: Floats,
    image_shape: tuple[Any, Any],
) -> Floats:
    """Maps from result pixels to image pixels, one for each image of a batch.

    The image is flipped, scaled and rotated about its centre, then shifted. Tensors of
    TensorFlow and arrays of NumPy are accepted, and returned.

    Args:
        rotation: float32 tensor or array (B,). Angles in radians; positive ones turn the
            image clockwise as it is seen.
        translation: float32 tensor or array (B, 2). Shifts to the right and down in
            pixels.
        scale: float32 tensor or array (B,). Enlargement; 1 keeps the size.
        flip: bool tensor or array (B,). Whether left and right are exchanged.
        image_shape: pair of int or of float32 scalars. Height and width in pixels.

    Returns:
        float32 tensor or array (B, 8), as `tf.raw_ops.ImageProjectiveTransformV3` takes
        it.
    """
    library = _library(rotation)
    height, width = image_shape
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    # The inverse of result = R s F (pixel - centre) + centre + translation.
    cosine, sine = library.cos(rotation) / scale, library.sin(rotation) / scale
    mirror = library.where(flip, np.float32(-1), np.float32(1))
    a0, a1 = mirror * cosine, mirror * sine
    b0, b1 = -sine, cosine
    x, y = centre_x + translation[:, 0], centre_y + translation[:, 1]
    a2 = centre_x - a0 * x - a1 * y
    b2 = centre_y - b0 * x - b1 * y
    zero = library.zeros_like(a0)
    return library.stack([a0, a1, a2, b0, b1, b2, zero, zero], axis=1)


def transform_images(images: Floats, transforms: Floats) -> Floats:
    """Resamples a batch once, bilinearly; what lies outside of an image is black.

    Args:
        images: float32 tensor or array (B, H, W, C).
        transforms: float32 tensor or array (B, 8), see `affine_transforms`.

    Returns:
        float32 (B, H, W, C), an array if `transforms` is one.
    """
    if isinstance(transforms, np.ndarray):
        pairs = zip(images, transforms, strict=True)
        return np.stack([_transform_array(image, each) for image, each in pairs])
    import tensorflow as tf

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


def _transform_array(image: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """What TensorFlow's kernel computes of one image (H, W, C).

    OpenCV is no faster at it, and before version 5 rounds positions to 1/32 of a pixel.
    """
    height, width, channels = image.shape
    a0, a1, a2, b0, b1, b2 = transform[:6]
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    # A frame of one black pixel stands for all that is outside.
    framed = np.pad(image, ((1, 1), (1, 1), (0, 0))).reshape(-1, channels)
    (left, right, of_x), (top, bottom, of_y) = (
        _neighbours(a0 * x + a1 * y + a2, width),
        _neighbours(b0 * x + b1 * y + b2, height),
    )

    def row(places: np.ndarray) -> np.ndarray:
        first, second = (framed[places * (width + 2) + side] for side in (left, right))
        return first + of_x * (second - first)

    above, below = row(top), row(bottom)
    return above + of_y * (below - above)


def _neighbours(
    position: np.ndarray, length: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels on both sides of positions, in a frame, and the way between them."""
    before = np.floor(position)
    pixels = (np.clip(before + n, -1, length).astype(np.intp) + 1 for n in (0, 1))
    return *pixels, (position - before)[..., None]


def _library(values: Floats) -> Any:
    """NumPy for its arrays, TensorFlow for everything else."""
    if isinstance(values, np.ndarray):
        return np
    import tensorflow as tf

    return tf


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
    >>> images, unit = np.zeros((8, 64, 64, 3), "float32"), np.zeros((8, 5), "float32")
    >>> augment.apply(images, unit).shape
    (8, 64, 64, 3)
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
        """Augments a batch with TensorFlow; the same seed draws the same maps.

        Args:
            images: float32 tensor (B, H, W, C).
            seed: int tensor (2,).

        Returns:
            float32 tensor (B, H, W, C).
        """
        import tensorflow as tf

        unit = tf.random.stateless_uniform((tf.shape(images)[0], self.DRAWS), seed)
        return self.apply(images, unit)

    def apply(self, images: Floats, unit: Floats) -> Floats:
        """Augments a batch by given draws, those of an image in each row.

        Args:
            images: float32 tensor or array (B, H, W, C).
            unit: float32 tensor or array (B, `DRAWS`). Uniform on [0, 1).

        Returns:
            float32 (B, H, W, C), an array if `unit` is one.
        """
        height, width = _sides(images, unit)
        library = _library(unit)
        signed = 2 * unit - 1
        transforms = affine_transforms(
            rotation=signed[:, 0] * math.radians(self.rotation),
            translation=signed[:, 1:3]
            * self.translation
            * library.stack([width, height]),
            scale=self.scale[0] + (self.scale[1] - self.scale[0]) * unit[:, 3],
            flip=(unit[:, 4] < 0.5) & self.flip,
            image_shape=(height, width),
        )
        return transform_images(images, transforms)


def _sides(images: Floats, unit: Floats) -> tuple[Any, Any]:
    """Height and width as float32 scalars, of what `unit` is."""
    if isinstance(unit, np.ndarray):
        return np.float32(images.shape[1]), np.float32(images.shape[2])
    import tensorflow as tf

    sides = tf.cast(tf.shape(images), tf.float32)
    return sides[1], sides[2]
