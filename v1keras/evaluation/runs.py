"""Runs as the models of an evaluation: their names, roles, variants and weights."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from v1keras.data import SPLITS, ImageDataset
from v1keras.data.folders import listed
from v1keras.escaping import escape_line, say
from v1keras.evaluation.config import SEED, EvaluateConfig
from v1keras.evaluation.lineup import Lineup
from v1keras.files import file_fingerprint
from v1keras.training import Run
from v1keras.training.run import check_classes, check_different
from v1keras.training.strategy import get_strategy

ENSEMBLE = "ensemble"
# Settings in which two runs of one variant may differ and still be seeds of it.
_NOT_THE_VARIANT = (
    "seed",
    "out",
    "data_dir",
    "strategy",
    "members",
    "teacher_cache",
    # The label begins with it.
    "variant",
)


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
    return name_runs([Run.open(path) for path in paths])


def name_runs(runs: Sequence[Run]) -> dict[str, Run]:
    """The runs under names of one line that tell them apart; see `open_runs`."""
    check_different(runs, "models")
    folders = [Path(escape_line(str(run.path.resolve()))) for run in runs]
    names = []
    for folder in folders:
        parts = 1
        while sum(f.parts[-parts:] == folder.parts[-parts:] for f in folders) > 1:
            parts += 1
        names.append("/".join(folder.parts[-parts:]))
    return dict(zip(names, runs, strict=True))


class RunModels(Mapping[str, keras.Model]):
    """The models of some runs, each loaded when it is looked up.

    Args:
        runs: mapping from name to `Run`.
        strategy: str. One of `v1keras.training.config.STRATEGIES`, under which models
            are loaded. Defaults to `"none"`.
    """

    def __init__(self, runs: Mapping[str, Run], strategy: str = "none") -> None:
        self._runs, self._strategy = runs, strategy

    def __getitem__(self, name: str) -> keras.Model:
        with get_strategy(self._strategy).scope():
            return self._runs[name].load_model()

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)


def run_fingerprints(runs: Mapping[str, Run]) -> dict[str, str]:
    """What tells the weights of the runs apart, by name."""
    return {name: file_fingerprint(run.find_model()) for name, run in runs.items()}


def shown_classes(run: Run, dataset: ImageDataset) -> np.ndarray | None:
    """Which logits of a run are of classes that a data set has.

    Sets of test images only may have some of the classes: ImageNet-R and ImageNet-A show
    200 of ImageNet's 1000, and are defined by the logits of these alone (Hendrycks et al.
    2021, "The Many Faces of Robustness", ICCV, arXiv:2006.16241; "Natural Adversarial
    Examples", CVPR, arXiv:1907.07174). Of other sets all classes must be the run's.

    Args:
        run: `Run`.
        dataset: `ImageDataset`.

    Returns:
        int array (classes of the data set,), by their labels, or None for all logits as
        they are.

    Raises:
        ValueError: if the data set has classes that the run has not, or is no set of
            test images only and lacks some.
    """
    if dataset.split_names == SPLITS or dataset.class_names == run.class_names:
        check_classes(run, f"data set {dataset.name}", dataset.class_names)
        return None
    place = {name: index for index, name in enumerate(run.class_names)}
    unknown = [name for name in dataset.class_names if name not in place]
    if unknown:
        raise ValueError(
            "Test images must be of classes that the runs know. Received: the run "
            f"{run.path} with {len(place)} and the data set {dataset.name}, of which it "
            f"lacks {listed(unknown)}"
        )
    return np.array([place[name] for name in dataset.class_names])


def run_lineup(config: EvaluateConfig, runs: Mapping[str, Run]) -> Lineup:
    """The lineup that a configuration asks for.

    The baseline is by default the first plain CNN; members of the ensemble are by
    default all runs but baseline and students.

    Args:
        config: `EvaluateConfig`.
        runs: mapping from name to `Run`.

    Returns:
        A `Lineup`.

    Raises:
        ValueError: if the configuration names a run that is not there, or runs that
            stand for seeds of one variant are none.
    """
    variants = run_variants(runs)
    _check_seeds(config, runs, variants)
    students = [n for n, run in runs.items() if run.config["kind"] == "student"]
    plain = [n for n, run in runs.items() if run.variant.is_plain and n not in students]
    if config.baseline is None and len(plain) > 1:
        say(f"Gains are relative to {plain[0]}; --baseline chooses another one.")
    lineup = Lineup(
        tuple(runs),
        baseline=config.baseline or next(iter(plain), None),
        students=students,
        average=config.average,
        variants=variants,
    )
    if not (config.ensemble or config.ensemble_members):
        return lineup
    lineup.check_known("ensemble_members", config.ensemble_members, lineup.models)
    members = config.ensemble_members or lineup.members
    if len(members) < 2:
        raise ValueError(
            "`ensemble` must have at least two members that are neither the baseline "
            f"nor students. Received: ensemble_members={','.join(members)}"
        )
    return dataclasses.replace(lineup, ensembles={ENSEMBLE: members})


def run_variants(runs: Mapping[str, Run]) -> dict[str, str]:
    """One label for all runs that were trained alike but for the seed.

    Args:
        runs: mapping from name to `Run`.

    Returns:
        dict from name to label: the variant's name and what kind of run it is, if it is
        no member. Runs that were trained otherwise than the first one of that label tell
        in what, such as `"base, augmentation=prime"`.
    """
    first: dict[str, dict[str, Any]] = {}
    result = {}
    for name, run in runs.items():
        settings = {k: v for k, v in run.settings.items() if k not in _NOT_THE_VARIANT}
        kind = run.config["kind"]
        label = run.variant.name + ("" if kind == "member" else f" {kind}")
        known = first.setdefault(label, settings)
        # None and an empty tuple, which JSON makes a list, are both off.
        differences = [
            f"{key}={value}"
            for key, value in settings.items()
            if value != known.get(key) and (value or known.get(key))
        ]
        result[name] = ", ".join([label, *differences])
    return result


def _check_seeds(
    config: EvaluateConfig, runs: Mapping[str, Run], variants: Mapping[str, str]
) -> None:
    """Refuses `seeds` that the runs were not trained with, or that are not alike."""
    by_path = {run.path: name for name, run in runs.items()}
    for pattern in (path for path in config.models if SEED in path):
        paths = [Path(pattern.replace(SEED, str(seed))) for seed in config.seeds]
        for path, seed in zip(paths, config.seeds, strict=True):
            trained = runs[by_path[path]].settings["seed"]
            if trained != seed:
                raise ValueError(
                    f"{path} must have been trained with seed {seed}. "
                    f"Received: seed={trained}"
                )
        if len({variants[by_path[path]] for path in paths}) > 1:
            raise ValueError(
                f"Runs of {pattern} must differ in their seed alone. Received: "
                f"other settings in {', '.join(map(str, paths))}"
            )
