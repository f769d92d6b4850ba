"""How closely an exported classifier must answer like the Keras model."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The largest accepted deviations from the Keras model.

    Args:
        logits: float or None. Largest difference of a logit, relative to the largest
            absolute logit (at least 1). None: only the other two count.
        probability: float. Largest difference of a probability.
        top1: float. Smallest share of images with the same best class.
        accuracy: float. How far the accuracy may lie below that of the Keras model, on
            clean and on corrupted images.
    """

    logits: float | None
    probability: float
    top1: float
    accuracy: float


TOLERANCES = {
    "savedmodel": Tolerance(1e-4, 1e-4, top1=0.99, accuracy=0.01),
    "litert": Tolerance(1e-3, 1e-3, top1=0.99, accuracy=0.01),
    "litert/float16": Tolerance(2e-2, 2e-2, top1=0.98, accuracy=0.01),
    "litert/dynamic": Tolerance(None, 0.25, top1=0.93, accuracy=0.03),
    "litert/int8": Tolerance(None, 0.5, top1=0.90, accuracy=0.03),
    "stochastic": Tolerance(None, 1.0, top1=0.0, accuracy=0.05),
}
"""What each format may deviate. The first two differ from Keras by the order of
additions only; a share below 1 is for images on the border of two classes. The draws of
a stochastic model are judged by `compare_noisy`, and their accuracy varies."""


def tolerance_of(
    source: str, *, quantize: str = "none", is_stochastic: bool = False
) -> Tolerance:
    """The tolerance for a source of answers.

    Args:
        source: str. A signature of the SavedModel, or `"litert"`.
        quantize: str. How the LiteRT file is quantised. Defaults to `"none"`.
        is_stochastic: bool. Whether answers to one image differ. Defaults to `False`.

    Returns:
        A `Tolerance` of `TOLERANCES`.
    """
    if is_stochastic:
        return TOLERANCES["stochastic"]
    if source != "litert":
        return TOLERANCES["savedmodel"]
    return TOLERANCES["litert" if quantize == "none" else f"litert/{quantize}"]


# Standard deviations between one noisy answer and the mean of the Keras model's, root
# mean square over logits: 1 by definition, a little more because the deviations are
# estimated, far more for another function and 0 where the noise is missing.
_NOISY_DEVIATION = (0.5, 2.0)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Measured deviations of an exported classifier from the Keras model.

    Args:
        source: str. A signature of the SavedModel, or `"litert"`.
        images: int. The number of images compared.
        logits: float. Largest relative difference of a logit.
        probability: float. Largest difference of a probability.
        top1: float. Share of images with the same best class.
        reasons: tuple of str. Why it is not close enough; empty if it is.
    """

    source: str
    images: int
    logits: float
    probability: float
    top1: float
    reasons: tuple[str, ...]


def compare(
    source: str,
    logits: np.ndarray,
    probabilities: np.ndarray,
    expected_logits: np.ndarray,
    tolerance: Tolerance,
) -> Agreement:
    """Compares the answers of an exported classifier with those of the Keras model.

    Args:
        source: str. What gave the answers, for the report.
        logits: float array (N, classes).
        probabilities: float array (N, classes).
        expected_logits: float array (N, classes). What the Keras model gives.
        tolerance: `Tolerance`.

    Returns:
        An `Agreement`.
    """
    if logits.shape != expected_logits.shape or logits.shape != probabilities.shape:
        raise ValueError(
            f"the answers of {source} must have the shape {expected_logits.shape}. "
            f"Received: logits {logits.shape}, probabilities {probabilities.shape}"
        )
    if not (np.isfinite(logits).all() and np.isfinite(probabilities).all()):
        worst = (float("nan"),) * 3
        return Agreement(source, len(logits), *worst, ("not all answers are finite",))
    scale = max(1.0, float(np.abs(expected_logits).max()))
    logit_error = float(np.abs(logits - expected_logits).max()) / scale
    probability_error = float(np.abs(probabilities - softmax(expected_logits)).max())
    top1 = float(np.mean(logits.argmax(1) == expected_logits.argmax(1)))
    reasons = []
    if tolerance.logits is not None and logit_error > tolerance.logits:
        reasons.append(f"logits differ by {logit_error:.2g} > {tolerance.logits:g}")
    if probability_error > tolerance.probability:
        reasons.append(
            f"probabilities differ by {probability_error:.2g} > "
            f"{tolerance.probability:g}"
        )
    if top1 < tolerance.top1:
        reasons.append(f"best classes agree on {top1:.1%} < {tolerance.top1:.0%}")
    return Agreement(
        source, len(logits), logit_error, probability_error, top1, tuple(reasons)
    )


def compare_noisy(
    source: str, logits: np.ndarray, expected_logits: np.ndarray
) -> Agreement:
    """Compares the answers of a stochastic model with several of the Keras model.

    Args:
        source: str. What gave the answers, for the report.
        logits: float array (N, classes). One answer.
        expected_logits: float array (R, N, classes). R answers of the Keras model.

    Returns:
        An `Agreement` with the differences from the mean answer.
    """
    mean, deviation = expected_logits.mean(0), expected_logits.std(0, ddof=1)
    measured = compare(source, logits, softmax(logits), mean, TOLERANCES["stochastic"])
    if measured.reasons:
        return measured
    scores = (logits - mean) / np.maximum(deviation, 1e-12)
    score = float(np.sqrt(np.mean(np.square(scores))))
    low, high = _NOISY_DEVIATION
    if low <= score <= high:
        return measured
    reason = f"logits lie {score:.2g} standard deviations off, not {low:g} to {high:g}"
    return dataclasses.replace(measured, reasons=(reason,))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits (..., classes), in float64."""
    shifted = np.exp(
        logits.astype(np.float64) - logits.max(-1, keepdims=True).astype(np.float64)
    )
    return shifted / shifted.sum(-1, keepdims=True)
