"""V1 front-ends, ensembles and distillation for robust CNNs in Keras 3.

Importing it is cheap: each sub-package, and Keras and TensorFlow with it, is imported
when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

import wrapt

from v1keras.registration import register

if TYPE_CHECKING:
    from v1keras import (
        corruptions,
        data,
        evaluation,
        layers,
        models,
        studies,
        training,
        v1,
    )
    from v1keras.layers import RandomCorruption, noise, set_noise
    from v1keras.v1 import Variant

__version__ = "0.1.0"

__all__ = [
    "RandomCorruption",
    "Variant",
    "corruptions",
    "data",
    "evaluation",
    "layers",
    "models",
    "noise",
    "set_noise",
    "studies",
    "training",
    "v1",
]

_HOMES = {
    "RandomCorruption": "layers",
    "Variant": "v1",
    "noise": "layers",
    "set_noise": "layers",
}

# `keras.models.load_model` must know our classes, whichever of the two is imported
# first.
wrapt.when_imported("keras")(register)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'v1keras' has no attribute {name!r}")
    module = importlib.import_module(f"v1keras.{_HOMES.get(name, name)}")
    return getattr(module, name) if name in _HOMES else module


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
