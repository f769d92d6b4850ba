"""Classifiers with V1 front-ends, ensembles of them, and distillation."""

from v1keras.models.classifier import (
    IMAGENET,
    TINY_IMAGENET,
    V1Setting,
    build_classifier,
    setting_for,
)
from v1keras.models.distiller import Distiller, SoftTargetLoss
from v1keras.models.ensemble import MeanLogits, build_ensemble
from v1keras.models.resnet import ARCHITECTURES

__all__ = [
    "ARCHITECTURES",
    "IMAGENET",
    "TINY_IMAGENET",
    "Distiller",
    "MeanLogits",
    "SoftTargetLoss",
    "V1Setting",
    "build_classifier",
    "build_ensemble",
    "setting_for",
]
