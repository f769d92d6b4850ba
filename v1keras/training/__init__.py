"""Training of members, distillation of students, and the runs that they write."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "conversion": ["convert"],
        "config": ["ConvertConfig", "DistillConfig", "TrainConfig"],
        "fit": ["distill", "train"],
        "noise_warmup": ["NoiseWarmup"],
        "opening": ["open_dataset", "open_finished"],
        "optimizer": ["L2SGD"],
        "run": ["Run", "check_same_classes", "versions"],
        "strategy": ["get_workers"],
    },
)
