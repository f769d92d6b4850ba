"""What Keras' back-ends do each in its own way while they train: one module for each."""

import importlib
from types import ModuleType

from v1keras.hardware import uses_tensorflow


def get_engine() -> ModuleType:
    """The module for the back-end that computes.

    Returns:
        `v1keras.training.tensorflow_engine`, or `v1keras.training.keras_engine` for JAX
        and PyTorch. They have the same functions.
    """
    name = "tensorflow_engine" if uses_tensorflow() else "keras_engine"
    return importlib.import_module(f"v1keras.training.{name}")
