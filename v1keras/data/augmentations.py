"""The augmentations that have a name."""

import dataclasses
from typing import ClassVar, Protocol

import tensorflow as tf

from v1keras.data.augment import AffineAugmentation
from v1keras.data.augmix import AugMixAugmentation
from v1keras.data.prime import PrimeAugmentation


class Augmentation(Protocol):
    """What `training_batches` takes: see `AffineAugmentation`."""

    DRAWS: ClassVar[int]
    """How many random numbers one image takes; at most `AffineAugmentation.DRAWS`."""

    def apply(self, images: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
        """Augments images (B, H, W, 3), 0..255, by draws (B, at least `DRAWS`)."""


@dataclasses.dataclass(frozen=True)
class SequentialAugmentation:
    """Several augmentations, one after the other.

    Args:
        stages: tuple of `Augmentation`. They derive what they do from the same draws,
            each in its own way.

    Example:

    >>> augment = v1keras.data.SequentialAugmentation(
    ...     (v1keras.data.AffineAugmentation(), v1keras.data.PrimeAugmentation())
    ... )
    """

    stages: tuple[Augmentation, ...]

    @property
    def DRAWS(self) -> int:
        """How many random numbers one image takes."""
        return max(stage.DRAWS for stage in self.stages)

    def apply(self, images: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
        """Augments a batch by given draws; see `AffineAugmentation.apply`."""
        for stage in self.stages:
            images = stage.apply(images, unit)
        return images


_PAPER = AffineAugmentation()
AUGMENTATIONS: dict[str, Augmentation | None] = {
    "paper": _PAPER,
    "prime": SequentialAugmentation((_PAPER, PrimeAugmentation())),
    "augmix": SequentialAugmentation((_PAPER, AugMixAugmentation())),
    "none": None,
}
"""The affine maps and flips of Baidya et al. 2021 stand before the other two."""


def get_augmentation(augment: str | Augmentation | None) -> Augmentation | None:
    """Resolves a name.

    Args:
        augment: str, `Augmentation` or None.

    Returns:
        An `Augmentation`, or `None` for no augmentation.

    Raises:
        ValueError: if there is no augmentation of that name.
    """
    if not isinstance(augment, str):
        return augment
    if augment not in AUGMENTATIONS:
        raise ValueError(
            f"`augment` must be one of {', '.join(AUGMENTATIONS)}. "
            f"Received: augment={augment!r}"
        )
    return AUGMENTATIONS[augment]
