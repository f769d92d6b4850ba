"""V1 front-ends, ensembles and distillation for robust CNNs in Keras 3."""

__version__ = "0.1.0"
