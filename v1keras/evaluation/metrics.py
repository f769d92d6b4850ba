"""Metrics of accuracy, robustness, calibration and diversity, on NumPy arrays.

Logits have the shape `(images, classes)` or, for `k` noise draws of a stochastic
model, `(k, images, classes)`; labels are integers of shape `(images,)`. A metric of
several draws is the mean of the metric of each.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import log_softmax

from v1keras.evaluation.cells import CLEAN, Cell, corrupted_cells, mean_over_corruptions
from v1keras.layers import AVERAGES

# Errors of AlexNet on clean ImageNet images and on ImageNet-C at 224 x 224 pixels,
# mean over severities: Hendrycks & Dietterich, "Benchmarking Neural Network Robustness
# to Common Corruptions and Perturbations", ICLR 2019, and their published code.
ALEXNET_CLEAN_ERROR = 0.4348
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886,
    "shot_noise": 0.894,
    "impulse_noise": 0.923,
    "defocus_blur": 0.820,
    "glass_blur": 0.826,
    "motion_blur": 0.786,
    "zoom_blur": 0.798,
    "snow": 0.867,
    "frost": 0.827,
    "fog": 0.819,
    "brightness": 0.565,
    "contrast": 0.853,
    "elastic_transform": 0.646,
    "pixelate": 0.718,
    "jpeg_compression": 0.607,
}


def _check(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives logits as float64 of shape (draws, images, classes), and the labels."""
    logits, labels = np.asarray(logits), np.asarray(labels)
    if logits.ndim == 2:
        logits = logits[None]
    if logits.ndim != 3 or labels.shape != logits.shape[1:2] or not labels.size:
        raise ValueError(
            "`logits` must have the shape (images, classes) or (draws, images, classes) "
            "and `labels` the shape (images,), with at least one image. "
            f"Received: logits.shape={logits.shape}, labels.shape={labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= logits.shape[2]:
        raise ValueError(
            f"`labels` must be in 0..{logits.shape[2] - 1}, one per logit. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    if not np.isfinite(logits).all():
        wrong = int((~np.isfinite(logits).all(axis=(0, 2))).sum())
        raise ValueError(
            "`logits` must be finite: the best of NaNs is no class. "
            f"Received: logits of {wrong} of {len(labels)} images with NaN or infinity"
        )
    return logits.astype(np.float64), labels


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of images whose largest logit is that of their label."""
    logits, labels = _check(logits, labels)
    return float((logits.argmax(axis=-1) == labels).mean())


def negative_log_likelihood(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative natural logarithm of the probability of the true class."""
    return measure(logits, labels).negative_log_likelihood


def brier_score(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean squared distance of the probabilities from the one-hot label.

    The sum over classes, so that it lies in 0..2 (Brier, 1950).
    """
    return measure(logits, labels).brier_score


class Reliability(NamedTuple):
    """How often a model is right when it is this confident, in bins of confidence.

    Args:
        count: array of shape `(bins,)`. Predictions in each bin.
        confidence: array of shape `(bins,)`. Sum of their largest probability.
        correct: array of shape `(bins,)`. How many of them are right.

    Sums rather than means, so that those of several cells can be added.
    """

    count: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray

    def merge(self, other: "Reliability") -> "Reliability":
        """The reliability of both sets of predictions together."""
        return Reliability(*(a + b for a, b in zip(self, other, strict=True)))

    def calibration_error(self) -> float:
        """Expected calibration error: mean gap, weighted by the bins' counts."""
        return float(np.abs(self.correct - self.confidence).sum() / self.count.sum())


def expected_calibration_error(
    logits: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over bins of confidence.

    Naeini et al. (2015) as used by Guo et al., "On Calibration of Modern Neural
    Networks", ICML 2017. Several noise draws are pooled.

    Args:
        logits: array of shape `(images, classes)` or `(draws, images, classes)`.
        labels: integer array of shape `(images,)`.
        bins: int. Equally wide bins of confidence. Defaults to `15`.

    Returns:
        float in 0..1.
    """
    return measure(logits, labels, bins=bins).reliability.calibration_error()


class Measurement(NamedTuple):
    """What `measure` gives.

    Args:
        correct: bool array of shape `(draws, images)`.
        predictions: int array of shape `(draws, images)`. The predicted classes.
        confidences: float array of shape `(draws, images)`. Their probabilities.
        negative_log_likelihood: float.
        brier_score: float.
        reliability: `Reliability`.
    """

    correct: np.ndarray
    predictions: np.ndarray
    confidences: np.ndarray
    negative_log_likelihood: float
    brier_score: float
    reliability: Reliability


def measure(logits: np.ndarray, labels: np.ndarray, *, bins: int = 15) -> Measurement:
    """All metrics of one model in one cell, from one computation of the softmax.

    Args:
        logits: array of shape `(images, classes)` or `(draws, images, classes)`.
        labels: integer array of shape `(images,)`.
        bins: int. How many bins divide confidences 0..1; a bin holds its upper edge.
            Defaults to `15`.

    Returns:
        A `Measurement`.
    """
    if bins < 1:
        raise ValueError(f"`bins` must be at least 1. Received: bins={bins}")
    logits, labels = _check(logits, labels)
    log_probabilities = log_softmax(logits, axis=-1)
    probabilities = np.exp(log_probabilities)
    predictions = logits.argmax(axis=-1)
    correct = predictions == labels
    of_label = (slice(None), np.arange(len(labels)), labels)
    # sum (p - onehot)^2 = sum p^2 - 2 p[label] + 1, without the one-hot array.
    squares = np.einsum("dic,dic->di", probabilities, probabilities)
    confidences = probabilities.max(axis=-1)
    confidence = confidences.ravel()
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return Measurement(
        correct,
        predictions.astype(np.int32),
        confidences.astype(np.float32),
        float(-log_probabilities[of_label].mean()),
        float((squares - 2.0 * probabilities[of_label] + 1.0).mean()),
        Reliability(
            np.bincount(index, minlength=bins).astype(np.float64),
            np.bincount(index, weights=confidence, minlength=bins),
            np.bincount(index, weights=correct.ravel(), minlength=bins),
        ),
    )


def ensemble_logits(
    members: Sequence[np.ndarray], *, average: str = "logits"
) -> np.ndarray:
    """Logits of the ensemble of some members, from the members' logits.

    Draw `j` of the ensemble combines draw `j` of every member; a member with a single
    draw takes part in all of them.

    Args:
        members: sequence of arrays of shape `(draws, images, classes)` or
            `(images, classes)`.
        average: str. `"logits"`: the mean of the logits, as in the paper.
            `"probabilities"`: the logarithm of the mean probability, whose softmax is
            the mean probability. Defaults to `"logits"`.

    Returns:
        A float array of shape `(draws, images, classes)`.
    """
    if average not in AVERAGES:
        raise ValueError(
            f"`average` must be one of {', '.join(AVERAGES)}. "
            f"Received: average={average!r}"
        )
    arrays = [a if a.ndim == 3 else a[None] for a in map(np.asarray, members)]
    draws = {array.shape[0] for array in arrays}
    if not arrays or len({a.shape[1:] for a in arrays}) > 1 or len(draws - {1}) > 1:
        raise ValueError(
            "`members` must be at least one array, all of one shape, with the same number "
            "of noise draws or a single one. "
            f"Received: shapes={[array.shape for array in arrays]}"
        )
    shape = (max(draws), *arrays[0].shape[1:])
    # One member at a time: the logits of all of them may not fit into memory.
    if average == "logits":
        total = np.zeros(shape)
        for array in arrays:
            total += array
        return total / len(arrays)
    total = np.full(shape, -np.inf)
    for array in arrays:
        total = np.logaddexp(total, log_softmax(array.astype(np.float64), axis=-1))
    return total - np.log(len(arrays))


def pairwise_disagreement(predictions: np.ndarray) -> np.ndarray:
    """Fraction of images on which two members predict different classes.

    Args:
        predictions: integer array of shape `(members, images)`. Predicted classes.

    Returns:
        A symmetric float array of shape `(members, members)` with a zero diagonal.
    """
    predictions = np.asarray(predictions)
    return (predictions[:, None] != predictions[None]).mean(axis=-1)


def error_correlation(correct: np.ndarray) -> np.ndarray:
    """Pearson correlation of the members' errors over images.

    1 when two members fail on the same images, 0 when their errors are independent:
    the lower, the more an ensemble can gain.

    Args:
        correct: bool array of shape `(members, images)`.

    Returns:
        A symmetric float array of shape `(members, members)`; NaN for a member that is
        right, or wrong, on all images.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.corrcoef(np.asarray(correct, np.float64))


def mce_alexnet(
    accuracies: Mapping[Cell, float], *, benchmark: str, image_size: int
) -> tuple[float, float]:
    """Corruption errors relative to AlexNet's: mCE and relative mCE of ImageNet-C.

    Hendrycks & Dietterich (2019): means over the 15 corruptions, each averaged over
    severities. mCE is of the model's error / AlexNet's error; relative mCE, how much
    error corruptions add, of (the model's error - its clean error) / (AlexNet's error -
    its clean error). 1 is as fragile as AlexNet.

    Args:
        accuracies: mapping from `Cell` to accuracy in 0..1, complete for 15 x 5 cells
            and clean images.
        benchmark: str. Must be `"imagenet-c"`: there are no such errors of AlexNet for
            Tiny ImageNet-C or CIFAR-10-C.
        image_size: int. Must be 224.

    Returns:
        A tuple of two floats, mCE and relative mCE.
    """
    if benchmark != "imagenet-c" or image_size != 224:
        raise ValueError(
            "`benchmark` must be 'imagenet-c' and `image_size` 224, for which AlexNet's "
            "errors are published. "
            f"Received: benchmark={benchmark!r}, image_size={image_size}"
        )
    wanted = (CLEAN, *corrupted_cells(tuple(ALEXNET_ERRORS)))
    missing = [str(cell) for cell in wanted if cell not in accuracies]
    if missing:
        raise ValueError(
            "`accuracies` must have clean images and all 15 corruptions at all 5 "
            f"severities. Received: accuracies without {', '.join(missing)}"
        )
    theirs = np.array(list(ALEXNET_ERRORS.values()))
    errors = np.array(
        [1.0 - mean_over_corruptions(accuracies, [name]) for name in ALEXNET_ERRORS]
    )
    added = errors - (1.0 - accuracies[CLEAN])
    relative = np.mean(added / (theirs - ALEXNET_CLEAN_ERROR))
    return float(np.mean(errors / theirs)), float(relative)


def relative_gain(accuracy: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Relative accuracy gain over a baseline: `accuracy / baseline - 1`.

    0.38 is "38 % more accurate than the baseline". NaN where the baseline is never
    right.

    Args:
        accuracy: float or array. Accuracies in 0..1.
        baseline: float or array of the same shape. Those of the baseline.

    Returns:
        A float array of the broadcast shape.
    """
    baseline = np.asarray(baseline, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(baseline > 0, np.asarray(accuracy) / baseline - 1.0, np.nan)
