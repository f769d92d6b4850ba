"""Mixtures of two clean images: mixup and cutmix."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Mixing:
    """Mixes each image of a batch with the one before it, and its targets likewise.

    Mixup (Zhang et al. 2018, arXiv 1710.09412) blends the whole images, cutmix (Yun et
    al. 2019, arXiv 1905.04899) pastes a box of one into the other. An image's share
    of the mixture is drawn from Beta(a, a) for each image. Where both are wanted, each
    image takes one of them by chance.

    Args:
        mixup: float. The parameter `a` of mixup; 0 for none. Defaults to `0.0`.
        cutmix: float. The parameter `a` of cutmix; 0 for none. Defaults to `0.0`.

    Raises:
        ValueError: if a parameter is negative, or both are 0.

    Example:

    >>> import tensorflow as tf
    >>> mixing = Mixing(mixup=0.2)
    >>> images, (labels,) = mixing(tf.zeros((8, 64, 64, 3)), [tf.eye(8)], seed=(0, 1))
    >>> labels.shape
    TensorShape([8, 8])
    """

    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        if min(self.mixup, self.cutmix) < 0 or not (self.mixup or self.cutmix):
            raise ValueError(
                "`mixup` and `cutmix` must be at least 0, one of them positive. "
                f"Received: mixup={self.mixup}, cutmix={self.cutmix}"
            )

    def __call__(
        self,
        images: tf.Tensor,
        targets: Sequence[tf.Tensor],
        seed: tf.Tensor | tuple[int, int],
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        """Mixes a batch; the same seed makes the same mixtures.

        Args:
            images: float32 tensor (B, H, W, C).
            targets: sequence of float tensors (B, classes), such as distributions over
                the classes. They are mixed linearly, by the images' shares of pixels.
            seed: int tensor (2,).

        Returns:
            A tuple of the mixed images and a tuple of the mixed targets.
        """
        import tensorflow as tf

        own = self._own(tf.shape(images), tf.random.split(seed, 4))
        mixed = own * images + (1 - own) * tf.roll(images, 1, axis=0)
        share = tf.reduce_mean(own, axis=(1, 2))
        return mixed, tuple(
            share * target + (1 - share) * tf.roll(target, 1, axis=0)
            for target in targets
        )

    def _own(self, shape: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """How much of each pixel is the image's own: float32 (B, H, W, 1)."""
        import tensorflow as tf

        batch, height, width = shape[0], shape[1], shape[2]
        blended = pasted = None
        if self.mixup:
            share = _beta(batch, self.mixup, seeds[0])[:, None, None, None]
            blended = tf.tile(share, (1, height, width, 1))
        if self.cutmix:
            share = _beta(batch, self.cutmix, seeds[1])
            pasted = _outside_of_boxes(share, height, width, seeds[2])
        if blended is None or pasted is None:
            return pasted if blended is None else blended
        blend = tf.random.stateless_uniform((batch, 1, 1, 1), seeds[3]) < 0.5
        return tf.where(blend, blended, pasted)


def _beta(batch: tf.Tensor, a: float, seed: tf.Tensor) -> tf.Tensor:
    """Draws from Beta(a, a), as a ratio of gamma variates."""
    import tensorflow as tf

    first, second = tf.unstack(tf.random.stateless_gamma((2, batch), seed, alpha=a))
    # For a small `a` both may underflow to 0.
    return tf.math.divide_no_nan(first, first + second)


def _outside_of_boxes(
    share: tf.Tensor, height: tf.Tensor, width: tf.Tensor, seed: tf.Tensor
) -> tf.Tensor:
    """1 outside of a box of the area `1 - share` around a random centre, 0 inside."""
    import tensorflow as tf

    side = tf.sqrt(1 - share)[:, None]
    centre = tf.random.stateless_uniform((2, tf.shape(share)[0], 1), seed)

    def within(position: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        length = tf.cast(length, tf.float32)
        pixels = (tf.range(length) + 0.5) / length
        return tf.abs(pixels - position) < side / 2

    rows, columns = within(centre[0], height), within(centre[1], width)
    inside = rows[:, :, None] & columns[:, None, :]
    return 1 - tf.cast(inside, tf.float32)[..., None]
