"""Classifiers with V1 front-ends, ensembles of them, and distillation."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "architectures": ["ARCHITECTURES", "NORMALIZATIONS", "PIXEL_SCALINGS"],
        "classifier": ["build_classifier"],
        "distiller": ["Distiller"],
        "ensemble": ["build_ensemble"],
        "features": ["feature_maps", "headless", "with_features"],
        "losses": [
            "BalancedAccuracy",
            "FeatureLoss",
            "LabelAccuracy",
            "LabelLoss",
            "SoftTargetLoss",
            "balanced_class_weight",
        ],
        "published": [
            "PublishedModel",
            "load_evnet",
            "load_resnet",
            "load_vonenet",
            "read_published",
        ],
        "settings": [
            "IMAGENET",
            "TINY_IMAGENET",
            "V1Setting",
            "resolve_setting",
            "setting_for",
        ],
        "torch_file": ["read_torch_file"],
        "weights": ["assign_weights", "weights_of_model"],
    },
)
