"""V1 front-ends, ensembles and distillation for robust CNNs in Keras 3."""

from v1keras.quiet import quiet_tensorflow

with quiet_tensorflow():
    from v1keras import corruptions, layers, models, v1
    from v1keras.layers import RandomCorruption, set_noise
    from v1keras.v1 import Variant

__version__ = "0.1.0"

__all__ = [
    "RandomCorruption",
    "Variant",
    "corruptions",
    "layers",
    "models",
    "set_noise",
    "v1",
]
