"""`python -m v1keras.evaluate`: runs under image corruptions, as table and report."""

import collections
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from v1keras import command_line
from v1keras.command_line import option
from v1keras.corruptions import BENCHMARK, SEVERITIES, canonical_name
from v1keras.data import ImageDataset, load_dataset, open_corrupted
from v1keras.evaluation import (
    Cell,
    CleanImages,
    LogitCache,
    OnlineImages,
    RobustnessTable,
    StoredImages,
    agreement_rows,
    compare,
    corrupted_cells,
    evaluate_models,
    format_agreement,
    format_table,
    read_samples,
    side_by_side,
    write_report,
)
from v1keras.evaluation.evaluate_models import LOGITS, check_folder
from v1keras.evaluation.images import CellImages
from v1keras.evaluation.tables import cell_rows, write_csv
from v1keras.files import file_fingerprint, write_json
from v1keras.training import Run, check_same_classes, versions
from v1keras.training.config import STRATEGIES
from v1keras.training.run import MODEL_FILE, check_classes
from v1keras.training.strategy import get_strategy

ENSEMBLE = "ensemble"
# What stands for a training seed in the path of a run.
_SEED = "{seed}"
# Settings in which two runs of one variant may differ and still be seeds of it.
_NOT_THE_VARIANT = ("seed", "out", "data_dir", "strategy", "members")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """What to evaluate on what. Every field is a flag."""

    out: str = option(required=True, help="Folder of the evaluation.")
    models: tuple[str, ...] = option(
        required=True,
        help="Run directories to compare; {seed} in one stands for each of --seeds.",
    )
    seeds: tuple[str, ...] = option(
        (),
        "Training seeds, put in place of {seed}: --models=runs/base-{seed} "
        "--seeds=0,1,2.",
    )
    dataset: str = option(
        "shapes",
        "shapes, a folder of images, or a name of TensorFlow Datasets; its test images "
        "are shown.",
    )
    corrupted: str = option(
        "online",
        "online corrupts the test images here; none shows clean ones only; else the "
        "path or name of a stored corrupted set, such as ImageNet-C.",
    )
    jpeg: bool = option(
        False,
        "Compress images that are corrupted online as JPEG of quality 85, as the "
        "published sets were when they were stored.",
    )
    ensemble: bool = option(False, "Evaluate the ensemble of the members too.")
    ensemble_members: tuple[str, ...] = option(
        (), "Names of its members; by default all models but baseline and students."
    )
    average: str = option(
        "logits", "What the ensemble averages.", choices=("logits", "probabilities")
    )
    baseline: str | None = option(
        None, "Name of the model that gains are relative to; by default variant base."
    )
    corruptions: tuple[str, ...] = option(
        (), "Corruptions to measure; by default the 15 of the benchmark."
    )
    severities: tuple[str, ...] = option(
        tuple(map(str, SEVERITIES)), "Severities to measure."
    )
    max_images: int | None = option(
        None, "Show a random subset of so many images per cell."
    )
    noise_samples: int = option(1, "Noise draws of stochastic models.")
    batch_size: int = option(128, "Images in a batch, over all replicas.")
    seed: int = option(0, "Seed of corruptions, noise, subset and bootstrap.")
    bootstrap: int = option(1000, "Bootstrap replicates behind the intervals.")
    logits_dtype: str = option(
        "float32",
        "Number type of the cached logits; float16 halves the files.",
        choices=("float32", "float16"),
    )
    data_dir: str | None = option(None, "Where TensorFlow Datasets keeps its data.")
    strategy: str = option(
        "auto",
        "mirrored computes on all GPUs; auto does where there are several.",
        choices=STRATEGIES,
    )
    compare: str | None = option(
        None,
        "Folder of another evaluation of these models, to set beside this one: whether "
        "accuracies per corruption agree.",
    )
    allow_partial: bool = option(
        False, "Go on when the corrupted set lacks some of the cells."
    )

    def __post_init__(self):
        for name in ("noise_samples", "batch_size", "bootstrap", "max_images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: {name}={value}"
                )
        if self.seed < 0:
            raise ValueError(f"`seed` must be at least 0. Received: seed={self.seed}")
        known = {str(severity) for severity in SEVERITIES}
        wrong = [str(s) for s in self.severities if str(s) not in known]
        if wrong or not self.severities:
            raise ValueError(
                f"`severities` must be some of 1..5. Received: {', '.join(wrong)}"
            )
        for name in self.corruptions:
            canonical_name(name)
        if any(not seed.isdecimal() for seed in self.seeds):
            raise ValueError(
                "`seeds` must be numbers, at least 0. "
                f"Received: seeds={','.join(self.seeds)}"
            )
        if self.jpeg and self.corrupted != "online":
            raise ValueError(
                "`jpeg` is for images that are corrupted online. "
                f"Received: jpeg=True, corrupted={self.corrupted}"
            )
        if bool(self.seeds) != any(_SEED in path for path in self.models):
            raise ValueError(
                f"`seeds` and a {_SEED} in `models` need each other. Received: "
                f"models={','.join(self.models)}, seeds={','.join(self.seeds)}"
            )

    def run_paths(self) -> tuple[str, ...]:
        """The run directories, with every seed in place of `{seed}`."""
        return tuple(
            path.replace(_SEED, seed)
            for path in self.models
            for seed in (self.seeds if _SEED in path else ("",))
        )


def evaluate(
    config: EvaluateConfig, *, controls: Mapping[str, Sequence[str]] | None = None
) -> RobustnessTable:
    """Evaluates runs and writes tables, chart and report.

    Writes `report.html`, `robustness.csv`, `summary.csv`, `bar_chart.png`,
    `config.json` and the cached logits to `config.out`, and each model's
    `robustness.csv` into its run directory. A second call goes on where the first one
    stopped.

    Args:
        config: `EvaluateConfig`.
        controls: mapping from the name of a further ensemble to the run directories of
            its members, or None. Those that are not among `config.models` are shown as
            members of it only.

    Returns:
        A `RobustnessTable`.

    Raises:
        FileNotFoundError: if a run or the data are missing.
        FileExistsError: if `config.out` holds something else.
        ValueError: if runs, classes or cells do not fit together.
    """
    out = Path(config.out)
    check_folder(out)
    controls = controls or {}
    paths = config.run_paths()
    others = [p for group in controls.values() for p in group if p not in paths]
    every = open_runs((*paths, *dict.fromkeys(others)))
    check_same_classes(list(every.values()))
    runs = dict(itertools.islice(every.items(), len(paths)))
    variants = _variants(runs)
    _check_seeds(config, runs, variants)
    baseline = _baseline(config, runs)
    students = [n for n, run in runs.items() if run.config["kind"] == "student"]
    ensembles = _ensembles(config, runs, baseline, students)
    names = {str(each.path): name for name, each in every.items()}
    for name, group in controls.items():
        ensembles[name] = tuple(names[str(Path(path))] for path in group)
    fingerprints = {n: file_fingerprint(r.path / MODEL_FILE) for n, r in every.items()}
    other = _other_evaluation(config, fingerprints)
    first = next(iter(runs.values()))
    data = load_dataset(
        config.dataset, image_size=first.image_size, data_dir=config.data_dir
    )
    check_classes(first, f"data set {data.name}", data.class_names)
    images, cells = _images(config, data)

    with get_strategy(config.strategy).scope():
        models = {name: run.load_model() for name, run in every.items()}
    for name, each in every.items():
        if not each.is_finished:
            print(f"{name}: training has not finished; evaluated is its best epoch.")
    table = evaluate_models(
        models,
        images,
        out,
        cells=cells,
        allow_partial=config.allow_partial,
        ensembles=ensembles,
        hidden=tuple(name for name in every if name not in runs),
        average=config.average,
        baseline=baseline,
        students=students,
        variants=variants,
        fingerprints=fingerprints,
        noise_samples=config.noise_samples,
        batch_size=config.batch_size,
        seed=config.seed,
        dtype=config.logits_dtype,
        replicates=config.bootstrap,
        benchmark=_benchmark(config, data),
    )
    for name, each in runs.items():
        write_csv(each.path / "robustness.csv", cell_rows(table, [name]))
    settings = dataclasses.asdict(config)
    write_json(out / "config.json", {"settings": settings, "versions": versions()})
    agreements = []
    if other:
        agreements = compare(
            LogitCache.open(out / LOGITS),
            other,
            ensembles=ensembles,
            average=config.average,
        )
        write_csv(out / "agreement.csv", agreement_rows(agreements))
    report = write_report(
        out,
        table,
        title=f"Robustness on {Path(config.dataset).name}",
        samples=read_samples(out, table),
        sections=[side_by_side(agreements, Path(config.compare).name)]
        if agreements
        else (),
        settings={**_shown(settings), "versions": versions()},
        allow_partial=config.allow_partial,
    )
    print(format_table(table))
    if agreements:
        print(format_agreement(agreements))
    print(f"Report: {report}")
    return table


def open_runs(paths: Sequence[str | os.PathLike]) -> dict[str, Run]:
    """Opens run directories under names that tell them apart.

    Args:
        paths: sequence of str or path.

    Returns:
        dict from name to `Run`: the folder's name, or as much of its path as is needed
        where several folders share it.

    Raises:
        ValueError: if a folder is given twice.
    """
    runs = [Run.open(path) for path in paths]
    folders = [each.path.resolve() for each in runs]
    for folder, count in collections.Counter(folders).items():
        if count > 1:
            raise ValueError(f"A run is given twice. Received: {folder}")
    names = []
    for folder in folders:
        parts = 1
        while sum(f.parts[-parts:] == folder.parts[-parts:] for f in folders) > 1:
            parts += 1
        names.append("/".join(folder.parts[-parts:]))
    return dict(zip(names, runs, strict=True))


def _other_evaluation(
    config: EvaluateConfig, fingerprints: dict[str, str]
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


def _check_seeds(
    config: EvaluateConfig, runs: dict[str, Run], variants: dict[str, str]
) -> None:
    """Refuses `seeds` that the runs were not trained with, or that are not alike."""
    by_path = {each.path: name for name, each in runs.items()}
    for pattern in (path for path in config.models if _SEED in path):
        paths = [Path(pattern.replace(_SEED, seed)) for seed in config.seeds]
        for path, seed in zip(paths, config.seeds, strict=True):
            trained = runs[by_path[path]].config["settings"]["seed"]
            if trained != int(seed):
                raise ValueError(
                    f"{path} must have been trained with seed {seed}. "
                    f"Received: seed={trained}"
                )
        if len({variants[by_path[path]] for path in paths}) > 1:
            raise ValueError(
                f"Runs of {pattern} must differ in their seed alone. Received: "
                f"other settings in {', '.join(map(str, paths))}"
            )


def _baseline(config: EvaluateConfig, runs: dict[str, Run]) -> str | None:
    if config.baseline is not None:
        _check_known([config.baseline], runs, "baseline")
        return config.baseline
    plain = [
        name
        for name, each in runs.items()
        if each.config["kind"] != "student" and not each.variant.v1
    ]
    if len(plain) > 1:
        print(f"Gains are relative to {plain[0]}; --baseline chooses another one.")
    return plain[0] if plain else None


def _ensembles(
    config: EvaluateConfig,
    runs: dict[str, Run],
    baseline: str | None,
    students: Sequence[str],
) -> dict[str, tuple[str, ...]]:
    if not (config.ensemble or config.ensemble_members):
        return {}
    _check_known(config.ensemble_members, runs, "ensemble_members")
    members = config.ensemble_members or tuple(
        name for name in runs if name != baseline and name not in students
    )
    if len(members) < 2:
        raise ValueError(
            "An ensemble needs at least two members that are neither the baseline nor "
            f"students. Received: {', '.join(members) or 'none'}"
        )
    return {ENSEMBLE: members}


def _check_known(names: Iterable[str], runs: dict[str, Run], flag: str) -> None:
    for name in names:
        if name not in runs:
            raise ValueError(
                f"`{flag}` must name models of this evaluation: {', '.join(runs)}. "
                f"Received: {flag}={name}"
            )


def _images(
    config: EvaluateConfig, data: ImageDataset
) -> tuple[CellImages, tuple[Cell, ...]]:
    """The images, and the corrupted cells that were asked for."""
    test = data.split("test")
    clean = CleanImages(
        test.images,
        test.labels,
        ids=test.ids,
        fingerprint=data.fingerprint,
        max_images=config.max_images,
        seed=config.seed,
    )
    if config.corrupted == "none":
        return clean, ()
    names = tuple(map(canonical_name, config.corruptions)) or BENCHMARK
    cells = corrupted_cells(names, sorted({int(s) for s in config.severities}))
    if config.corrupted == "online":
        images = OnlineImages(clean, cells, seed=config.seed, jpeg=config.jpeg)
        return images, cells
    whole = not config.corruptions and len(cells) == len(BENCHMARK) * len(SEVERITIES)
    stored = open_corrupted(
        config.corrupted,
        data.class_names,
        image_size=data.image_size,
        # What was asked for need not be the whole set; evaluate_models compares.
        allow_partial=config.allow_partial or not whole,
        data_dir=config.data_dir,
    )
    images = StoredImages(clean, stored, max_images=config.max_images, seed=config.seed)
    return images, cells


def _benchmark(config: EvaluateConfig, data: ImageDataset) -> str:
    """Whether AlexNet's errors may be set beside these: stored, all of ImageNet."""
    stored = config.corrupted not in ("online", "none")
    wnids = [name for name in data.class_names if name[0] == "n" and len(name) == 9]
    return "imagenet-c" if stored and len(wnids) == 1000 else ""


def _variants(runs: dict[str, Run]) -> dict[str, str]:
    """One label for all runs that were trained alike but for the seed."""
    labels: dict[str, str] = {}
    result = {}
    for name, each in runs.items():
        settings = each.config["settings"].items()
        # What is off was not yet a setting in older runs.
        alike = {k: v for k, v in settings if k not in _NOT_THE_VARIANT and v}
        alike = json.dumps([each.config["kind"], alike])
        if alike not in labels:
            label = each.variant.name
            label += " student" if each.config["kind"] == "student" else ""
            same = sum(known.split(" #")[0] == label for known in labels.values())
            labels[alike] = f"{label} #{same + 1}" if same else label
        result[name] = labels[alike]
    return result


def _shown(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings that say something: not those that were left empty."""
    return {k: v for k, v in settings.items() if v or (v == 0 and v is not False)}


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            evaluate,
            EvaluateConfig,
            prog="v1keras.evaluate",
            description="Compares runs on clean and corrupted images: accuracy per "
            "corruption, severity and category with intervals, gains over a baseline, "
            "calibration, their ensemble, and a report. The same command goes on where "
            "it stopped.",
        )
    )
