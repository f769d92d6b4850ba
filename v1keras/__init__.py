"""V1 front-ends, ensembles and distillation for robust CNNs in Keras 3.

Importing it is cheap: each sub-package, and Keras and TensorFlow with it, is imported
when it is first used.
"""

import lazy_loader
import wrapt

from v1keras.registration import register

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=[
        "corruptions",
        "data",
        "evaluation",
        "layers",
        "models",
        "prediction",
        "studies",
        "training",
        "v1",
    ],
    submod_attrs={
        "layers": ["RandomCorruption", "noise", "set_noise"],
        "prediction": ["predict"],
        "training": ["Run"],
        "v1": ["Variant"],
    },
)

# `keras.models.load_model` must know our classes, whichever of the two is imported
# first.
wrapt.when_imported("keras")(register)
