"""Training of members, distillation of students, and the runs they leave."""

from v1keras.training.config import DistillConfig, TrainConfig
from v1keras.training.fit import distill, open_dataset, train
from v1keras.training.optimizer import L2SGD
from v1keras.training.run import Run, check_same_classes, versions

__all__ = [
    "L2SGD",
    "DistillConfig",
    "Run",
    "TrainConfig",
    "check_same_classes",
    "distill",
    "open_dataset",
    "train",
    "versions",
]
