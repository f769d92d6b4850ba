"""The evaluation of models that are in memory."""

import os
from collections.abc import Mapping
from pathlib import Path

import keras

from v1keras.evaluation.build import build_table
from v1keras.evaluation.cache import LOGITS, MANIFEST
from v1keras.evaluation.images import CellImages
from v1keras.evaluation.lineup import Lineup
from v1keras.evaluation.predict import (
    check_models,
    open_cache,
    predict_cells,
    weights_fingerprint,
)
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.evaluation.tables import write_tables
from v1keras.files import claim


def evaluate_models(
    models: Mapping[str, keras.Model],
    images: CellImages,
    out: str | os.PathLike,
    *,
    lineup: Lineup | None = None,
    noise_samples: int = 1,
    batch_size: int = 128,
    replicates: int = 1000,
    seed: int = 0,
) -> RobustnessTable:
    """Measures the robustness of models, with all cells cached.

    Writes `logits/` and the files of `write_tables` to `out`. A second call with the
    same settings computes only what is missing; models may be added.

    Args:
        models: mapping from name to `keras.Model` that takes images in 0..255 and
            returns logits. Their V1 noise is on while they are measured.
        images: `CellImages`, such as `OnlineImages`.
        out: str or path. A folder: new, empty or from such a call.
        lineup: `Lineup` or None. Roles and ensembles of the models. Defaults to all
            models as members.
        noise_samples: int. Noise draws of stochastic models. Defaults to `1`.
        batch_size: int. Defaults to `128`.
        replicates: int. Bootstrap replicates. Defaults to `1000`.
        seed: int. Seed of noise and bootstrap. Defaults to `0`.

    Returns:
        A `RobustnessTable`.

    Raises:
        FileExistsError: if `out` is something else, or of other settings.
        ValueError: if models do not fit each other or the lineup.

    Example:

    >>> from v1keras.data import load_dataset
    >>> from v1keras.evaluation import Cell, CleanImages, OnlineImages
    >>> from v1keras.training import Run
    >>> split = load_dataset("shapes:24:24").split("test")
    >>> clean = CleanImages(split.images, split.labels, ids=split.ids)
    >>> images = OnlineImages(clean, [Cell("shot_noise", 3), Cell("fog", 3)])
    >>> names = ("base", "low_noise")
    >>> models = {name: Run.open(f"runs/{name}").load_model() for name in names}
    >>> lineup = Lineup(names, baseline="base")
    >>> table = evaluate_models(models, images, "out", lineup=lineup)
    1/3 clean: ...
    >>> 0 <= table.groups["low_noise", "noise"].accuracy.value <= 1
    True
    """
    lineup = lineup or Lineup(tuple(models))
    if set(lineup.measured) != set(models):
        raise ValueError(
            "`lineup` must be of `models`. Received: models="
            f"{', '.join(models) or '{}'}, a lineup of {', '.join(lineup.measured)}"
        )
    check_models(models)
    claim(out, f"{LOGITS}/{MANIFEST}", {}, what="evaluation")
    cache = open_cache(
        Path(out) / LOGITS,
        {name: weights_fingerprint(model) for name, model in models.items()},
        images,
        noise_samples=noise_samples,
        seed=seed,
    )
    predict_cells(cache, models, images, images.cells, batch_size=batch_size)
    table = build_table(
        cache, lineup, planned=images.cells, replicates=replicates, seed=seed
    )
    write_tables(out, table)
    return table
