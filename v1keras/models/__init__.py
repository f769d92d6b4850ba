"""Classifiers with V1 front-ends, ensembles of them, and distillation."""

from v1keras.models.backbone import ARCHITECTURES
from v1keras.models.classifier import (
    IMAGENET,
    TINY_IMAGENET,
    V1Setting,
    build_classifier,
    setting_for,
)
from v1keras.models.distiller import Distiller
from v1keras.models.ensemble import build_ensemble
from v1keras.models.features import with_features
from v1keras.models.losses import (
    FeatureLoss,
    LabelAccuracy,
    LabelLoss,
    SoftTargetLoss,
)

__all__ = [
    "ARCHITECTURES",
    "IMAGENET",
    "TINY_IMAGENET",
    "Distiller",
    "FeatureLoss",
    "LabelAccuracy",
    "LabelLoss",
    "SoftTargetLoss",
    "V1Setting",
    "build_classifier",
    "build_ensemble",
    "setting_for",
    "with_features",
]
