"""From the logits of all cells to the robustness table."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from v1keras.evaluation.answers import CellAnswers
from v1keras.evaluation.bootstrap import bootstrap_accuracies, interval
from v1keras.evaluation.cache import LogitCache
from v1keras.evaluation.cells import CLEAN, Cell, corrupted_cells, group_weights
from v1keras.evaluation.lineup import Lineup
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
)
from v1keras.evaluation.robustness import (
    CellResult,
    Diversity,
    Estimate,
    GroupResult,
    RobustnessTable,
    mean_of_finite,
)

_Measured = Mapping[tuple[str, Cell], Measurement]


def build_table(
    cache: LogitCache,
    lineup: Lineup,
    *,
    planned: Sequence[Cell],
    cells: Sequence[Cell] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    alexnet: bool = False,
    class_names: Sequence[str] | None = None,
) -> RobustnessTable:
    """Assembles the robustness table from cached logits.

    Args:
        cache: `LogitCache` that holds all models of the lineup in all `cells`.
        lineup: `Lineup`.
        planned: sequence of `Cell`. The cells that a complete evaluation has.
        cells: sequence of `Cell` or None. The cells that there are, `CLEAN` among them.
            Defaults to `planned`.
        replicates: int. Bootstrap replicates. Defaults to `1000`.
        seed: int. Seed of the bootstrap. Defaults to `0`.
        alexnet: bool. Whether the images are those of ImageNet-C at 224 pixels: adds
            the metrics relative to AlexNet where all its cells are there. Defaults to
            `False`.
        class_names: sequence of str or None. What to call the classes. Defaults to
            their numbers.

    Returns:
        A `RobustnessTable`.

    Raises:
        ValueError: if the clean cell is missing.
    """
    planned = tuple(planned)
    cells = planned if cells is None else tuple(cells)
    if CLEAN not in cells:
        raise ValueError(f"`cells` must hold the clean one. Received: cells={cells}")
    answers: dict[Cell, CellAnswers] = {}
    measured: dict[tuple[str, Cell], Measurement] = {}
    for cell in cells:
        labels, names, logits = cache.read(cell, lineup.measured)
        # Most cells show the same images: their names, which are long, are kept once.
        for other in answers.values():
            if np.array_equal(other.ids, names):
                names = other.ids
                break
        for model in lineup.models:
            measured[model, cell] = measure(logits[model], labels)
        for name, parts in lineup.ensembles.items():
            mean = ensemble_logits([logits[p] for p in parts], average=lineup.average)
            measured[name, cell] = measure(mean, labels)
        answers[cell] = CellAnswers(
            names,
            labels,
            {model: measured[model, cell].predictions for model in lineup.shown},
            {model: measured[model, cell].confidences for model in lineup.shown},
        )
    classes = next(iter(logits.values())).shape[-1]
    draws = bootstrap_accuracies(
        [_scores(measured, lineup.shown, cell) for cell in cells],
        [answers[cell].ids for cell in cells],
        replicates=replicates,
        seed=seed,
    )
    estimator = _Estimator(measured, draws, cells, lineup)
    results = {
        (model, cell): estimator.cell(model, cell)
        for model in lineup.shown
        for cell in cells
    }
    groups = {
        (model, group): estimator.group(model, weights)
        for model in lineup.shown
        for group, weights in group_weights(cells).items()
    }
    kinds = {"clean": [CLEAN], "corrupted": [cell for cell in cells if cell != CLEAN]}
    kinds = {kind: there for kind, there in kinds.items() if there}
    relative_to_alexnet = {}
    if alexnet and set(corrupted_cells(tuple(ALEXNET_ERRORS))) <= set(cells):
        for model in lineup.shown:
            values = {cell: results[model, cell].accuracy.value for cell in cells}
            relative_to_alexnet[model] = mce_alexnet(
                values, benchmark="imagenet-c", image_size=224
            )
    return RobustnessTable(
        lineup=lineup,
        planned=planned,
        cells=cells,
        results=results,
        groups=groups,
        reliability={
            (model, kind): functools.reduce(
                Reliability.merge, (measured[model, c].reliability for c in there)
            )
            for model in lineup.shown
            for kind, there in kinds.items()
        },
        diversity={
            kind: _diversity(measured, lineup.members, there)
            for kind, there in kinds.items()
            if len(lineup.members) > 1
        },
        answers=answers,
        class_names=tuple(class_names or map(str, range(classes))),
        alexnet=relative_to_alexnet,
    )


class _Estimator:
    """Point estimates with bootstrap intervals, of cells and of groups of cells."""

    def __init__(
        self,
        measured: _Measured,
        draws: np.ndarray,
        cells: Sequence[Cell],
        lineup: Lineup,
    ) -> None:
        self._measured, self._draws, self._cells = measured, draws, cells
        self._lineup = lineup

    def cell(self, model: str, cell: Cell) -> CellResult:
        one_hot = np.array([float(other == cell) for other in self._cells])
        draws, images = self._measured[model, cell].correct.shape
        return CellResult(
            **vars(self.group(model, one_hot)), images=images, noise_samples=draws
        )

    def group(self, model: str, weights: np.ndarray) -> GroupResult:
        # Only the group's cells: a NaN elsewhere must not spread by 0 * NaN.
        chosen = np.flatnonzero(weights)
        weights = weights[chosen]
        measured = [self._measured[model, self._cells[i]] for i in chosen]
        per_draw, resampled = self._accuracies(model, chosen, weights)
        accuracy = _estimate(per_draw.mean(), resampled)
        gain = None
        if self._lineup.baseline is not None:
            reference = self._accuracies(self._lineup.baseline, chosen, weights)
            gain = _estimate(
                relative_gain(accuracy.value, reference[0].mean()),
                relative_gain(resampled, reference[1]),
            )
        return GroupResult(
            accuracy,
            gain,
            float(per_draw.std(ddof=1)) if len(per_draw) > 1 else None,
            float(weights @ [m.reliability.calibration_error() for m in measured]),
            float(weights @ [m.negative_log_likelihood for m in measured]),
            float(weights @ [m.brier_score for m in measured]),
        )

    def _accuracies(
        self, model: str, chosen: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean over some cells, for each noise draw and each bootstrap replicate."""
        per_draw = [
            self._measured[model, self._cells[i]].correct.mean(axis=1) for i in chosen
        ]
        resampled = self._draws[:, self._lineup.shown.index(model), chosen]
        return weights @ per_draw, resampled @ weights


def _estimate(value: float, resampled: np.ndarray) -> Estimate:
    return Estimate(float(value), *map(float, interval(resampled)))


def _scores(measured: _Measured, models: Sequence[str], cell: Cell) -> np.ndarray:
    """How often each image is right over draws, of shape (models, images)."""
    return np.stack([measured[model, cell].correct.mean(axis=0) for model in models])


def _diversity(
    measured: _Measured, members: Sequence[str], cells: Sequence[Cell]
) -> Diversity:
    """The mean over cells, and over noise draws within each.

    Draw by draw: the mean prediction of several draws would hide that noise makes
    members disagree. The one draw of a member without noise serves for all.
    """

    def mean(metric, attribute):
        cell_means = []
        for cell in cells:
            values = [getattr(measured[member, cell], attribute) for member in members]
            matrices = [
                metric([value[min(draw, len(value) - 1)] for value in values])
                for draw in range(max(map(len, values)))
            ]
            cell_means.append(np.mean(matrices, axis=0))
        return mean_of_finite(cell_means)

    return Diversity(
        tuple(members),
        mean(pairwise_disagreement, "predictions"),
        mean(error_correlation, "correct"),
    )
