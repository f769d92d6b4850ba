"""Exported files must be accurate enough, and no worse than what is served."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from export.blessing import NOT_BLESSED, RejectedError
from export.check_images import CLEAN, CheckImages
from export.models_config import list_versions
from export.runtimes import DEFAULT_SIGNATURE, LITERT, Answers, ask_apart
from export.saved_model import LABELS_FILE

KERAS = "keras"
BASELINE = "baseline"
NO_BASELINE = "none"
CORRUPTED = "corrupted"
# The signatures that decode images are only asked about a few of them.
_EVALUATED = (DEFAULT_SIGNATURE, LITERT)


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What the accuracy of the exported files must reach.

    Args:
        min_accuracy: float. On clean images, above 0 and up to 1.
        max_loss: float. How far below that of a baseline it may lie, on clean images
            and on average over corruptions.
        keras: dict from endpoint to how far below that of the Keras model it may lie, in
            each slice.
    """

    min_accuracy: float
    max_loss: float
    keras: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Measured accuracies, and whether they are enough.

    Args:
        split: str. Where the images come from: `"validation"` or `"test"`.
        images: int. Their number.
        accuracy: dict from `"keras"`, `"serving_default"`, `"litert"` and
            `"baseline"` (as far as there are such) to a dict from slice to the share of
            right answers. Slices are `"clean"`, `"<corruption>/<severity>"` and, if
            there are such, `"corrupted"`, their mean.
        per_class: dict, by the same keys, to a dict from label to the share of right answers
            on clean images.
        thresholds: `Thresholds`.
        reasons: tuple of str. Why it is not enough; empty if it is.
    """

    split: str
    images: int
    accuracy: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    thresholds: Thresholds
    reasons: tuple[str, ...]


def judge_accuracy(
    logits: Mapping[str, np.ndarray],
    images: CheckImages,
    labels: Sequence[str],
    thresholds: Thresholds,
) -> Evaluation:
    """Judges accuracies.

    Args:
        logits: dict from `"keras"`, `"baseline"` or an endpoint to float array
            (slices * N, classes), the answers to `images.stacked()`, or
            (R, slices * N, classes) of R answers. Needs `"keras"` and an endpoint.
        images: `CheckImages`.
        labels: sequence of str. One label a class.
        thresholds: `Thresholds`.

    Returns:
        An `Evaluation`.
    """
    right = {
        model: {
            name: answers.argmax(-1) == images.truth
            for name, answers in images.divide(values).items()
        }
        for model, values in logits.items()
    }
    accuracy = {model: _accuracies(slices) for model, slices in right.items()}
    per_class = {
        model: {
            label: float(np.mean(slices[CLEAN][..., images.truth == index]))
            for index, label in enumerate(labels)
            if np.any(images.truth == index)
        }
        for model, slices in right.items()
    }
    reasons = []
    for endpoint in (name for name in _EVALUATED if name in accuracy):
        found = accuracy[endpoint]
        if found[CLEAN] < thresholds.min_accuracy:
            reasons.append(
                f"{endpoint}: accuracy {found[CLEAN]:.1%} < {thresholds.min_accuracy:.1%}"
            )
        checks = [(KERAS, name, thresholds.keras[endpoint]) for name in images.slices]
        if BASELINE in accuracy:
            names = {CLEAN, CORRUPTED} & set(found)
            checks += [(BASELINE, name, thresholds.max_loss) for name in sorted(names)]
        reasons += [
            f"{endpoint}: accuracy {found[name]:.1%} on {name} images is more than "
            f"{loss:.1%} below the {accuracy[other][name]:.1%} of {other}"
            for other, name, loss in checks
            if found[name] < accuracy[other][name] - loss
        ]
    return Evaluation(
        images.split,
        len(images.truth),
        accuracy,
        per_class,
        thresholds,
        tuple(reasons),
    )


def _accuracies(right: Mapping[str, np.ndarray]) -> dict[str, float]:
    accuracy = {name: float(np.mean(values)) for name, values in right.items()}
    corrupted = [value for name, value in accuracy.items() if name != CLEAN]
    return accuracy | ({CORRUPTED: float(np.mean(corrupted))} if corrupted else {})


def exported_logits(answers: Mapping[str, Answers]) -> dict[str, np.ndarray]:
    """The logits of those endpoints that were asked about all images."""
    return {name: answers[name].logits for name in _EVALUATED if name in answers}


def find_baseline(
    baseline: str | None, out: str | os.PathLike, labels: Sequence[str]
) -> Path | None:
    """The version that a new one is compared with.

    Args:
        baseline: str or None. A version folder, or a served folder, whose newest version
            is meant; `"none"` for no comparison. `None` means `out`.
        out: str or path. The folder that the new version is for. That it holds no
            version yet is no error.
        labels: sequence of str. The labels of the new version.

    Returns:
        Path of a version folder, or None.

    Raises:
        FileNotFoundError: if a given baseline is not there.
        ValueError: if its labels differ from `labels`.
    """
    if baseline == NO_BASELINE:
        return None
    path = Path(out if baseline is None else baseline)
    if found := list_versions(path):
        path = path / str(found[-1])
    elif baseline is None:
        return None
    if not (path / LABELS_FILE).is_file():
        raise FileNotFoundError(
            f"`baseline` must hold an exported version. Received: baseline={path}"
        )
    served = (path / LABELS_FILE).read_text(encoding="utf-8").splitlines()
    if served != list(labels):
        raise ValueError(
            "`baseline` must have the labels of the run, or be none, which exports "
            f"without a comparison. Received: baseline={path}"
        )
    return path


def baseline_logits(
    version: str | os.PathLike, images: np.ndarray, *, batch_size: int = 32
) -> np.ndarray:
    """Asks what is served now about the same images.

    Args:
        version: str or path. A version folder.
        images: uint8 array (N, S, S, 3).
        batch_size: int. Defaults to `32`.

    Returns:
        float32 array (N, classes): the SavedModel's answers where there is one.

    Raises:
        ValueError: if it does not answer.
    """
    try:
        answers = ask_apart(version, images, batch_size=batch_size)
    except ValueError as error:
        raise ValueError(
            f"the baseline {version}, which is there already, does not answer: {error}; "
            "--baseline=none exports without a comparison"
        ) from error
    return next(iter(exported_logits(answers).values()))


def bless(evaluation: Evaluation) -> dict:
    """The content of the marker `BLESSED`, a dict for JSON.

    Raises:
        RejectedError: if the evaluated files are not good enough.
    """
    content = dataclasses.asdict(evaluation)
    if evaluation.reasons:
        raise RejectedError(NOT_BLESSED, evaluation.reasons, content)
    return content
