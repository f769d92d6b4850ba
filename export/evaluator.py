"""Exported files must be accurate enough, and no worse than what is served."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.stats

from export.blessing import NOT_BLESSED, RejectedError
from export.check_images import CLEAN, CheckImages
from export.integrity import require_whole
from export.models_config import list_versions
from export.runtimes import (
    DEFAULT_SIGNATURE,
    LITERT,
    SAVED_MODEL_FILE,
    Answers,
    ask_apart,
)
from export.saved_model import LABELS_FILE
from v1keras.escaping import parse_labels
from v1keras.reading import read_text

KERAS = "keras"
BASELINE = "baseline"
NO_BASELINE = "none"
CORRUPTED = "corrupted"
# A loss that chance explains in one of twenty cases is none.
_CONFIDENCE = 0.95
# Of fewer, one is more than the smallest tolerance for accuracy.
_MANY_IMAGES = 100
# The signatures that decode images are only asked about a few of them.
_EVALUATED = (DEFAULT_SIGNATURE, LITERT)


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """What the accuracy of the exported files must reach.

    Args:
        min_accuracy: float. On clean images, above 0 and up to 1.
        max_loss: float. How far below that of a baseline it may lie, on clean images
            and on average over corruptions, beyond chance.
        keras: dict from endpoint to how far below that of the Keras model it may lie, in
            each slice, beyond chance.
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
        warnings: tuple of str. Accuracies that may be chance, and what few images cannot
            tell.
    """

    split: str
    images: int
    accuracy: dict[str, dict[str, float]]
    per_class: dict[str, dict[str, float]]
    thresholds: Thresholds
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]


def judge_accuracy(
    rankings: Mapping[str, np.ndarray],
    images: CheckImages,
    labels: Sequence[str],
    thresholds: Thresholds,
) -> Evaluation:
    """Judges accuracies.

    Two models answer the same images, so a loss is judged by a paired t-test: it counts
    as more than what is allowed if the lower end of its one-sided 95 % interval is.

    Args:
        rankings: dict from `"keras"`, `"baseline"` or an endpoint to float array
            (slices * N, classes), logits of or probabilities for `images.stacked()`, or
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
        for model, values in rankings.items()
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
            if certain_loss(
                _shares(right[other], name) - _shares(right[endpoint], name)
            )
            > loss
        ]
    return Evaluation(
        images.split,
        len(images.truth),
        accuracy,
        per_class,
        thresholds,
        tuple(reasons),
        (
            *_warn_of_chance(right, len(labels)),
            *_warn_of_few(len(images.truth), max(thresholds.keras.values())),
        ),
    )


def certain_loss(losses: np.ndarray) -> float:
    """The lower end of the one-sided 95 % interval of a mean loss.

    Args:
        losses: float array (N,). How much more often one model is right about each image
            than another one, -1 to 1.

    Returns:
        float, at most the mean; minus infinity for a single image, which proves nothing.
    """
    count = len(losses)
    if count == 1:
        return -np.inf
    quantile = scipy.stats.t.ppf(_CONFIDENCE, count - 1)
    return float(losses.mean() - quantile * losses.std(ddof=1) / np.sqrt(count))


def _shares(right: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """How often a model is right about each image, over its answers and slices."""
    slices = [name] if name != CORRUPTED else [each for each in right if each != CLEAN]
    answers = [np.atleast_2d(right[each]).mean(0) for each in slices]
    return np.mean(answers, axis=0)


def _warn_of_chance(
    right: Mapping[str, Mapping[str, np.ndarray]], classes: int
) -> Iterator[str]:
    for endpoint in (name for name in _EVALUATED if name in right):
        hits = right[endpoint][CLEAN]
        test = scipy.stats.binomtest(
            int(hits.sum()), len(hits), 1 / classes, alternative="greater"
        )
        if test.pvalue > 1 - _CONFIDENCE:
            yield (
                f"{endpoint}: accuracy {hits.mean():.1%} on clean images may be chance, "
                f"which is {1 / classes:.1%}"
            )


def _warn_of_few(count: int, tolerance: float) -> tuple[str, ...]:
    if count >= _MANY_IMAGES:
        return ()
    lost = np.tri(count + 1, count, -1)  # Row k: k of the images are lost.
    passed = sum(certain_loss(each) <= tolerance for each in lost) - 1
    return (
        f"the checks rest on {count} images: one is {1 / count:.1%}, and a loss of "
        f"{passed / count:.1%} would pass; --images, or a larger --validation_fraction "
        "in training, tells more",
    )


def _accuracies(right: Mapping[str, np.ndarray]) -> dict[str, float]:
    accuracy = {name: float(np.mean(values)) for name, values in right.items()}
    corrupted = [value for name, value in accuracy.items() if name != CLEAN]
    return accuracy | ({CORRUPTED: float(np.mean(corrupted))} if corrupted else {})


def exported_rankings(answers: Mapping[str, Answers]) -> dict[str, np.ndarray]:
    """`Answers.ranking` of those endpoints that were asked about all images."""
    return {name: answers[name].ranking for name in _EVALUATED if name in answers}


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
        ValueError: if it is damaged, or its labels differ from `labels`.
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
    try:
        require_whole(path, f"the baseline {path}, with which exports are compared,")
    except ValueError as error:
        raise ValueError(
            f"{error}; roll back to a version that is whole, or export without a "
            "comparison by --baseline=none"
        ) from error
    remedy = "put back a copy of it, or set --baseline=none"
    if parse_labels(read_text(path / LABELS_FILE, remedy)) != tuple(labels):
        raise ValueError(
            "`baseline` must have the labels of the run, or be none, which exports "
            f"without a comparison. Received: baseline={path} with other ones in its "
            f"{LABELS_FILE}"
        )
    return path


def baseline_ranking(
    version: str | os.PathLike, images: np.ndarray, *, batch_size: int = 32
) -> np.ndarray:
    """Asks what is served now about the same images.

    Args:
        version: str or path. A version folder.
        images: uint8 array (N, S, S, 3).
        batch_size: int. Defaults to `32`.

    Returns:
        float32 array (N, classes): logits or probabilities, of the SavedModel where
        there is one.

    Raises:
        ValueError: if it does not answer.
    """
    has_saved_model = (Path(version) / SAVED_MODEL_FILE).is_file()
    endpoint = DEFAULT_SIGNATURE if has_saved_model else LITERT
    try:
        answers = ask_apart(version, images, batch_size=batch_size, endpoint=endpoint)
    except ValueError as error:
        raise ValueError(
            f"the baseline {version}, which is there already, does not answer: {error}; "
            "--baseline=none exports without a comparison"
        ) from error
    return answers[endpoint].ranking


def bless(evaluation: Evaluation) -> dict:
    """The content of the marker `BLESSED`, a dict for JSON.

    Raises:
        RejectedError: if the evaluated files are not good enough.
    """
    content = dataclasses.asdict(evaluation)
    if evaluation.reasons:
        raise RejectedError(NOT_BLESSED, evaluation.reasons, content)
    return content
