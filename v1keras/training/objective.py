"""What a training minimises, and what it measures."""

import keras

from v1keras.data import ImageDataset
from v1keras.models import (
    BalancedAccuracy,
    LabelAccuracy,
    LabelLoss,
    balanced_class_weight,
)
from v1keras.training.config import TrainConfig


def make_label_loss(config: TrainConfig, dataset: ImageDataset) -> LabelLoss:
    """The loss of the labels, in training and validation."""
    weight = None
    if config.class_weight is not None:
        labels = dataset.split("train").labels
        weight = balanced_class_weight(labels, dataset.num_classes)
    return LabelLoss(class_weight=weight, label_smoothing=config.label_smoothing)


def make_metrics(
    config: TrainConfig, dataset: ImageDataset
) -> list[keras.metrics.Metric]:
    """What is measured; the best epoch is chosen by the last one."""
    metrics = [LabelAccuracy()]
    if config.class_weight is not None:
        metrics.append(BalancedAccuracy(dataset.num_classes))
    return metrics
