"""The robustness table: what the logits of all cells say about each model."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from v1keras.evaluation.bootstrap import bootstrap_accuracies, interval
from v1keras.evaluation.cache import LogitCache
from v1keras.evaluation.cells import CLEAN, Cell, cell_weights, corrupted_cells
from v1keras.evaluation.metrics import (
    ALEXNET_ERRORS,
    Measurement,
    Reliability,
    ensemble_logits,
    error_correlation,
    mce_alexnet,
    measure,
    pairwise_disagreement,
    relative_gain,
    relative_mce_alexnet,
)

MEAN = "mean"
CATEGORY_ORDER = ("noise", "blur", "weather", "digital")
EXTRA = "extra"


class Estimate(NamedTuple):
    """A number and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class CellResult:
    """One model in one cell.

    Args:
        accuracy: `Estimate`. Fraction of correct images, mean over noise draws.
        gain: `Estimate` or None. Relative accuracy gain over the baseline.
        noise_std: float or None. Standard deviation of the accuracy over noise draws.
        images: int. How many images were shown.
        noise_samples: int. How many noise draws were made.
        negative_log_likelihood: float.
        brier_score: float.
        expected_calibration_error: float. In 15 bins.
    """

    accuracy: Estimate
    gain: Estimate | None
    noise_std: float | None
    images: int
    noise_samples: int
    negative_log_likelihood: float
    brier_score: float
    expected_calibration_error: float


@dataclasses.dataclass(frozen=True)
class GroupResult:
    """One model over a group of cells: clean, a corruption, a category or the mean.

    Args:
        accuracy: `Estimate`. Mean over the group's corruptions.
        gain: `Estimate` or None. That mean relative to the baseline's.
        noise_std: float or None. Standard deviation of the mean over noise draws.
        expected_calibration_error: float. Mean over the group's cells.
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
        models: tuple of str. In the order in which they are shown.
        roles: dict from model to `"baseline"`, `"member"`, `"ensemble"` or `"student"`.
        ensembles: dict from the name of an ensemble to its members.
        average: str. What the ensembles average: `"logits"` or `"probabilities"`.
        baseline: str or None. The model that gains are relative to.
        categories: dict from each corruption to its category.
        planned: tuple of `Cell`. The cells that were to be measured.
        cells: tuple of `Cell`. Those that were.
        results: dict from (model, `Cell`) to `CellResult`.
        groups: dict from (model, group) to `GroupResult`. Groups are `"clean"`, the
            corruptions, the categories and `"mean"`, which is over all corruptions
            but extra ones.
        reliability: dict from (model, `"clean"` or `"corrupted"`) to `Reliability`.
        diversity: dict from `"clean"` or `"corrupted"` to `Diversity`; empty for fewer
            than two members.
        seeds: tuple of `SeedSummary`. Variants of which there are several runs.
        alexnet: dict from model to (mCE, relative mCE) against AlexNet; empty unless
            the benchmark is the whole ImageNet-C.
    """

    models: tuple[str, ...]
    roles: dict[str, str]
    ensembles: dict[str, tuple[str, ...]]
    average: str
    baseline: str | None
    categories: dict[str, str]
    planned: tuple[Cell, ...]
    cells: tuple[Cell, ...]
    results: dict[tuple[str, Cell], CellResult]
    groups: dict[tuple[str, str], GroupResult]
    reliability: dict[tuple[str, str], Reliability]
    diversity: dict[str, Diversity]
    seeds: tuple[SeedSummary, ...] = ()
    alexnet: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

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
        present = {self.categories[name] for name in self.corruptions}
        return tuple(c for c in (*CATEGORY_ORDER, EXTRA) if c in present)

    @property
    def summary_groups(self) -> tuple[str, ...]:
        """The columns of the summary: clean, the categories and the mean."""
        mean = (MEAN,) if (self.models[0], MEAN) in self.groups else ()
        return ("clean", *self.category_names, *mean)

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


def build_table(
    cache: LogitCache,
    models: Sequence[str],
    *,
    planned: Sequence[Cell],
    categories: Mapping[str, str],
    cells: Sequence[Cell] | None = None,
    ensembles: Mapping[str, Sequence[str]] | None = None,
    hidden: Sequence[str] = (),
    average: str = "logits",
    baseline: str | None = None,
    students: Sequence[str] = (),
    variants: Mapping[str, str] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    benchmark: str = "",
    image_size: int = 0,
) -> RobustnessTable:
    """Assembles the robustness table from cached logits.

    Args:
        cache: `LogitCache` that holds all `models` in all `cells`.
        models: sequence of str. Names of models, in the order in which to show them.
        planned: sequence of `Cell`. The cells that a complete evaluation has.
        categories: mapping from corruption to category: `"noise"`, `"blur"`,
            `"weather"`, `"digital"`, or `"extra"`, which the mean leaves out.
        cells: sequence of `Cell` or None. The cells that there are, `CLEAN` among them.
            Defaults to `planned`.
        ensembles: mapping from a name to the names of its members, or None. Defaults to
            no ensembles.
        hidden: sequence of str. Names of further models, which are shown as members of
            ensembles only.
        average: str. `"logits"` or `"probabilities"`. Defaults to `"logits"`.
        baseline: str or None. The model that gains are relative to.
        students: sequence of str. Models that are shown as students.
        variants: mapping from model to the name of its variant, or None. Models of one
            variant are summarised as training seeds.
        replicates: int. Bootstrap replicates. Defaults to `1000`.
        seed: int. Seed of the bootstrap. Defaults to `0`.
        benchmark: str. `"imagenet-c"` adds the metrics relative to AlexNet where all
            cells of 224 pixels are there.
        image_size: int. Pixels of a side of the images.

    Returns:
        A `RobustnessTable`.

    Raises:
        ValueError: if a name is unknown or given twice, or the clean cell is missing.
    """
    ensembles = {name: tuple(members) for name, members in (ensembles or {}).items()}
    planned = tuple(planned)
    cells = planned if cells is None else tuple(cells)
    _check_names((*models, *hidden), ensembles, baseline, students)
    if CLEAN not in cells:
        raise ValueError(f"The clean cell is missing. Received: cells={cells}")
    shown = (*models, *ensembles)
    members = _members(models, ensembles, baseline, students)

    collected = _Collected()
    for cell in cells:
        labels, ids, logits = cache.read(cell, (*models, *hidden))
        measured = {name: measure(logits[name], labels) for name in models}
        for name, parts in ensembles.items():
            averaged = ensemble_logits([logits[p] for p in parts], average=average)
            measured[name] = measure(averaged, labels)
        collected.add(cell, ids, measured, members)

    draws = bootstrap_accuracies(
        [collected.scores(cell, shown) for cell in cells],
        [collected.ids[cell] for cell in cells],
        replicates=replicates,
        seed=seed,
    )
    groups = _groups(cells, categories)
    estimator = _Estimator(collected, draws, cells, shown, baseline)
    results = {
        (name, cell): estimator.cell(name, cell) for name in shown for cell in cells
    }
    group_results = {
        (name, group): estimator.group(name, weights)
        for name in shown
        for group, weights in groups.items()
    }
    alexnet = {}
    complete = set(corrupted_cells(tuple(ALEXNET_ERRORS))) <= set(cells)
    if benchmark == "imagenet-c" and image_size == 224 and complete:
        for name in shown:
            values = {cell: results[name, cell].accuracy.value for cell in cells}
            about = {"benchmark": benchmark, "image_size": image_size}
            alexnet[name] = (
                mce_alexnet(values, **about),
                relative_mce_alexnet(values, **about),
            )
    table = RobustnessTable(
        models=shown,
        roles=_roles(models, ensembles, baseline, students),
        ensembles=ensembles,
        average=average,
        baseline=baseline,
        categories=dict(categories),
        planned=planned,
        cells=cells,
        results=results,
        groups=group_results,
        reliability=collected.reliability,
        diversity=collected.diversity(members),
        alexnet=alexnet,
    )
    return dataclasses.replace(table, seeds=tuple(_seeds(table, variants or {})))


class _Collected:
    """What is kept of each cell when its logits are let go."""

    def __init__(self) -> None:
        self.ids: dict[Cell, np.ndarray] = {}
        self.measured: dict[tuple[str, Cell], Measurement] = {}
        self.reliability: dict[tuple[str, str], Reliability] = {}
        self._pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
            "clean": [],
            "corrupted": [],
        }

    def add(
        self,
        cell: Cell,
        ids: np.ndarray,
        measured: Mapping[str, Measurement],
        members: Sequence[str],
    ) -> None:
        kind = "clean" if cell == CLEAN else "corrupted"
        self.ids[cell] = ids
        for name, measurement in measured.items():
            known = self.reliability.get((name, kind))
            merged = measurement.reliability
            self.reliability[name, kind] = merged.merge(known) if known else merged
            self.measured[name, cell] = measurement
        if len(members) > 1:
            # Draw by draw: the mean prediction of several draws would hide that noise
            # makes members disagree.
            draws = max(len(measured[name].correct) for name in members)
            self._pairs[kind].append(
                (
                    np.mean(
                        [
                            pairwise_disagreement(
                                [_draw(measured[m].predictions, d) for m in members]
                            )
                            for d in range(draws)
                        ],
                        axis=0,
                    ),
                    np.mean(
                        [
                            error_correlation(
                                [_draw(measured[m].correct, d) for m in members]
                            )
                            for d in range(draws)
                        ],
                        axis=0,
                    ),
                )
            )

    def scores(self, cell: Cell, models: Sequence[str]) -> np.ndarray:
        """How often each image is right over draws, of shape (models, images)."""
        return np.stack([self.measured[m, cell].correct.mean(axis=0) for m in models])

    def diversity(self, members: Sequence[str]) -> dict[str, Diversity]:
        return {
            kind: Diversity(
                tuple(members),
                np.mean([disagreement for disagreement, _ in pairs], axis=0),
                _mean_of_finite([correlation for _, correlation in pairs]),
            )
            for kind, pairs in self._pairs.items()
            if pairs
        }


class _Estimator:
    """Point estimates with bootstrap intervals, of cells and of groups of cells."""

    def __init__(
        self,
        collected: _Collected,
        draws: np.ndarray,
        cells: Sequence[Cell],
        models: Sequence[str],
        baseline: str | None,
    ) -> None:
        self._collected, self._draws, self._cells = collected, draws, cells
        self._models, self._baseline = list(models), baseline

    def cell(self, model: str, cell: Cell) -> CellResult:
        one_hot = np.array([float(other == cell) for other in self._cells])
        accuracy, gain, noise_std = self._accuracy_and_gain(model, one_hot)
        measured = self._collected.measured[model, cell]
        draws, images = measured.correct.shape
        return CellResult(
            accuracy,
            gain,
            noise_std,
            images,
            draws,
            measured.negative_log_likelihood,
            measured.brier_score,
            measured.reliability.calibration_error(),
        )

    def group(self, model: str, weights: np.ndarray) -> GroupResult:
        accuracy, gain, noise_std = self._accuracy_and_gain(model, weights)
        measured = [self._collected.measured[model, cell] for cell in self._cells]
        return GroupResult(
            accuracy,
            gain,
            noise_std,
            float(weights @ [m.reliability.calibration_error() for m in measured]),
            float(weights @ [m.negative_log_likelihood for m in measured]),
            float(weights @ [m.brier_score for m in measured]),
        )

    def _accuracy_and_gain(
        self, model: str, weights: np.ndarray
    ) -> tuple[Estimate, Estimate | None, float | None]:
        per_draw = self._per_draw(model) @ weights
        resampled = self._resampled(model, weights)
        accuracy = Estimate(float(per_draw.mean()), *map(float, interval(resampled)))
        noise_std = float(per_draw.std(ddof=1)) if len(per_draw) > 1 else None
        if self._baseline is None:
            return accuracy, None, noise_std
        reference = float((self._per_draw(self._baseline) @ weights).mean())
        ratio = relative_gain(resampled, self._resampled(self._baseline, weights))
        gain = Estimate(
            float(relative_gain(accuracy.value, reference)),
            *map(float, interval(ratio)),
        )
        return accuracy, gain, noise_std

    def _per_draw(self, model: str) -> np.ndarray:
        """Accuracies of shape (draws, cells)."""
        return np.stack(
            [
                self._collected.measured[model, cell].correct.mean(axis=1)
                for cell in self._cells
            ],
            axis=1,
        )

    def _resampled(self, model: str, weights: np.ndarray) -> np.ndarray:
        # Only the group's cells: a NaN elsewhere must not spread by 0 * NaN.
        chosen = np.flatnonzero(weights)
        return self._draws[:, self._models.index(model), chosen] @ weights[chosen]


def _check_names(
    models: Sequence[str],
    ensembles: Mapping[str, Sequence[str]],
    baseline: str | None,
    students: Sequence[str],
) -> None:
    names = [*models, *ensembles]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not models:
        raise ValueError(
            "Models and ensembles need one name each, and there must be a model. "
            f"Received: {', '.join(twice) or 'no models'}"
        )
    used = [*students, *(m for parts in ensembles.values() for m in parts)]
    for name in [*used, *([] if baseline is None else [baseline])]:
        if name not in models:
            raise ValueError(
                f"There is no model named {name!r}. Known are: {', '.join(models)}. "
                f"Received: {name!r}"
            )
    for name, parts in ensembles.items():
        if not parts:
            raise ValueError(f"The ensemble {name!r} has no members. Received: ()")


def _members(
    models: Sequence[str],
    ensembles: Mapping[str, Sequence[str]],
    baseline: str | None,
    students: Sequence[str],
) -> tuple[str, ...]:
    """The models whose diversity is shown: the ensembles' members, or all members.

    An ensemble with members that are not shown themselves is left out.
    """
    shown = [parts for parts in ensembles.values() if set(parts) <= set(models)]
    if shown:
        return tuple(dict.fromkeys(member for parts in shown for member in parts))
    return tuple(m for m in models if m != baseline and m not in students)


def _roles(
    models: Sequence[str],
    ensembles: Mapping[str, Sequence[str]],
    baseline: str | None,
    students: Sequence[str],
) -> dict[str, str]:
    roles = dict.fromkeys(models, "member") | dict.fromkeys(ensembles, "ensemble")
    roles |= dict.fromkeys(students, "student")
    return roles | ({} if baseline is None else {baseline: "baseline"})


def _groups(
    cells: Sequence[Cell], categories: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """Weights over the cells for clean, each corruption, each category, the mean."""
    corruptions = list(dict.fromkeys(c.corruption for c in cells if c != CLEAN))
    unknown = sorted(set(corruptions) - set(categories))
    if unknown:
        raise ValueError(f"These have no category. Received: {', '.join(unknown)}")
    groups = {"clean": cell_weights(cells, ["clean"])}
    groups |= {name: cell_weights(cells, [name]) for name in corruptions}
    for category in (*CATEGORY_ORDER, EXTRA):
        own = [name for name in corruptions if categories[name] == category]
        if own:
            groups[category] = cell_weights(cells, own)
    benchmark = [name for name in corruptions if categories[name] != EXTRA]
    if benchmark:
        groups[MEAN] = cell_weights(cells, benchmark)
    return groups


def _seeds(
    table: RobustnessTable, variants: Mapping[str, str]
) -> Iterator[SeedSummary]:
    for variant in dict.fromkeys(variants.values()):
        runs = tuple(m for m in table.models if variants.get(m) == variant)
        if len(runs) < 2:
            continue
        summarise = functools.partial(_mean_and_std, table, runs)
        # The baseline's own gain is zero and tells nothing about its seeds.
        gain = {} if table.baseline in (None, *runs) else summarise("gain")
        yield SeedSummary(variant, runs, summarise("accuracy"), gain)


def _mean_and_std(
    table: RobustnessTable, runs: Sequence[str], attribute: str
) -> dict[str, tuple[float, float]]:
    values = {
        group: [getattr(table.groups[m, group], attribute).value for m in runs]
        for group in table.summary_groups
    }
    return {
        group: (float(np.mean(column)), float(np.std(column, ddof=1)))
        for group, column in values.items()
    }


def _draw(values: np.ndarray, draw: int) -> np.ndarray:
    """One noise draw; that of a deterministic model serves for all."""
    return values[min(draw, len(values) - 1)]


def _mean_of_pairs(matrix: np.ndarray) -> float:
    pairs = matrix[np.triu_indices(len(matrix), 1)]
    return float(_mean_of_finite(pairs))


def _mean_of_finite(values: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """The mean over the first axis, NaNs left out; NaN where there is nothing else."""
    values = np.asarray(values)
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(finite, values, 0.0).sum(axis=0) / finite.sum(axis=0)
