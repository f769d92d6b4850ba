"""Other ways to ask the same models: the mean of noise draws, batch statistics."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import keras

from v1keras.escaping import say
from v1keras.evaluation.adaptation import AdaptedModels
from v1keras.evaluation.build import build_table
from v1keras.evaluation.cache import CellLogits, LogitCache
from v1keras.evaluation.cells import Cell
from v1keras.evaluation.config import EvaluateConfig
from v1keras.evaluation.images import CellImages
from v1keras.evaluation.lineup import Lineup
from v1keras.evaluation.metrics import ensemble_logits
from v1keras.evaluation.predict import open_cache, predict_cells
from v1keras.evaluation.robustness import RobustnessTable

_FOLDER = "logits_adapted"


class OtherInference(NamedTuple):
    """The same models, asked in another way.

    Args:
        name: str. What stands above its column.
        note: str. What it costs, or needs.
        table: `RobustnessTable`.
    """

    name: str
    note: str
    table: RobustnessTable


class MeanOfDraws:
    """A view of a `LogitCache`, in which a draw is the mean of several noise draws.

    Args:
        cache: `LogitCache` of a multiple of `draws` noise draws.
        draws: int. How many to average.
        average: str. What is averaged: `"logits"` or `"probabilities"`.
    """

    def __init__(self, cache: LogitCache, draws: int, average: str) -> None:
        self._cache, self._draws, self._average = cache, draws, average

    def read(self, cell: Cell, models: Iterable[str] | None = None) -> CellLogits:
        """As `LogitCache.read`."""
        given = self._cache.read(cell, models)
        return given._replace(
            logits={
                name: logits
                if len(logits) == 1
                else ensemble_logits(
                    [logits[i :: self._draws] for i in range(self._draws)],
                    average=self._average,
                )
                for name, logits in given.logits.items()
            }
        )


def other_inferences(
    config: EvaluateConfig,
    cache: LogitCache,
    models: Mapping[str, keras.Model],
    images: CellImages,
    lineup: Lineup,
    planned: Sequence[Cell],
    cells: Sequence[Cell],
) -> Iterator[OtherInference]:
    """What a configuration asks for beside the usual inference.

    Args:
        config: `EvaluateConfig`.
        cache: `LogitCache` of all models in all cells.
        models: mapping from name to `keras.Model`; looked up only for what is missing.
        images: `CellImages`.
        lineup: `Lineup`.
        planned: sequence of `Cell`. As of `build_table`.
        cells: sequence of `Cell`. Likewise.

    Yields:
        `OtherInference`.
    """
    options = {
        "planned": planned,
        "cells": cells,
        "replicates": config.bootstrap,
        "seed": config.seed,
    }
    k, n = config.noise_draws, config.adapted_batch
    if k > 1:
        view = MeanOfDraws(cache, k, lineup.average)
        yield OtherInference(
            f"mean of {k} noise draws",
            f"The mean of {k} noise draws takes {k} times the computation of a model "
            "with noise, and changes none without.",
            build_table(view, lineup, **options),
        )
    if n:
        shuffled = images.shuffled(config.seed)
        adapted = open_cache(
            Path(config.out) / _FOLDER,
            cache.fingerprints,
            shuffled,
            noise_samples=config.noise_samples,
            seed=config.seed,
            dtype=config.logits_dtype,
            batch=n,
            classes=cache.settings.get("classes"),
        )
        say(f"Batch statistics of {n} test images")
        predict_cells(adapted, AdaptedModels(models), shuffled, cells, batch_size=n)
        yield OtherInference(
            f"adapted to {n} images",
            f"Adapted: batch normalisation by the statistics of {n} test images of the "
            "same corruption, in random order. It knows more than the other columns, "
            "and is not to be compared with results of single images.",
            build_table(adapted, lineup, **options),
        )


def inference_rows(
    table: RobustnessTable, others: Sequence[OtherInference]
) -> list[dict[str, Any]]:
    """One row per model, group of the summary and way to ask it, for a CSV file."""
    ways = [("usual", table), *((other.name, other.table) for other in others)]
    return [
        {
            "inference": name,
            "model": model,
            "group": group,
            **{
                key: round(value, 6)
                for key, value in shown.groups[model, group].accuracy._asdict().items()
            },
        }
        for name, shown in ways
        for model in shown.models
        for group in shown.summary_groups
    ]
