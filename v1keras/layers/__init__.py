"""Layers of primary visual cortex, and the others that our models are made of."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "batch_normalization": ["BatchNormalization"],
        "choices": ["AVERAGES", "NOISE_MODES"],
        "contrast_normalization": ["ContrastNormalization"],
        "divisive_normalization": ["DivisiveNormalization"],
        "gabor_filter_bank": ["GaborFilterBank"],
        "light_adaptation": ["LightAdaptation"],
        "mean_logits": ["MeanLogits"],
        "neuronal_noise": [
            "NeuronalNoise",
            "is_stochastic",
            "noise",
            "noise_layers",
            "set_noise",
            "set_noise_share",
        ],
        "random_corruption": ["RandomCorruption"],
        "shared_vone_blocks": ["SharedVOneBlocks"],
        "subcortical_block": ["SubcorticalBlock"],
        "vone_block": ["VOneBlock"],
    },
)
