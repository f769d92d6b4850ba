"""Weighted and smoothed labels, and accuracies that count classes alike."""

import keras
import numpy as np
import pytest

from v1keras.models import (
    BalancedAccuracy,
    Distiller,
    FeatureLoss,
    LabelAccuracy,
    LabelLoss,
    SoftTargetLoss,
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


@pytest.mark.parametrize("labels", [LABELS, LABELS[:, None]])
def test_a_label_that_is_no_class_has_no_loss_and_is_never_met(labels):
    wrong = labels.copy()
    wrong[0], wrong[5] = 4, -1
    inside = np.array([1, 2, 3, 4, 6, 7])
    loss, expected = (LabelLoss().call(each, LOGITS) for each in (wrong, labels))
    assert np.isnan(loss).nonzero()[0].tolist() == [0, 5]
    np.testing.assert_allclose(np.asarray(loss)[inside], np.asarray(expected)[inside])
    model = keras.Sequential([keras.Input((4,)), keras.layers.Activation("linear")])
    model.compile("sgd", LabelLoss())
    assert np.isnan(model.evaluate(LOGITS, wrong, verbose=0))

    answers = np.eye(4)[[0, 0, 0, 0, 1, 0, 3, 3]]  # right, but for these two
    met, balanced = LabelAccuracy(), BalancedAccuracy(4)
    for metric in (met, balanced):
        metric.update_state(wrong, answers)
    assert float(met.result()) == 6 / 8 and float(balanced.result()) == 1


@pytest.mark.parametrize("shape", [(8, 3), (8, 1, 1), (8, 5)])
def test_labels_of_another_shape_are_refused(shape):
    for take in (LabelLoss(), LabelAccuracy().update_state):
        with pytest.raises(ValueError, match=r"\(batch, 4\).*labels of shape \(8, "):
            take(np.zeros(shape, "int32"), LOGITS)


@pytest.mark.parametrize("weight", [[2.0], [1.0] * 3, [1.0] * 5])
def test_there_is_one_weight_for_each_class(weight):
    loss = LabelLoss(class_weight=weight)
    with pytest.raises(ValueError, match=f"the 4 classes.*: {len(weight)} weights"):
        loss(LABELS, LOGITS)
    with pytest.raises(ValueError, match="`class_weight` must be finite"):
        LabelLoss(class_weight=[1.0, float("nan")])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "at least one"),
        ([0.5, 1.0], "must be integers"),
        ([[0, 1]], r"integers \(n,\).*\(1, 2\)"),
        ([0, -1], "from 0 to 3.*labels from -1 to 0"),
        ([0, 4], "from 0 to 3.*labels from 0 to 4"),
    ],
)
def test_balanced_weights_are_those_of_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        balanced_class_weight(labels, 4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["temperature", "scale", "teacher_scale"])
def test_numbers_of_soft_targets_are_finite(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be .*finite.*{name}={value}"):
        SoftTargetLoss(**{name: value})


def test_nothing_is_broadcast():
    for loss in (SoftTargetLoss(), FeatureLoss()):
        for shape in ((8, 1), (8,), (1, 4)):
            with pytest.raises(ValueError, match=r"same shape.*and \(8, 4\)"):
                loss.call(np.ones(shape, "float32"), LOGITS)
