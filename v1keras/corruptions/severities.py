"""The published parameters of every corruption at its five severities.

Source of all figures: Hendrycks & Dietterich, "Benchmarking Neural Network
Robustness to Common Corruptions and Perturbations", ICLR 2019 (arXiv 1903.12261) and
the authors' published settings for ImageNet-C (`imagenet`, images of 224 px) and
Tiny ImageNet-C (`tiny`, images of 64 px). Lengths are pixels of those images and are
not scaled to others.
"""

import types
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

SEVERITIES = (1, 2, 3, 4, 5)
SCALES = ("imagenet", "tiny")
# The published benchmarks were stored as JPEG files of this quality after corruption.
STORED_JPEG_QUALITY = 85


def check_severities(severities: Iterable[int], name: str = "severities") -> None:
    """Refuses severities that do not exist, and none at all.

    Args:
        severities: iterable of int.
        name: str. The argument that they come from. Defaults to `"severities"`.

    Raises:
        ValueError: if one is not in 1..5, or there is none.
    """
    severities = list(severities)
    if not severities or any(severity not in SEVERITIES for severity in severities):
        shown = ",".join(map(str, severities))
        raise ValueError(f"`{name}` must be integers in 1..5. Received: {name}={shown}")


def check_scale(scale: str | None) -> None:
    """Refuses unknown severity tables. `None` stands for that of the images' size."""
    if scale not in (None, *SCALES):
        raise ValueError(
            f"`scale` must be one of {', '.join(SCALES)}. Received: scale={scale!r}"
        )


def _zooms(stop: float, step: float) -> tuple[float, ...]:
    """1, 1 + step, ... up to and with `stop`."""
    return tuple(np.arange(1, stop + step / 2, step).tolist())


# What the five entries of each row mean stands in the docstring of the function of
# the same name in noise.py, blur.py, weather.py and digital.py.
_IMAGENET: dict[str, tuple[Any, Any, Any, Any, Any]] = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
    "shot_noise": (60, 25, 12, 5, 3),
    "impulse_noise": (0.03, 0.06, 0.09, 0.17, 0.27),
    "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
    "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
    # The first ends at 1.11, not 1.10: rounding lets the published range reach it.
    "zoom_blur": (
        _zooms(1.11, 0.01),
        _zooms(1.15, 0.01),
        _zooms(1.20, 0.02),
        _zooms(1.24, 0.02),
        _zooms(1.30, 0.03),
    ),
    "snow": (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    ),
    "frost": ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    # The published factor is 244, a slip for 224 that the benchmark keeps.
    "elastic_transform": (
        (244 * 2, 244 * 0.7, 244 * 0.1),
        (244 * 2, 244 * 0.08, 244 * 0.2),
        (244 * 0.05, 244 * 0.01, 244 * 0.02),
        (244 * 0.07, 244 * 0.01, 244 * 0.02),
        (244 * 0.12, 244 * 0.01, 244 * 0.02),
    ),
    "pixelate": (0.6, 0.5, 0.4, 0.3, 0.25),
    "jpeg_compression": (25, 18, 15, 10, 7),
    "speckle_noise": (0.15, 0.2, 0.35, 0.45, 0.6),
    "gaussian_blur": (1, 2, 3, 4, 6),
    "spatter": (
        (0.65, 0.3, 4, 0.69, 0.6, 0),
        (0.65, 0.3, 3, 0.68, 0.6, 0),
        (0.65, 0.3, 2, 0.68, 0.5, 0),
        (0.65, 0.3, 1, 0.65, 1.5, 1),
        (0.67, 0.4, 1, 0.65, 1.5, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
}

_TINY: dict[str, tuple[Any, Any, Any, Any, Any]] = {
    "gaussian_noise": (0.04, 0.08, 0.12, 0.15, 0.18),
    "shot_noise": (250, 100, 50, 30, 15),
    "impulse_noise": (0.01, 0.02, 0.05, 0.08, 0.14),
    "defocus_blur": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
    "glass_blur": (
        (0.1, 1, 1),
        (0.5, 1, 1),
        (0.6, 1, 2),
        (0.7, 2, 1),
        (0.9, 2, 2),
    ),
    "motion_blur": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
    "zoom_blur": (
        _zooms(1.06, 0.01),
        _zooms(1.11, 0.01),
        _zooms(1.15, 0.01),
        _zooms(1.20, 0.01),
        _zooms(1.25, 0.01),
    ),
    "snow": (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
    ),
    "frost": ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    "fog": ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
    "elastic_transform": (
        (0, 0, 64 * 0.08),
        (64 * 0.05, 64 * 0.3, 64 * 0.06),
        (64 * 0.1, 64 * 0.08, 64 * 0.06),
        (64 * 0.1, 64 * 0.03, 64 * 0.03),
        (64 * 0.16, 64 * 0.03, 64 * 0.02),
    ),
    "pixelate": (0.9, 0.8, 0.7, 0.6, 0.5),
    "jpeg_compression": (65, 58, 50, 40, 25),
    "speckle_noise": (0.15, 0.2, 0.25, 0.3, 0.35),
    "gaussian_blur": (0.5, 0.75, 1, 1.25, 1.5),
    "spatter": (
        (0.62, 0.1, 0.7, 0.7, 0.6, 0),
        (0.65, 0.1, 0.8, 0.7, 0.6, 0),
        (0.65, 0.3, 1, 0.69, 0.6, 0),
        (0.65, 0.1, 0.7, 0.68, 0.6, 1),
        (0.65, 0.1, 0.5, 0.67, 0.6, 1),
    ),
    "saturate": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
}

PARAMETERS: Mapping[str, Mapping[str, tuple]] = types.MappingProxyType(
    {
        "imagenet": types.MappingProxyType(_IMAGENET),
        "tiny": types.MappingProxyType(_TINY),
    }
)
