"""What models answered, image by image: confusions, classes and mistakes."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from v1keras.evaluation.cells import CLEAN, Cell


@dataclasses.dataclass(frozen=True)
class CellAnswers:
    """What the models answered in one cell.

    Args:
        ids: str array of shape `(images,)`.
        labels: int array of shape `(images,)`.
        predictions: dict from model to an int array of shape `(draws, images)`.
        confidences: dict from model to a float array of that shape, the probabilities
            of the predictions.
    """

    ids: np.ndarray
    labels: np.ndarray
    predictions: dict[str, np.ndarray]
    confidences: dict[str, np.ndarray]


Answers = Mapping[Cell, CellAnswers]


def confusion_matrix(
    answers: Answers, model: str, cells: Sequence[Cell], classes: int
) -> np.ndarray:
    """How often a model names each class for images of each class.

    Args:
        answers: mapping from `Cell` to `CellAnswers`.
        model: str.
        cells: sequence of `Cell`. Those to add up.
        classes: int. The number of classes.

    Returns:
        int array of shape `(classes, classes)`: rows are labels, columns predictions;
        each noise draw counts.
    """
    counts = np.zeros(classes * classes, np.int64)
    for cell in cells:
        predictions = answers[cell].predictions[model]
        places = answers[cell].labels * classes + predictions
        counts += np.bincount(places.ravel(), minlength=len(counts))
    return counts.reshape(classes, classes)


class ClassScores(NamedTuple):
    """How well each class is told from the others; arrays of shape `(classes,)`.

    Args:
        answers: how often the class was shown, each noise draw counted.
        recall: which share of them names it; NaN without answers.
        precision: which share of the answers that name it is right; NaN without such.
    """

    answers: np.ndarray
    recall: np.ndarray
    precision: np.ndarray

    @property
    def balanced_accuracy(self) -> float:
        """The mean recall of the classes that were shown, each counting alike."""
        return float(np.nanmean(self.recall))


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Recall and precision of each class, from a `confusion_matrix`."""
    right, shown, named = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):
        return ClassScores(shown, right / shown, right / named)


class Mistake(NamedTuple):
    """An image that a model took for another class.

    Args:
        cell: `Cell`.
        id: str. The image.
        label: int. Its class.
        prediction: int. What the model named.
        confidence: float. The probability that it gave that.
    """

    cell: Cell
    id: str
    label: int
    prediction: int
    confidence: float


def confident_mistakes(
    answers: Answers, model: str, count: int = 8
) -> tuple[Mistake, ...]:
    """The mistakes that a model was surest of, on clean images and under corruption.

    Args:
        answers: mapping from `Cell` to `CellAnswers`.
        model: str.
        count: int. How many on clean images, and how many corruptions to show one of.
            Defaults to `8`.

    Returns:
        tuple of `Mistake`, of the first noise draw: those on clean images, then one for
        each corruption, the surest first in both.
    """
    clean, corrupted = [], {}
    for cell, given in answers.items():
        found = sorted(_mistakes(cell, given, model), key=lambda m: -m.confidence)
        if cell == CLEAN:
            clean = found
        elif found:
            known = corrupted.get(cell.corruption, found[0])
            corrupted[cell.corruption] = max(
                known, found[0], key=lambda m: m.confidence
            )
    surest = sorted(corrupted.values(), key=lambda m: -m.confidence)
    return (*clean[:count], *surest[:count])


def _mistakes(cell: Cell, given: CellAnswers, model: str) -> Iterator[Mistake]:
    predictions, confidences = given.predictions[model][0], given.confidences[model][0]
    for i in np.flatnonzero(predictions != given.labels):
        yield Mistake(
            cell,
            str(given.ids[i]),
            int(given.labels[i]),
            int(predictions[i]),
            float(confidences[i]),
        )


def prediction_rows(
    answers: Answers, class_names: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """One row per cell and image: what it is, and what each model took it for.

    Args:
        answers: mapping from `Cell` to `CellAnswers`.
        class_names: sequence of str.

    Yields:
        dicts with equal keys: corruption, severity, id, label, and for each model
        `prediction:model` and `confidence:model`, of the first noise draw.
    """
    names = np.asarray(class_names, object)
    for cell, given in answers.items():
        columns = {"id": given.ids, "label": names[given.labels]}
        for model, predictions in given.predictions.items():
            columns[f"prediction:{model}"] = names[predictions[0]]
            columns[f"confidence:{model}"] = [
                round(value, 4) for value in given.confidences[model][0].tolist()
            ]
        for values in zip(*columns.values(), strict=True):
            yield {
                "corruption": cell.corruption,
                "severity": cell.severity,
                **dict(zip(columns, values, strict=True)),
            }
