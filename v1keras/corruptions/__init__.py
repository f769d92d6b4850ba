"""The common image corruptions of ImageNet-C, fast and reproducible."""

from v1keras.corruptions.apply import corrupt, default_scale
from v1keras.corruptions.config import CorruptionsConfig
from v1keras.corruptions.registry import (
    BENCHMARK,
    CATEGORIES,
    CORRUPTIONS,
    EXTRA,
    Corruption,
    canonical_name,
)
from v1keras.corruptions.severities import (
    PARAMETERS,
    SCALES,
    SEVERITIES,
    check_scale,
    check_severities,
)
from v1keras.corruptions.writer import write_corrupted

__all__ = [
    "BENCHMARK",
    "CATEGORIES",
    "CORRUPTIONS",
    "EXTRA",
    "PARAMETERS",
    "SCALES",
    "SEVERITIES",
    "Corruption",
    "CorruptionsConfig",
    "canonical_name",
    "check_scale",
    "check_severities",
    "corrupt",
    "default_scale",
    "write_corrupted",
]
