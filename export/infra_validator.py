"""The exported files must answer as the Keras model does."""

import dataclasses
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import scipy.special
import tensorflow as tf

from export.blessing import INFRA_NOT_BLESSED, RejectedError
from export.runtimes import LITERT, Answers

# How often a stochastic model answers, to estimate the spread of its logits.
_NOISY_ANSWERS = 16
# Standard deviations between one noisy answer and the mean of the Keras model's, root
# mean square over logits: 1 by definition, a little more because the deviations are
# estimated, far more for another function and 0 where the noise is missing.
_NOISY_DEVIATION = (0.5, 2.0)


@dataclasses.dataclass(frozen=True)
class Tolerance:
    """The largest accepted differences from the Keras model.

    Args:
        logits: float or None. Largest difference of a logit, relative to the largest
            absolute logit (at least 1). None: only the other two count.
        probability: float. Largest difference of a probability.
        top1: float. Smallest share of images with the same best class. One image may
            differ, however few there are.
        accuracy: float. How far the accuracy may lie below that of the Keras model, on
            clean and on corrupted images, beyond chance (`judge_accuracy`).
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
"""How far each format may differ. The first two differ from Keras by the order of
additions only; a share below 1 is for images on the border of two classes. The draws of
a stochastic model are judged by `measure_noisy_parity`, and their accuracy varies."""


def tolerance_of(
    endpoint: str, *, quantize: str = "none", is_stochastic: bool = False
) -> Tolerance:
    """The tolerance for the answers of an endpoint.

    Args:
        endpoint: str. A signature of the SavedModel, or `"litert"`.
        quantize: str. How the LiteRT file is quantised. Defaults to `"none"`.
        is_stochastic: bool. Whether answers to one image differ. Defaults to `False`.

    Returns:
        A `Tolerance` of `TOLERANCES`.
    """
    if is_stochastic:
        return TOLERANCES["stochastic"]
    if endpoint != LITERT:
        return TOLERANCES["savedmodel"]
    return TOLERANCES["litert" if quantize == "none" else f"litert/{quantize}"]


@dataclasses.dataclass(frozen=True)
class Parity:
    """Measured differences of an endpoint from the Keras model.

    Args:
        endpoint: str. A signature of the SavedModel, or `"litert"`.
        images: int. The number of images compared.
        logits: float or None. Largest relative difference of a logit. `None` where
            there are none, or answers are not finite, here and in the next two.
        probability: float or None. Largest difference of a probability.
        top1: float or None. Share of images with the same best class.
        reasons: tuple of str. Why it is not close enough; empty if it is.
    """

    endpoint: str
    images: int
    logits: float | None
    probability: float | None
    top1: float | None
    reasons: tuple[str, ...]


def keras_logits(
    model: keras.Model,
    images: np.ndarray,
    *,
    batch_size: int = 32,
    is_noisy: bool = False,
) -> np.ndarray:
    """What the Keras model answers, on the processor that the checks run on.

    Args:
        model: keras.Model. Takes float32 pixels 0..255, gives logits.
        images: uint8 array (N, S, S, 3).
        batch_size: int. Defaults to `32`.
        is_noisy: bool. Whether answers differ from call to call. Defaults to
            `False`.

    Returns:
        float32 array (N, classes), or (R, N, classes) of R calls if `is_noisy`.

    Raises:
        ValueError: if the logits are not finite.
    """
    pixels = images.astype(np.float32)
    # Graphics cards may round to fewer digits than the tolerances allow for.
    with tf.device("/CPU:0"):
        answers = [
            model.predict(pixels, batch_size=batch_size, verbose=0)
            for _ in range(_NOISY_ANSWERS if is_noisy else 1)
        ]
    answers = np.stack(answers).astype(np.float32)
    if not np.isfinite(answers).all():
        raise ValueError(
            "the Keras model must give finite logits. Received: NaN or infinity for "
            f"{len(images)} images"
        )
    return answers if is_noisy else answers[0]


def validate(
    answers: Mapping[str, Answers],
    expected_logits: np.ndarray,
    labels: Sequence[str],
    *,
    endpoints: Sequence[str],
    quantize: str = "none",
) -> tuple[Parity, ...]:
    """Compares the answers of exported files with those of the Keras model.

    Args:
        answers: dict from endpoint to `Answers`. Answers to more images than those of
            the Keras model are left aside.
        expected_logits: float array (N, classes); or (R, N, classes), R answers of
            a stochastic model.
        labels: sequence of str. One label a class.
        endpoints: sequence of str. What must have answered: signatures of the
            SavedModel, `"litert"`.
        quantize: str. How the LiteRT file is quantised. Defaults to `"none"`.

    Returns:
        Tuple of `Parity`, one for each endpoint.

    Raises:
        ValueError: if an endpoint gave no answers, or names other classes than its
            scores belong to.
    """
    found = []
    for endpoint in endpoints:
        if endpoint not in answers:
            raise ValueError(f"{endpoint} gives no answers")
        answer = answers[endpoint]
        answered = answer.scores if answer.ranking is None else answer.ranking
        count = min(len(answered), expected_logits.shape[-2])
        expected = expected_logits[..., :count, :]
        if answer.classes is not None:
            _check_classes(endpoint, answer, labels)
        is_noisy = expected.ndim == 3
        tolerance = tolerance_of(endpoint, quantize=quantize, is_stochastic=is_noisy)
        if answer.ranking is None:
            expected = expected.mean(0) if is_noisy else expected
            parity = _measure_scores(
                endpoint,
                _positions(answer.classes[:count], labels),
                answer.scores[:count],
                expected,
                tolerance,
            )
        elif is_noisy:
            parity = measure_noisy_parity(endpoint, answer.logits[:count], expected)
        else:
            logits, probabilities = (
                None if values is None else values[:count]
                for values in (answer.logits, answer.probabilities)
            )
            parity = measure_parity(
                endpoint, logits, probabilities, expected, tolerance
            )
        found.append(parity)
    return tuple(found)


def _measure_scores(
    endpoint: str,
    chosen: np.ndarray,
    scores: np.ndarray,
    expected_logits: np.ndarray,
    tolerance: Tolerance,
) -> Parity:
    """Compares the probabilities of the named classes, (N, k), best first."""
    expected = scipy.special.softmax(expected_logits.astype(np.float64), axis=-1)
    expected = np.take_along_axis(expected, chosen, axis=1)
    error = float(np.abs(scores - expected).max())
    top1 = float(np.mean(chosen[:, 0] == expected_logits.argmax(1)))
    reasons = _reasons(len(scores), None, error, top1, tolerance)
    return Parity(endpoint, len(scores), None, error, top1, reasons)


def measure_parity(
    endpoint: str,
    logits: np.ndarray | None,
    probabilities: np.ndarray | None,
    expected_logits: np.ndarray,
    tolerance: Tolerance,
) -> Parity:
    """Compares the answers of an endpoint with those of the Keras model.

    Args:
        endpoint: str. What gave the answers, for the report.
        logits: float array (N, classes), or None if it gives probabilities only.
        probabilities: float array (N, classes), or None if it gives logits only.
        expected_logits: float array (N, classes). What the Keras model gives.
        tolerance: `Tolerance`.

    Returns:
        A `Parity`.
    """
    given = [values for values in (logits, probabilities) if values is not None]
    if any(values.shape != expected_logits.shape for values in given):
        raise ValueError(
            f"the answers of {endpoint} must have the shape {expected_logits.shape}. "
            f"Received: {', '.join(str(values.shape) for values in given)}"
        )
    count = len(expected_logits)
    if not all(np.isfinite(values).all() for values in given):
        reasons = ("not all answers are finite",)
        return Parity(endpoint, count, None, None, None, reasons)
    logit_error = None
    if logits is not None:
        scale = max(1.0, float(np.abs(expected_logits).max()))
        logit_error = float(np.abs(logits - expected_logits).max()) / scale
    if probabilities is None:
        probabilities = scipy.special.softmax(logits, axis=-1)
    expected = scipy.special.softmax(expected_logits.astype(np.float64), axis=-1)
    probability_error = float(np.abs(probabilities - expected).max())
    top1 = float(np.mean(given[0].argmax(1) == expected_logits.argmax(1)))
    reasons = _reasons(count, logit_error, probability_error, top1, tolerance)
    return Parity(endpoint, count, logit_error, probability_error, top1, reasons)


def _reasons(
    count: int,
    logit_error: float | None,
    probability_error: float,
    top1: float,
    tolerance: Tolerance,
) -> tuple[str, ...]:
    """Why measured differences are too large; none if they are not."""
    reasons = []
    if None not in (logit_error, tolerance.logits) and logit_error > tolerance.logits:
        reasons.append(f"logits differ by {logit_error:.2g} > {tolerance.logits:g}")
    if probability_error > tolerance.probability:
        reasons.append(
            f"probabilities differ by {probability_error:.2g} > "
            f"{tolerance.probability:g}"
        )
    # One image says nothing, however many points it is.
    if (1 - top1) * count > max(1, (1 - tolerance.top1) * count) + 1e-6:
        reasons.append(f"best classes agree on {top1:.1%} < {tolerance.top1:.0%}")
    return tuple(reasons)


def measure_noisy_parity(
    endpoint: str, logits: np.ndarray, expected_logits: np.ndarray
) -> Parity:
    """Compares the answers of a stochastic model with several of the Keras model.

    Args:
        endpoint: str. What gave the answers, for the report.
        logits: float array (N, classes). One answer.
        expected_logits: float array (R, N, classes). R answers of the Keras model.

    Returns:
        A `Parity` with the differences from the mean answer.
    """
    mean, deviation = expected_logits.mean(0), expected_logits.std(0, ddof=1)
    probabilities = scipy.special.softmax(logits, axis=-1)
    measured = measure_parity(
        endpoint, logits, probabilities, mean, TOLERANCES["stochastic"]
    )
    if measured.reasons:
        return measured
    scores = (logits - mean) / np.maximum(deviation, 1e-12)
    score = float(np.sqrt(np.mean(np.square(scores))))
    low, high = _NOISY_DEVIATION
    if low <= score <= high:
        return measured
    reason = f"logits lie {score:.2g} standard deviations off, not {low:g} to {high:g}"
    return dataclasses.replace(measured, reasons=(reason,))


def _check_classes(endpoint: str, answer: Answers, labels: Sequence[str]) -> None:
    """The named classes must be the labels of the best probabilities."""
    chosen = _positions(answer.classes, labels)
    fits = bool((chosen >= 0).all())
    if fits and answer.probabilities is not None:
        scores = np.take_along_axis(answer.probabilities, chosen, axis=1)
        fits = np.array_equal(scores, answer.scores)
    if not fits:
        raise ValueError(f"{endpoint}: the classes do not belong to their scores")


def _positions(classes: np.ndarray, labels: Sequence[str]) -> np.ndarray:
    """The indices of labels, -1 where there is no such label."""
    position = {label: index for index, label in enumerate(labels)}
    return np.vectorize(lambda label: position.get(label, -1))(classes)


def bless(
    validated: Sequence[Parity],
    answers: Mapping[str, Answers],
    sizes: Mapping[str, int],
) -> dict:
    """The content of the marker `INFRA_BLESSED`.

    Args:
        validated: sequence of `Parity`.
        answers: dict from endpoint to `Answers`.
        sizes: dict from format to the size of its files, in bytes.

    Returns:
        Dict for JSON.

    Raises:
        RejectedError: if an endpoint is not close enough.
    """
    figures = {
        "parity": [dataclasses.asdict(item) for item in validated],
        "milliseconds": {
            item.endpoint: answers[item.endpoint].milliseconds for item in validated
        },
        "bytes": dict(sizes),
    }
    reasons = [f"{item.endpoint}: {why}" for item in validated for why in item.reasons]
    if reasons:
        raise RejectedError(INFRA_NOT_BLESSED, reasons, figures)
    return {"reasons": [], **figures}
