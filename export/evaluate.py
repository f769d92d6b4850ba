"""The fourth stage: what is exported must be good enough, and no step back."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from export.push import versions
from export.sign import LABELS_FILE
from export.validate import replay

KERAS = "keras"
BASELINE = "baseline"
# The signatures that decode images are only asked about a few of them.
_EVALUATED = ("serving_default", "litert")


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What the accuracy on test images must reach.

    Args:
        min_accuracy: float or None. Between 0 and 1; None asks for nothing.
        max_loss: float. How far below that of a baseline it may lie.
    """

    min_accuracy: float | None
    max_loss: float


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Measured accuracies, and whether they are enough.

    Args:
        images: int. The number of test images.
        accuracy: dict from `"keras"`, `"serving_default"`, `"litert"` and
            `"baseline"` (as far as there are such) to the share of right answers.
        per_class: dict from label to the share of right answers of the Keras model.
        thresholds: `Thresholds`.
        reasons: tuple of str. Why it is not enough; empty if it is.
    """

    images: int
    accuracy: dict[str, float]
    per_class: dict[str, float]
    thresholds: Thresholds
    reasons: tuple[str, ...]


def evaluate(
    logits: Mapping[str, np.ndarray],
    truth: np.ndarray,
    labels: Sequence[str],
    thresholds: Thresholds,
) -> Evaluation:
    """Judges accuracies.

    Args:
        logits: dict from source to float array (N, classes), or (R, N, classes) of
            R answers. Needs `"keras"` and at least one exported file.
        truth: int array (N,). The right classes.
        labels: sequence of str. One label a class.
        thresholds: `Thresholds`.

    Returns:
        An `Evaluation`.
    """
    right = {source: values.argmax(-1) == truth for source, values in logits.items()}
    accuracy = {source: float(np.mean(values)) for source, values in right.items()}
    per_class = {
        label: float(np.mean(right[KERAS][..., truth == index]))
        for index, label in enumerate(labels)
        if np.any(truth == index)
    }
    reasons = []
    for source in (source for source in _EVALUATED if source in accuracy):
        value = accuracy[source]
        if thresholds.min_accuracy is not None and value < thresholds.min_accuracy:
            reasons.append(
                f"{source}: accuracy {value:.1%} < {thresholds.min_accuracy:.1%}"
            )
        least = accuracy.get(BASELINE, 0.0) - thresholds.max_loss
        if value < least:
            reasons.append(
                f"{source}: accuracy {value:.1%} is more than {thresholds.max_loss:.1%} "
                f"below the baseline's {accuracy[BASELINE]:.1%}"
            )
    return Evaluation(len(truth), accuracy, per_class, thresholds, tuple(reasons))


def exported_logits(answers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The answers to all images, of those that `export.validate.replay` gives."""
    return {
        source: answers[f"{source}/logits"]
        for source in _EVALUATED
        if f"{source}/logits" in answers
    }


def baseline_logits(
    path: str | os.PathLike,
    images: np.ndarray,
    labels: Sequence[str],
    *,
    batch_size: int = 32,
) -> np.ndarray:
    """Asks what is served now about the same images.

    Args:
        path: str or path. A version folder, or a served folder, whose newest version
            is meant.
        images: uint8 array (N, S, S, 3).
        labels: sequence of str. The labels of the new version.
        batch_size: int. Defaults to `32`.

    Returns:
        float32 array (N, classes): the SavedModel's answers where there is one.

    Raises:
        FileNotFoundError: if there is no version.
        ValueError: if its labels differ from `labels`.
    """
    path = Path(path)
    if found := versions(path):
        path = path / str(found[-1])
    if not (path / LABELS_FILE).is_file():
        raise FileNotFoundError(f"there is no exported version in {path}")
    served = (path / LABELS_FILE).read_text(encoding="utf-8").splitlines()
    if served != list(labels):
        raise ValueError(f"the baseline {path} has other labels than the run")
    return next(
        iter(exported_logits(replay(path, images, batch_size=batch_size)).values())
    )
