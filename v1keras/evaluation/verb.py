"""The evaluation of runs: measured, tabulated and reported."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from v1keras.data import ImageDataset, load_dataset
from v1keras.escaping import say
from v1keras.evaluation.answers import confident_mistakes
from v1keras.evaluation.build import build_table
from v1keras.evaluation.cache import LOGITS, MANIFEST, LogitCache, read_samples
from v1keras.evaluation.cautions import cautions
from v1keras.evaluation.comparison import (
    Comparison,
    compare_evaluations,
    comparison_rows,
    format_comparison,
)
from v1keras.evaluation.config import EvaluateConfig
from v1keras.evaluation.costs import costs_of_lineup, measure_costs
from v1keras.evaluation.images import CellImages, StoredImages, open_images
from v1keras.evaluation.inference import (
    OtherInference,
    inference_rows,
    other_inferences,
)
from v1keras.evaluation.lineup import Lineup
from v1keras.evaluation.predict import open_cache, predict_cells
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.evaluation.runs import (
    RunModels,
    open_runs,
    run_fingerprints,
    run_lineup,
    shown_classes,
)
from v1keras.evaluation.tables import cell_rows, format_table, write_csv, write_tables
from v1keras.files import claim, require_writable, write_json
from v1keras.reading import read_table
from v1keras.training import Run, check_same_classes, versions
from v1keras.training.strategy import (
    get_workers,
    predicting_strategy,
    wait_for_all,
    works_together,
)


@works_together("evaluates")
def evaluate(
    config: EvaluateConfig,
    runs: Mapping[str, Run] | None = None,
    dataset: ImageDataset | None = None,
    lineup: Lineup | None = None,
) -> RobustnessTable:
    """Evaluates runs and writes tables, chart and report.

    Writes `report.html`, the files of `write_tables`, `bar_chart.png`, `costs.json`,
    `config.json` and the cached logits to `config.out`. Each model's `robustness.csv`
    also goes into its run directory, unless that cannot be written or has one of more
    images. A second call resumes where the first one stopped. Several workers divide the
    cells among themselves, each on one device; the numbers are those of one process, and
    the chief writes all but the cached logits.

    Args:
        config: `EvaluateConfig`.
        runs: mapping from name to `Run`, or None. The open runs, for callers that have
            them, hidden members of ensembles included; by default those of
            `config.models` are opened.
        dataset: `ImageDataset` or None. The open data set, likewise.
        lineup: `Lineup` or None. By default the one that `config` asks for.

    Returns:
        A `RobustnessTable`.

    Raises:
        FileNotFoundError: if a run or the data are missing.
        FileExistsError: if `config.out` holds something else.
        ValueError: if runs, classes or cells do not fit together.
    """
    out = Path(config.out)
    claim(out, f"{LOGITS}/{MANIFEST}", {}, what="evaluation")
    require_writable(out)
    runs = open_runs(config.run_paths()) if runs is None else runs
    check_same_classes(list(runs.values()))
    lineup = lineup or run_lineup(config, runs)
    fingerprints = run_fingerprints(runs)
    other = _other_evaluation(config, fingerprints)
    first = next(iter(runs.values()))
    dataset = dataset or load_dataset(
        config.dataset,
        image_size=first.image_size,
        crop_fraction=first.crop_fraction,
        data_dir=config.data_dir,
    )
    classes = shown_classes(first, dataset)
    names = first.labels
    if classes is not None:
        names = tuple(first.labels[each] for each in classes)
    images, planned = open_images(config, dataset)
    cache = open_cache(
        out / LOGITS,
        fingerprints,
        images,
        noise_samples=config.noise_samples,
        seed=config.seed,
        dtype=config.logits_dtype,
        classes=classes,
    )
    cells = [cell for cell in planned if cell in images.cells]
    workers = get_workers(config.strategy)
    strategy = predicting_strategy(config.strategy)
    models = RunModels(runs, strategy)
    share = cells[workers.index :: workers.count]
    predict_cells(cache, models, images, share, batch_size=config.batch_size)
    wait_for_all(workers)
    table = build_table(
        cache,
        lineup,
        planned=planned,
        cells=cells,
        replicates=config.bootstrap,
        seed=config.seed,
        alexnet=_is_imagenet_c(images, dataset),
        class_names=names,
    )
    if not workers.is_chief:
        return table
    others = list(
        other_inferences(config, cache, models, images, lineup, planned, cells)
    )
    comparisons = compare_evaluations(cache, other, lineup) if other else []
    report = _write(config, strategy, runs, table, images, comparisons, others)
    say(*format_table(table).split("\n"))
    for caution in cautions(table, runs):
        say(f"Note: {caution}")
    if comparisons:
        say(*format_comparison(comparisons).split("\n"))
    say(f"Report: {report}")
    return table


def _write(
    config: EvaluateConfig,
    strategy: str,
    runs: Mapping[str, Run],
    table: RobustnessTable,
    images: CellImages,
    comparisons: list[Comparison],
    others: list[OtherInference],
) -> Path:
    # Only here: numbers need neither templates nor charts.
    from v1keras.evaluation.report import (
        comparison_section,
        inference_section,
        write_bar_chart,
        write_report,
    )

    out = Path(config.out)
    settings = dataclasses.asdict(config)
    contents = report_contents(out, table, runs, images, strategy=strategy)
    write_tables(out, table)
    write_bar_chart(out / "bar_chart.png", table)
    for name in table.lineup.models:
        _leave_in_run(runs[name], name, table, out)
    write_json(out / "config.json", {"settings": settings, "versions": versions()})
    sections = []
    if others:
        write_csv(out / "inference.csv", inference_rows(table, others))
        sections.append(inference_section(table, others))
    if comparisons:
        write_csv(out / "comparison.csv", comparison_rows(comparisons))
        sections.append(comparison_section(comparisons, Path(config.compare).name))
    return write_report(
        out,
        table,
        title=f"Robustness on {Path(config.dataset).name}",
        **contents,
        sections=sections,
        settings={**_given(settings), "versions": versions()},
        allow_partial=config.allow_partial,
    )


def report_contents(
    out: str | os.PathLike,
    table: RobustnessTable,
    runs: Mapping[str, Run],
    images: CellImages,
    *,
    strategy: str = "none",
) -> dict[str, Any]:
    """What a report shows beside the numbers of a table.

    Args:
        out: str or path. The folder of the evaluation; `costs.json` is written to it.
        table: `RobustnessTable`.
        runs: mapping from name to `Run`, hidden members of ensembles included.
        images: `CellImages`. Those that were shown.
        strategy: str. What the models are loaded under. Defaults to `"none"`.

    Returns:
        dict. The arguments `runs`, `costs`, `samples` and `mistakes` of `write_report`.
    """
    costs = measure_costs(out, RunModels(runs, strategy), run_fingerprints(runs))
    mistakes = confident_mistakes(table.answers, table.leading)
    return {
        "runs": runs,
        "costs": costs_of_lineup(table.lineup, costs),
        "samples": read_samples(out, table.cells),
        "mistakes": [(each, images.picture(each.cell, each.id)) for each in mistakes],
    }


def _leave_in_run(run: Run, name: str, table: RobustnessTable, out: Path) -> None:
    """Writes a run's rows where `export` looks for them, if that loses nothing."""
    rows = cell_rows(table, [name])
    file, images = run.path / "robustness.csv", sum(row["images"] for row in rows)
    if len(table.class_names) < len(run.class_names):
        why = "which knows more classes"
    elif not run.is_writable:
        why = "which cannot be written"
    elif (kept := _images_in(file, run)) > images:
        why = f"whose {file.name} is of more images in all, {kept} instead of {images}"
    else:
        write_csv(file, rows)
        return
    say(f"{out / file.name} is not copied to {run.path}, {why}.")


def _images_in(file: Path, run: Run) -> int:
    """How many images a table is of; 0 if it is none, or of an earlier model."""
    try:
        if not run.is_after_model(file):
            return 0
        rows = read_table(file, {"images": int}, "")
    except (FileNotFoundError, ValueError):
        return 0
    return sum(row["images"] for row in rows)


def _other_evaluation(
    config: EvaluateConfig, fingerprints: Mapping[str, str]
) -> LogitCache | None:
    """The logits of the evaluation to set beside this one."""
    if config.compare is None:
        return None
    folder = Path(config.compare)
    if not LogitCache.exists(folder / LOGITS):
        raise FileNotFoundError(
            f"`compare` must be the folder of an evaluation. Received: compare={folder}"
        )
    other = LogitCache.open(folder / LOGITS)
    if not set(fingerprints.items()) & set(other.fingerprints.items()):
        raise ValueError(
            "`compare` must be an evaluation of some of these models. Received: "
            f"compare={folder}, of {', '.join(other.fingerprints)}"
        )
    return other


def _is_imagenet_c(images: CellImages, dataset: ImageDataset) -> bool:
    """Whether AlexNet's errors may be set beside these: stored, all of ImageNet."""
    stored = isinstance(images, StoredImages)
    wnids = [name for name in dataset.class_names if name[0] == "n" and len(name) == 9]
    return stored and len(wnids) == 1000 and dataset.image_size == 224


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that say something: not those that were left empty."""
    return {k: v for k, v in settings.items() if v or (v == 0 and v is not False)}
