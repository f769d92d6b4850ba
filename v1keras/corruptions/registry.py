"""The corruptions by name, their categories and their parameters."""

import dataclasses
import types
from collections.abc import Callable, Mapping

import numpy as np

from v1keras.corruptions import blur, digital, noise, weather
from v1keras.corruptions.severities import PARAMETERS, SEVERITIES


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One corruption of the benchmark.

    Attributes:
        name: str. The name of its folder in ImageNet-C.
        category: str. `"noise"`, `"blur"`, `"weather"` or `"digital"`.
        extra: bool. Whether it is one of the four that were published for tuning
            and that no benchmark figure contains.
        function: callable. Takes a uint8 batch (B, H, W, 3), the parameters of one
            severity and, where it is random, a random generator per image; returns a
            uint8 batch.
        random: bool. Whether the result depends on the seed.
    """

    name: str
    category: str
    extra: bool
    function: Callable[..., np.ndarray]
    random: bool

    def parameters(self, severity: int, scale: str) -> object:
        """The published parameters at a severity (1..5) and scale."""
        return PARAMETERS[scale][self.name][severity - 1]


def _table(*corruptions: Corruption) -> Mapping[str, Corruption]:
    return types.MappingProxyType({c.name: c for c in corruptions})


CORRUPTIONS = _table(
    Corruption("gaussian_noise", "noise", False, noise.gaussian_noise, True),
    Corruption("shot_noise", "noise", False, noise.shot_noise, True),
    Corruption("impulse_noise", "noise", False, noise.impulse_noise, True),
    Corruption("defocus_blur", "blur", False, blur.defocus_blur, False),
    Corruption("glass_blur", "blur", False, blur.glass_blur, True),
    Corruption("motion_blur", "blur", False, blur.motion_blur, True),
    Corruption("zoom_blur", "blur", False, blur.zoom_blur, False),
    Corruption("snow", "weather", False, weather.snow, True),
    Corruption("frost", "weather", False, weather.frost, True),
    Corruption("fog", "weather", False, weather.fog, True),
    Corruption("brightness", "weather", False, weather.brightness, False),
    Corruption("contrast", "digital", False, digital.contrast, False),
    Corruption("elastic_transform", "digital", False, digital.elastic_transform, True),
    Corruption("pixelate", "digital", False, digital.pixelate, False),
    Corruption("jpeg_compression", "digital", False, digital.jpeg_compression, False),
    Corruption("speckle_noise", "noise", True, noise.speckle_noise, True),
    Corruption("gaussian_blur", "blur", True, blur.gaussian_blur, False),
    Corruption("spatter", "weather", True, weather.spatter, True),
    Corruption("saturate", "digital", True, digital.saturate, False),
)

BENCHMARK = tuple(name for name, c in CORRUPTIONS.items() if not c.extra)
EXTRA = tuple(name for name, c in CORRUPTIONS.items() if c.extra)
CATEGORIES = types.MappingProxyType(
    {
        category: tuple(n for n in BENCHMARK if CORRUPTIONS[n].category == category)
        for category in ("noise", "blur", "weather", "digital")
    }
)

# Names that other sources give to the same corruptions.
_OTHER_NAMES = types.MappingProxyType(
    {
        # TensorFlow Datasets, cifar10_corrupted.
        "frosted_glass_blur": "glass_blur",
        "elastic": "elastic_transform",
        # Titles in the paper and in the published code.
        "jpeg": "jpeg_compression",
        "glass": "glass_blur",
        "impulse": "impulse_noise",
        "shot": "shot_noise",
        "speckle": "speckle_noise",
        "defocus": "defocus_blur",
        "motion": "motion_blur",
        "zoom": "zoom_blur",
    }
)


def canonical_name(name: str) -> str:
    """Translates the name that another source gives to a corruption.

    Knows the folders of ImageNet-C and Tiny ImageNet-C, the archives of CIFAR-10-C
    and CIFAR-100-C (`fog.npy`), and the names in TensorFlow Datasets'
    `imagenet2012_corrupted` and `cifar10_corrupted`, with or without their severity
    (`frosted_glass_blur_3`). Capitals, blanks and hyphens do not matter.

    Args:
        name: str. The name in the other source.

    Returns:
        str. A key of `CORRUPTIONS`.

    Raises:
        ValueError: No corruption has this name.

    Example:

    >>> canonical_name("frosted_glass_blur")
    'glass_blur'
    """
    key = str(name).strip().lower().replace(" ", "_").replace("-", "_")
    key = key.removesuffix(".npy")
    stem, _, ending = key.rpartition("_")
    if ending in {str(severity) for severity in SEVERITIES}:
        key = stem
    key = _OTHER_NAMES.get(key, key)
    if key not in CORRUPTIONS:
        raise ValueError(
            f"`name` must be one of {', '.join(CORRUPTIONS)}. Received: name={name!r}"
        )
    return key
