"""Layers of primary visual cortex, for any Keras model."""

from v1keras.layers.gabor_filter_bank import GaborFilterBank
from v1keras.layers.neuronal_noise import (
    NeuronalNoise,
    is_stochastic,
    noise_layers,
    set_noise,
)
from v1keras.layers.shared_vone_blocks import SharedVOneBlocks
from v1keras.layers.vone_block import VOneBlock

__all__ = [
    "GaborFilterBank",
    "NeuronalNoise",
    "SharedVOneBlocks",
    "VOneBlock",
    "is_stochastic",
    "noise_layers",
    "set_noise",
]
