"""From models and images to a robustness table with its files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from v1keras.corruptions import CORRUPTIONS
from v1keras.evaluation.cache import LogitCache
from v1keras.evaluation.cells import CLEAN, Cell
from v1keras.evaluation.charts import write_bar_chart
from v1keras.evaluation.images import CellImages
from v1keras.evaluation.predict import open_cache, predict_cells
from v1keras.evaluation.robustness import EXTRA, RobustnessTable, build_table
from v1keras.evaluation.tables import write_tables

LOGITS = "logits"
_SHOWN_SEVERITIES = (1, 3, 5)


def evaluate_models(
    models: Mapping[str, keras.Model],
    images: CellImages,
    out: str | os.PathLike,
    *,
    cells: Sequence[Cell] | None = None,
    allow_partial: bool = False,
    ensembles: Mapping[str, Sequence[str]] | None = None,
    hidden: Sequence[str] = (),
    average: str = "logits",
    baseline: str | None = None,
    students: Sequence[str] = (),
    variants: Mapping[str, str] | None = None,
    fingerprints: Mapping[str, str] | None = None,
    noise_samples: int = 1,
    batch_size: int = 128,
    seed: int = 0,
    dtype: str = "float32",
    replicates: int = 1000,
    benchmark: str = "",
    progress: bool = True,
) -> RobustnessTable:
    """Measures the robustness of models, with all cells cached.

    Writes `logits/`, `robustness.csv`, `summary.csv`, `bar_chart.png`, and `seeds.csv`
    and `diversity.csv` where they have content, to `out`. A second call with the same
    settings computes only what is missing; models may be added.

    Args:
        models: mapping from name to `keras.Model` that takes images in 0..255 and
            returns logits. Afterwards their noise is on ("stochastic").
        images: `CellImages`, such as `OnlineImages`.
        out: str or path. A folder: new, empty or from such a call.
        cells: sequence of `Cell` or None. The cells to measure. Defaults to all that
            `images` has.
        allow_partial: bool. Whether `images` may lack some of the cells. Defaults to
            `False`.
        ensembles: mapping from a name to the names of its members, or None.
        hidden: sequence of str. Models that are shown as members of ensembles only.
        average: str. What ensembles average: `"logits"` or `"probabilities"`.
        baseline: str or None. The model that gains are relative to.
        students: sequence of str. Models that are shown as students.
        variants: mapping from model to variant or None. Models of one variant are
            summarised as training seeds.
        fingerprints: mapping from name to str or None. What tells weights apart.
            Defaults to a hash of the weights.
        noise_samples: int. Noise draws of stochastic models. Defaults to `1`.
        batch_size: int. Defaults to `128`.
        seed: int. Seed of noise and bootstrap. Defaults to `0`.
        dtype: str. Of the cached logits: `"float32"` or `"float16"`.
        replicates: int. Bootstrap replicates. Defaults to `1000`.
        benchmark: str. `"imagenet-c"` for metrics relative to AlexNet, at 224 pixels.
        progress: bool. Whether to show a progress bar. Defaults to `True`.

    Returns:
        A `RobustnessTable`.

    Raises:
        FileExistsError: if `out` is something else, or of other settings.
        ValueError: if models do not fit each other, or cells are missing.

    Example:

    >>> clean = CleanImages(split.images, split.labels, ids=split.ids)
    >>> images = OnlineImages(clean, corrupted_cells(["gaussian_noise", "fog"]))
    >>> table = evaluate_models(
    ...     {"base": base, "standard": standard}, images, "out", baseline="base"
    ... )
    >>> table.groups["standard", "noise"].gain.value
    """
    out = Path(out)
    check_folder(out)
    check_models(models)
    planned = tuple(dict.fromkeys((CLEAN, *(images.cells if cells is None else cells))))
    present = tuple(cell for cell in planned if cell in images.cells)
    missing = [str(cell) for cell in planned if cell not in present]
    if missing and not allow_partial:
        raise ValueError(
            "Some cells are missing; `allow_partial` goes on without them. "
            f"Received: no {', '.join(missing)}"
        )
    cache = open_cache(
        out / LOGITS,
        models,
        images,
        noise_samples=noise_samples,
        seed=seed,
        dtype=dtype,
        fingerprints=fingerprints,
    )
    predict_cells(
        cache, models, images, present, batch_size=batch_size, progress=progress
    )
    table = build_table(
        cache,
        [name for name in models if name not in hidden],
        planned=planned,
        cells=present,
        categories={
            name: EXTRA if corruption.extra else corruption.category
            for name, corruption in CORRUPTIONS.items()
        },
        ensembles=ensembles,
        hidden=hidden,
        average=average,
        baseline=baseline,
        students=students,
        variants=variants,
        replicates=replicates,
        seed=seed,
        benchmark=benchmark,
        image_size=next(iter(models.values())).input_shape[1],
    )
    write_tables(out, table)
    write_bar_chart(out / "bar_chart.png", table)
    return table


def read_samples(
    out: str | os.PathLike,
    table: RobustnessTable,
    severities: Sequence[int] = _SHOWN_SEVERITIES,
) -> dict[Cell, np.ndarray]:
    """Pictures of what `evaluate_models` showed, for `write_report`.

    Args:
        out: str or path. The folder of the evaluation.
        table: `RobustnessTable`.
        severities: sequence of int. Which severities. Defaults to 1, 3 and 5; all that
            there are where none of them was measured.

    Returns:
        dict from `Cell` to a uint8 array of shape `(height, width, 3)`.
    """
    cache = LogitCache.open(Path(out) / LOGITS)
    corrupted = [cell for cell in table.cells if cell != CLEAN]
    chosen = [c for c in corrupted if c.severity in severities] or corrupted
    samples = {cell: cache.sample(cell) for cell in (CLEAN, *chosen)}
    return {cell: image for cell, image in samples.items() if image is not None}


def check_folder(out: str | os.PathLike) -> None:
    """Refuses a folder that holds anything but an evaluation."""
    out = Path(out)
    if out.is_file() or (
        out.is_dir() and any(out.iterdir()) and not LogitCache.exists(out / LOGITS)
    ):
        raise FileExistsError(
            f"{out} exists and holds no evaluation to go on with; choose another folder."
        )


def check_models(models: Mapping[str, keras.Model]) -> None:
    """Refuses models that cannot be shown the same images and classes."""
    first: tuple[str, keras.Model] | None = None
    for name, model in models.items():
        if len(model.input_shape) != 4 or len(model.output_shape) != 2:
            raise ValueError(
                "A model must take images and return one vector of logits. Received: "
                f"{name} from {model.input_shape} to {model.output_shape}"
            )
        first = first or (name, model)
        for what in ("input_shape", "output_shape"):
            mine, other = getattr(model, what), getattr(first[1], what)
            if mine != other:
                raise ValueError(
                    "All models must take the same images and know the same classes. "
                    f"Received: {what} {other} of {first[0]}, {mine} of {name}"
                )
    if first is None:
        raise ValueError("There must be at least one model. Received: models={}")
