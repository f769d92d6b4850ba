"""The robustness table: what an evaluation says about each model, with intervals."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from v1keras.evaluation.answers import CellAnswers, confusion_matrix
from v1keras.evaluation.cells import (
    CATEGORY_ORDER,
    CLEAN,
    MEAN,
    Cell,
    category,
)
from v1keras.evaluation.lineup import Lineup
from v1keras.evaluation.metrics import Reliability


class Estimate(NamedTuple):
    """A number and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class GroupResult:
    """One model over a group of cells: clean, a corruption, a category or the mean.

    Args:
        accuracy: `Estimate`. Fraction of correct images, mean over the noise draws and
            over the group's corruptions.
        gain: `Estimate` or None. That accuracy relative to the baseline's.
        noise_std: float or None. Standard deviation of the accuracy over noise draws.
        expected_calibration_error: float. In 15 bins, mean over the group's cells.
        negative_log_likelihood: float. Likewise.
        brier_score: float. Likewise.
    """

    accuracy: Estimate
    gain: Estimate | None
    noise_std: float | None
    expected_calibration_error: float
    negative_log_likelihood: float
    brier_score: float


@dataclasses.dataclass(frozen=True)
class CellResult(GroupResult):
    """One model in one cell.

    Args:
        images: int. How many images were shown.
        noise_samples: int. How many noise draws were made.
    """

    images: int
    noise_samples: int


@dataclasses.dataclass(frozen=True)
class Diversity:
    """How differently the members of an ensemble fail.

    Args:
        models: tuple of str.
        disagreement: array of shape `(models, models)`. Fraction of images on which
            two members predict different classes, mean over cells.
        error_correlation: array of the same shape. Correlation of their errors over
            the images of a cell, mean over cells.
    """

    models: tuple[str, ...]
    disagreement: np.ndarray
    error_correlation: np.ndarray

    def mean_disagreement(self) -> float:
        """Mean over pairs of different members."""
        return _mean_of_pairs(self.disagreement)

    def mean_error_correlation(self) -> float:
        """Mean over pairs of different members."""
        return _mean_of_pairs(self.error_correlation)


@dataclasses.dataclass(frozen=True)
class SeedSummary:
    """Several training seeds of one variant.

    Args:
        variant: str.
        models: tuple of str. Its runs.
        accuracy: dict from group to (mean, standard deviation) over runs.
        gain: dict from group to (mean, standard deviation) of the relative gain; empty
            without a baseline, and for the baseline's variant.
    """

    variant: str
    models: tuple[str, ...]
    accuracy: dict[str, tuple[float, float]]
    gain: dict[str, tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class RobustnessTable:
    """Accuracy, robustness and calibration of some models, with intervals.

    `build_table` makes one.

    Args:
        lineup: `Lineup`. The models, their ensembles and roles.
        planned: tuple of `Cell`. The cells that were to be measured.
        cells: tuple of `Cell`. Those that were.
        results: dict from (model, `Cell`) to `CellResult`.
        groups: dict from (model, group) to `GroupResult`. Groups are `"clean"`, the
            corruptions, the categories and `"mean"`, which is over all corruptions
            but extra ones.
        reliability: dict from (model, `"clean"` or `"corrupted"`) to `Reliability`.
        diversity: dict from `"clean"` or `"corrupted"` to `Diversity`; empty for fewer
            than two members.
        answers: dict from `Cell` to `CellAnswers`, of all models.
        class_names: tuple of str. What the classes are called.
        alexnet: dict from model to (mCE, relative mCE) against AlexNet; empty unless
            the benchmark is the whole ImageNet-C.
    """

    lineup: Lineup
    planned: tuple[Cell, ...]
    cells: tuple[Cell, ...]
    results: dict[tuple[str, Cell], CellResult]
    groups: dict[tuple[str, str], GroupResult]
    reliability: dict[tuple[str, str], Reliability]
    diversity: dict[str, Diversity]
    answers: dict[Cell, CellAnswers]
    class_names: tuple[str, ...]
    alexnet: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """The rows: the models of the lineup, then its ensembles."""
        return self.lineup.shown

    @property
    def roles(self) -> dict[str, str]:
        """The role of each row."""
        return self.lineup.roles

    @property
    def baseline(self) -> str | None:
        """The model that gains are relative to."""
        return self.lineup.baseline

    @property
    def chance(self) -> float:
        """The accuracy of guessing: one by the number of classes."""
        return 1.0 / len(self.class_names)

    def at_chance(self, model: str, group: str) -> bool:
        """Whether the interval of an accuracy includes guessing, or lies below it."""
        return self.groups[model, group].accuracy.low <= self.chance

    @property
    def leading(self) -> str:
        """The ensemble or student that is right most often, else the model that is.

        On the mean over corruptions; on clean images if there are no others.
        """
        strong = [m for m in self.models if self.roles[m] in ("ensemble", "student")]
        last = self.summary_groups[-1]
        return max(
            strong or self.models, key=lambda m: self.groups[m, last].accuracy.value
        )

    @property
    def categories(self) -> dict[str, str]:
        """The category of each measured corruption."""
        return {name: category(name) for name in self.corruptions}

    def cells_of(self, kind: str) -> tuple[Cell, ...]:
        """The measured cells of `"clean"` or `"corrupted"` images."""
        return tuple(c for c in self.cells if (c == CLEAN) == (kind == "clean"))

    def confusion(self, model: str, cells: Sequence[Cell]) -> np.ndarray:
        """The `confusion_matrix` of a model in some cells."""
        return confusion_matrix(self.answers, model, cells, len(self.class_names))

    @property
    def missing(self) -> tuple[Cell, ...]:
        """The planned cells that were not measured."""
        return tuple(cell for cell in self.planned if cell not in self.cells)

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The measured corruptions, in the order of their categories."""
        return tuple(
            dict.fromkeys(cell.corruption for cell in self.cells if cell != CLEAN)
        )

    @property
    def category_names(self) -> tuple[str, ...]:
        """The categories that a corruption was measured of."""
        present = set(self.categories.values())
        return tuple(c for c in CATEGORY_ORDER if c in present)

    @property
    def summary_groups(self) -> tuple[str, ...]:
        """The columns of the summary: clean, the categories and the mean."""
        mean = (MEAN,) if (self.models[0], MEAN) in self.groups else ()
        return ("clean", *self.category_names, *mean)

    @property
    def seeds(self) -> tuple[SeedSummary, ...]:
        """The variants of which several training seeds were measured."""
        summaries = []
        for variant, runs in self.lineup.seeds.items():
            summarise = functools.partial(self._mean_and_std, runs)
            # The baseline's own gain is zero and tells nothing about its seeds.
            gain = {} if self.baseline in (None, *runs) else summarise("gain")
            summaries.append(SeedSummary(variant, runs, summarise("accuracy"), gain))
        return tuple(summaries)

    def _mean_and_std(
        self, runs: Sequence[str], attribute: str
    ) -> dict[str, tuple[float, float]]:
        result = {}
        for group in self.summary_groups:
            values = [getattr(self.groups[m, group], attribute).value for m in runs]
            result[group] = float(np.mean(values)), float(np.std(values, ddof=1))
        return result

    def image_counts(self) -> tuple[int, int, int]:
        """Clean images, and the least and the most images of a corrupted cell."""
        model = self.models[0]
        counts = [
            self.results[model, cell].images for cell in self.cells if cell != CLEAN
        ] or [0]
        return self.results[model, CLEAN].images, min(counts), max(counts)

    def size(self) -> str:
        """What was evaluated, in words."""
        clean, low, high = self.image_counts()
        corrupted = len(self.cells) - 1
        per_cell = f"{low}" if low == high else f"{low} to {high}"
        return (
            f"{clean} clean images; {corrupted} corrupted cells "
            f"({len(self.corruptions)} corruptions) of {per_cell} images"
        )


def _mean_of_pairs(matrix: np.ndarray) -> float:
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    return float(mean_of_finite(pairs))


def mean_of_finite(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The mean over the first axis, NaNs left out; NaN where there is nothing else."""
    values = np.asarray(values)
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(finite, values, 0.0).sum(axis=0) / finite.sum(axis=0)
