"""The common image corruptions of ImageNet-C, fast and reproducible."""

from v1keras.corruptions.apply import corrupt, default_scale
from v1keras.corruptions.registry import (
    BENCHMARK,
    CATEGORIES,
    CORRUPTIONS,
    EXTRA,
    SEVERITIES,
    Corruption,
    canonical_name,
)
from v1keras.corruptions.severities import PARAMETERS, SCALES

__all__ = [
    "BENCHMARK",
    "CATEGORIES",
    "CORRUPTIONS",
    "EXTRA",
    "PARAMETERS",
    "SCALES",
    "SEVERITIES",
    "Corruption",
    "canonical_name",
    "corrupt",
    "default_scale",
]
