"""Our classes in Keras' table of custom objects, before they are imported."""

import importlib
from types import ModuleType
from typing import Any

_CLASSES = {
    "layers.batch_normalization": ("BatchNormalization",),
    "layers.contrast_normalization": ("ContrastNormalization",),
    "layers.divisive_normalization": ("DivisiveNormalization",),
    "layers.gabor_filter_bank": ("GaborFilterBank",),
    "layers.light_adaptation": ("LightAdaptation",),
    "layers.mean_logits": ("MeanLogits",),
    "layers.neuronal_noise": ("NeuronalNoise",),
    "layers.random_corruption": ("RandomCorruption",),
    "layers.saved_by_0_1_0": ("Conv2D",),
    "layers.shared_vone_blocks": ("SharedVOneBlocks",),
    "layers.subcortical_block": ("SubcorticalBlock",),
    "layers.vone_block": ("VOneBlock",),
    "models.losses": (
        "BalancedAccuracy",
        "FeatureLoss",
        "LabelAccuracy",
        "LabelLoss",
        "SoftTargetLoss",
    ),
    "training.optimizer": ("L2SGD",),
}


class _Deferred:
    """Stands for a class in Keras' table until a saved file needs it.

    Importing its module then registers the class itself.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def from_config(self, config: dict[str, Any]) -> Any:
        module = importlib.import_module(f"v1keras.{self._module}")
        return getattr(module, self._name).from_config(config)


def register(keras: ModuleType) -> None:
    """Makes everything that we register for serialization known to Keras.

    Args:
        keras: module. The imported Keras.
    """
    known = keras.saving.get_custom_objects()
    for module, names in _CLASSES.items():
        for name in names:
            known.setdefault(f"v1keras>{name}", _Deferred(module, name))
