"""Weighted and smoothed labels, and accuracies that count classes alike."""

import keras
import numpy as np
import pytest

from v1keras.models import (
    BalancedAccuracy,
    Distiller,
    LabelLoss,
    balanced_class_weight,
)

LABELS = np.array([0, 0, 0, 0, 1, 1, 3, 3])
LOGITS = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")


def test_weights_and_smoothing_are_those_of_pytorchs_cross_entropy():
    weight, smoothing = np.array([0.5, 2.0, 1.0, 3.0]), 0.2
    log_p = LOGITS - np.log(np.exp(LOGITS).sum(axis=1, keepdims=True))
    # As torch.nn.CrossEntropyLoss documents it, without its division by the weights.
    own = -weight[LABELS] * log_p[np.arange(8), LABELS]
    spread = -(weight * log_p).sum(axis=1)
    expected = (1 - smoothing) * own + smoothing / 4 * spread
    loss = LabelLoss(class_weight=weight, label_smoothing=smoothing)
    np.testing.assert_allclose(loss.call(LABELS, LOGITS), expected, rtol=1e-5)
    # Of a mixed image it is the mixture of the losses.
    mixed = 0.3 * np.eye(4)[LABELS] + 0.7 * np.eye(4)[LABELS[::-1]]
    of_both = 0.3 * loss.call(LABELS, LOGITS) + 0.7 * loss.call(LABELS[::-1], LOGITS)
    np.testing.assert_allclose(loss.call(mixed, LOGITS), of_both, rtol=1e-5)
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert float(copy(LABELS, LOGITS)) == float(loss(LABELS, LOGITS))
    with pytest.raises(ValueError, match=r"label_smoothing=1\.0"):
        LabelLoss(label_smoothing=1.0)


def test_balanced_weights_let_each_class_count_alike():
    weight = balanced_class_weight(LABELS, 4)
    # scikit-learn's `compute_class_weight("balanced", ...)`, for classes that are there.
    assert weight == [8 / (4 * 4), 8 / (4 * 2), 8 / 4, 8 / (4 * 2)]
    shown = np.bincount(LABELS) * weight
    assert shown[0] == shown[1] == shown[3] == 2


def test_balanced_accuracy_is_the_mean_recall():
    metric = BalancedAccuracy(4)
    assert float(metric.result()) == 0
    answers = np.eye(4)[[0, 0, 0, 2, 1, 0, 0, 2]]
    for part in (slice(0, 3), slice(3, 8)):
        metric.update_state(LABELS[part], answers[part])
    # Recalls of 3/4, 1/2 and 0; class 2 was not shown.
    assert float(metric.result()) == pytest.approx((3 / 4 + 1 / 2 + 0) / 3)
    copy = keras.metrics.deserialize(keras.metrics.serialize(metric))
    copy.update_state(np.eye(4)[LABELS], answers, np.array([0, 0, 1, 3, 1, 1, 1, 1]))
    assert float(copy.result()) == pytest.approx((1 / 4 + 1 / 2 + 0) / 3)


def test_a_distiller_takes_a_loss_of_labels():
    student = keras.Sequential([keras.Input((4,)), keras.layers.Activation("linear")])
    loss = LabelLoss(class_weight=[1.0, 2.0, 3.0, 4.0], label_smoothing=0.1)
    distiller = Distiller(None, student, alpha=0.0, label_loss=loss)
    found = distiller.compute_loss(LOGITS, LABELS, LOGITS)
    assert float(found) == float(loss(LABELS, LOGITS))
