"""Augmentations by their names."""

import dataclasses
from typing import Any, ClassVar, Protocol

from v1keras.data.augment import AffineAugmentation
from v1keras.hardware import require_tensorflow


class Augmentation(Protocol):
    """What `training_batches` takes: see `AffineAugmentation`."""

    DRAWS: ClassVar[int]
    """How many random numbers one image takes; at most `AffineAugmentation.DRAWS`."""

    def apply(self, images: Any, unit: Any) -> Any:
        """Augments images (B, H, W, 3), 0..255, by draws (B, at least `DRAWS`).

        They are float32 tensors where TensorFlow computes, and otherwise NumPy arrays.
        """


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

    def apply(self, images: Any, unit: Any) -> Any:
        """Augments a batch by given draws; see `AffineAugmentation.apply`."""
        for stage in self.stages:
            images = stage.apply(images, unit)
        return images


AUGMENTATIONS = ("paper", "prime", "augmix", "none")
"""The augmentations that have a name.

The affine maps and flips of Baidya et al. 2021 are `"paper"`, and stand before the
random mixtures of transformations of `"prime"` and `"augmix"`.
"""


def get_augmentation(augment: str | Augmentation | None) -> Augmentation | None:
    """Resolves a name.

    Args:
        augment: str, `Augmentation` or None.

    Returns:
        An `Augmentation`, or `None` for no augmentation.

    Raises:
        ValueError: if there is no augmentation of that name, or it needs TensorFlow and
            another back-end computes.
    """
    if not isinstance(augment, str):
        return augment
    if augment not in AUGMENTATIONS:
        raise ValueError(
            f"`augment` must be one of {', '.join(AUGMENTATIONS)}. "
            f"Received: augment={augment!r}"
        )
    if augment == "none":
        return None
    if augment == "paper":
        return AffineAugmentation()
    require_tensorflow(f"The augmentation {augment}")
    from v1keras.data.augmix import AugMixAugmentation
    from v1keras.data.prime import PrimeAugmentation

    mixtures = PrimeAugmentation() if augment == "prime" else AugMixAugmentation()
    return SequentialAugmentation((AffineAugmentation(), mixtures))
