"""Layers of primary visual cortex, and the others that our models are made of."""

from v1keras.layers.batch_normalization import BatchNormalization
from v1keras.layers.contrast_normalization import ContrastNormalization
from v1keras.layers.divisive_normalization import DivisiveNormalization
from v1keras.layers.gabor_filter_bank import GaborFilterBank
from v1keras.layers.light_adaptation import LightAdaptation
from v1keras.layers.mean_logits import AVERAGES, MeanLogits
from v1keras.layers.neuronal_noise import (
    NOISE_MODES,
    NeuronalNoise,
    is_stochastic,
    noise,
    noise_layers,
    set_noise,
    set_noise_share,
)
from v1keras.layers.random_corruption import RandomCorruption
from v1keras.layers.shared_vone_blocks import SharedVOneBlocks
from v1keras.layers.subcortical_block import SubcorticalBlock
from v1keras.layers.vone_block import VOneBlock

__all__ = [
    "AVERAGES",
    "NOISE_MODES",
    "BatchNormalization",
    "ContrastNormalization",
    "DivisiveNormalization",
    "GaborFilterBank",
    "LightAdaptation",
    "MeanLogits",
    "NeuronalNoise",
    "RandomCorruption",
    "SharedVOneBlocks",
    "SubcorticalBlock",
    "VOneBlock",
    "is_stochastic",
    "noise",
    "noise_layers",
    "set_noise",
    "set_noise_share",
]
