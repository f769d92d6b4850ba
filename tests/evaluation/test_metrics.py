import itertools

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax
from scipy.stats import pearsonr

from v1keras.evaluation.cells import CLEAN, Cell, corrupted_cells, mean_over_corruptions
from v1keras.evaluation.metrics import (
    ALEXNET_CLEAN_ERROR,
    ALEXNET_ERRORS,
    accuracy,
    brier_score,
    ensemble_logits,
    error_correlation,
    expected_calibration_error,
    mce_alexnet,
    measure,
    negative_log_likelihood,
    pairwise_disagreement,
    relative_gain,
)

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(60, 7)) * 3
LABELS = RNG.integers(0, 7, 60)
IMAGENET_C = {"benchmark": "imagenet-c", "image_size": 224}


def test_accuracy_is_the_share_of_largest_logits_on_the_label():
    logits = [[1, 2, 0], [5, 1, 1], [0, 0, 3], [9, 0, 1]]
    assert accuracy(np.array(logits), np.array([1, 0, 0, 2])) == 0.5


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(
    "metric", [accuracy, brier_score, expected_calibration_error, measure,
               negative_log_likelihood]
)  # fmt: skip
def test_logits_must_be_finite(metric, wrong):
    logits = np.stack([LOGITS, LOGITS])
    logits[1, 7, 2] = wrong
    with pytest.raises(ValueError, match=r"must be finite.* 1 of 60 images"):
        metric(logits, LABELS)
    with pytest.raises(ValueError, match="must be finite"):
        metric(ensemble_logits([LOGITS, logits]), LABELS)


def test_accuracy_of_noise_draws_is_their_mean():
    other = LOGITS[::-1]
    both = accuracy(np.stack([LOGITS, other]), LABELS)
    expected = (accuracy(LOGITS, LABELS) + accuracy(other, LABELS)) / 2
    assert both == pytest.approx(expected)


def test_negative_log_likelihood_equals_the_cross_entropy_of_tensorflow():
    expected = tf.nn.sparse_softmax_cross_entropy_with_logits(LABELS, LOGITS)
    assert negative_log_likelihood(LOGITS, LABELS) == pytest.approx(
        float(np.mean(expected)), abs=1e-12
    )


def test_large_logits_do_not_overflow():
    logits = np.array([[1e4, 0.0], [0.0, -1e4]])
    assert negative_log_likelihood(logits, np.array([0, 1])) == pytest.approx(5e3)
    assert brier_score(logits, np.array([0, 1])) == pytest.approx(1.0)


def test_brier_score_equals_its_definition():
    one_hot = np.eye(7)[LABELS]
    expected = np.mean(np.sum((softmax(LOGITS, axis=-1) - one_hot) ** 2, axis=1))
    assert brier_score(LOGITS, LABELS) == pytest.approx(expected)


def test_calibration_error_by_hand():
    # Confidences 0.6 and 0.64 share a bin of 1/15 width; 0.9 has one of its own.
    def logits(confidence):
        return [np.log(confidence), np.log(1 - confidence)]

    values = np.array([logits(0.61), logits(0.64), logits(0.9)])
    labels = np.array([0, 1, 0])
    expected = (abs(1 - (0.61 + 0.64)) + abs(1 - 0.9)) / 3
    assert expected_calibration_error(values, labels) == pytest.approx(expected)


def test_calibration_error_equals_a_loop_over_bins():
    probabilities = softmax(LOGITS, axis=-1)
    confidence, guess = probabilities.max(1), probabilities.argmax(1)
    expected = 0.0
    for low in np.arange(15) / 15:
        inside = (confidence > low) & (confidence <= low + 1 / 15)
        if inside.any():
            right = (guess[inside] == LABELS[inside]).mean()
            gap = abs(right - confidence[inside].mean())
            expected += inside.mean() * gap
    assert expected_calibration_error(LOGITS, LABELS) == pytest.approx(expected)


def test_certain_predictions_fall_into_the_last_bin():
    bins = measure(np.array([[100.0, 0.0]]), np.array([0])).reliability
    assert bins.count.tolist() == [0] * 14 + [1]


def test_ensemble_of_logits_and_of_probabilities():
    other = RNG.normal(size=LOGITS.shape)
    np.testing.assert_allclose(
        ensemble_logits([LOGITS, other])[0], (LOGITS + other) / 2
    )
    mean = (softmax(LOGITS, axis=-1) + softmax(other, axis=-1)) / 2
    averaged = ensemble_logits([LOGITS, other], average="probabilities")[0]
    np.testing.assert_allclose(softmax(averaged, axis=-1), mean)


def test_ensemble_combines_draw_by_draw():
    noisy = np.stack([LOGITS, -LOGITS])
    combined = ensemble_logits([noisy, LOGITS[None]])
    np.testing.assert_allclose(combined, np.stack([LOGITS, 0 * LOGITS]))


@pytest.mark.parametrize(
    "members", [[], [np.zeros((2, 3, 4)), np.zeros((3, 3, 4))], [LOGITS, LOGITS[:, :3]]]
)
def test_ensemble_refuses_members_that_do_not_fit(members):
    with pytest.raises(ValueError, match=r"Received: shapes="):
        ensemble_logits(members)


def test_disagreement_and_error_correlation_by_hand():
    predictions = np.array([[0, 1, 2, 3], [0, 1, 3, 2], [1, 0, 0, 0]])
    disagreement = pairwise_disagreement(predictions)
    assert disagreement[0].tolist() == [0, 0.5, 1]
    correct = RNG.random((3, 50)) < 0.5
    expected = [[pearsonr(a, b).statistic for a in correct] for b in correct * 1.0]
    np.testing.assert_allclose(error_correlation(correct), expected)


def test_error_correlation_of_a_member_that_is_always_right_is_undefined():
    correct = np.array([[True, True], [True, False]])
    assert np.isnan(error_correlation(correct)[0, 1])


def test_mean_gives_each_corruption_the_same_weight():
    values = {Cell("fog", 1): 0.2, Cell("fog", 5): 0.4, Cell("snow", 1): 0.9, CLEAN: 1}
    assert mean_over_corruptions(values) == pytest.approx((0.3 + 0.9) / 2)
    assert mean_over_corruptions(values, ["fog"]) == pytest.approx(0.3)


def test_relative_gain():
    assert relative_gain(0.552, 0.4) == pytest.approx(0.38)
    assert np.isnan(relative_gain(0.5, 0.0))


def alexnet_accuracies():
    return {
        cell: 1 - ALEXNET_ERRORS[cell.corruption]
        for cell in corrupted_cells(tuple(ALEXNET_ERRORS))
    } | {CLEAN: 1 - ALEXNET_CLEAN_ERROR}


def test_alexnet_itself_has_an_mce_of_one():
    accuracies = alexnet_accuracies()
    assert mce_alexnet(accuracies, **IMAGENET_C) == pytest.approx((1, 1))


def test_mce_divides_each_corruption_by_its_own_error():
    accuracies = alexnet_accuracies() | {
        Cell("brightness", severity): 1.0 for severity in range(1, 6)
    }
    gone = -ALEXNET_CLEAN_ERROR / (0.565 - ALEXNET_CLEAN_ERROR)
    expected = 14 / 15, (14 + gone) / 15
    assert mce_alexnet(accuracies, **IMAGENET_C) == pytest.approx(expected)


def test_published_mce_of_resnet50():
    # Errors in % of torchvision's ResNet-50, Hendrycks & Dietterich (2019), whose table
    # gives an mCE of 76.7 %, from per-corruption CEs of the published table.
    published = [80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77]
    accuracies = {
        Cell(name, severity): 1 - ce / 100 * ALEXNET_ERRORS[name]
        for (name, ce), severity in itertools.product(
            zip(ALEXNET_ERRORS, published, strict=True), range(1, 6)
        )
    }
    accuracies[CLEAN] = 0.76
    mce, _ = mce_alexnet(accuracies, **IMAGENET_C)
    assert mce == pytest.approx(0.767, abs=0.005)


@pytest.mark.parametrize(
    "about",
    [
        {"benchmark": "tiny-imagenet-c", "image_size": 224},
        {"benchmark": "imagenet-c", "image_size": 64},
    ],
)
def test_alexnet_errors_are_refused_elsewhere(about):
    with pytest.raises(ValueError, match="`image_size` 224"):
        mce_alexnet(alexnet_accuracies(), **about)


@pytest.mark.parametrize("cell", [CLEAN, Cell("fog", 3)])
def test_mce_names_missing_cells(cell):
    accuracies = alexnet_accuracies()
    del accuracies[cell]
    with pytest.raises(ValueError, match=f"without {cell}"):
        mce_alexnet(accuracies, **IMAGENET_C)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (LOGITS, LABELS[:5]),
        (LOGITS[0], LABELS),
        (LOGITS, LABELS + 7),
        (LOGITS[:0], LABELS[:0]),
    ],
)
def test_shapes_and_labels_are_checked(logits, labels):
    with pytest.raises(ValueError, match="Received"):
        accuracy(logits, labels)
