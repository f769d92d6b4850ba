"""Primary visual cortex in NumPy: distributions, Gabor kernels and variants."""

from v1keras.v1.distributions import (
    GaborParameters,
    sample_evnet_gabors,
    sample_gabors,
    sf_range,
    similar_cells,
)
from v1keras.v1.fitting import fit_gabors
from v1keras.v1.gabor import gabor_kernels
from v1keras.v1.sheet import filter_sheet
from v1keras.v1.variants import (
    NAMED_VARIANTS,
    NORMALIZING_CONTROLS,
    NORMALIZING_VARIANTS,
    V1_VARIANTS,
    VARIANTS,
    Variant,
    get_variant,
)

__all__ = [
    "NAMED_VARIANTS",
    "NORMALIZING_CONTROLS",
    "NORMALIZING_VARIANTS",
    "V1_VARIANTS",
    "VARIANTS",
    "GaborParameters",
    "Variant",
    "filter_sheet",
    "fit_gabors",
    "gabor_kernels",
    "get_variant",
    "sample_evnet_gabors",
    "sample_gabors",
    "sf_range",
    "similar_cells",
]
