"""The whole chain: members, ensemble, student, evaluation, report, export."""

import contextlib
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

import keras

from v1keras.command_line import defaults_of
from v1keras.data import ImageDataset
from v1keras.endings import run_to_its_end
from v1keras.escaping import say
from v1keras.evaluation import CellImages, Lineup
from v1keras.evaluation.report import write_report
from v1keras.evaluation.runs import ENSEMBLE
from v1keras.files import claim, write_json
from v1keras.hardware import require_tensorflow
from v1keras.locks import FolderInUseError, lock_folder
from v1keras.studies.config import (
    BASE,
    CONTROLS_FOLDER,
    MEMBERS_FOLDER,
    STUDENT,
    StudyConfig,
)
from v1keras.studies.measure import (
    EVALUATION_FOLDER,
    contents_of_test_images,
    measure_test_images,
    members_on_held_out_images,
    open_test_images,
)
from v1keras.studies.pictures import filters_section
from v1keras.studies.trainings import open_trainings, train_free
from v1keras.training import Run, distill, open_dataset, versions
from v1keras.training.strategy import refuse_workers

_STUDY_FILE = "study.json"
# Where a study is kept, and what one process does of it, do not change what it is.
_NOT_PART_OF_A_STUDY = ("out", "only", "plan")
# What an exported student must reach at least. It tells a trained model from a broken
# one; how good is good enough, only a user can say.
_TIMES_CHANCE = 2.0


def run_study(config: StudyConfig) -> Path | None:
    """Trains, distils, evaluates, reports and exports; resumes where it stopped.

    Several processes may run one study at the same time, on machines that share its
    folder: each trains members that no other works on, and one of them goes on with the
    student when all are finished.

    Args:
        config: `StudyConfig`.

    Returns:
        Path of `report.html`, or None if the rest is left to other processes.

    Raises:
        FileExistsError: if `config.out` is something else than this study.
        ValueError, FileNotFoundError: if the configuration or data are unusable.
        ChildProcessError: if the export fails.

    Example:

    >>> config = v1keras.studies.StudyConfig(
    ...     dataset="shapes:240:24",
    ...     variants=("base", "sf_mid", "no_noise"),
    ...     stride=8,
    ...     width=4,
    ...     epochs=1,
    ...     export=False,
    ...     out="studies/first",
    ... )
    >>> report = v1keras.studies.run_study(config)
    shapes:240:24: ...
    >>> report.name
    'report.html'
    """
    started = time.monotonic()
    refuse_workers(config.strategy)
    if config.export:
        require_tensorflow("`export`")
    record = {"settings": _settings(config)}
    stored = _claim(config)
    dataset = open_dataset(config)
    images = open_test_images(config, dataset)
    open_trainings(config, dataset)
    if config.preset == "paper":
        say(_warn_of_days(config, dataset))
    if stored != record:
        # Only now: what is refused leaves nothing behind.
        with lock_folder(config.out, "begins a study", wait=True):
            _claim(config)
            write_json(Path(config.out) / _STUDY_FILE, record)
    runs = train_free(config, dataset)
    if runs is None:
        return None
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(lock_folder(config.out, "finishes a study"))
        except FolderInUseError as error:
            say("", f"All members are trained; {error.holder} there.")
            return None
        report = _finish(config, dataset, images, runs)
    minutes = (time.monotonic() - started) / 60
    say("", f"{report}: open it in a browser. ({minutes:.1f} minutes)")
    return report


def _warn_of_days(config: StudyConfig, dataset: ImageDataset) -> str:
    trainings = (*config.trainings().values(), config.student_config())
    images = dataset.sizes["train"] * sum(each.epochs for each in trainings)
    return (
        f"{len(trainings)} trainings, which are shown {images} images in all. At the size "
        "of the paper's this takes days on a GPU; --plan estimates it."
    )


def _claim(config: StudyConfig) -> dict[str, Any] | None:
    """The record of the study if it was begun before."""
    out = Path(config.out)
    # Runs that were trained elsewhere may have been put there before the study.
    placed = (MEMBERS_FOLDER, CONTROLS_FOLDER)
    if out.is_dir() and all(
        path.name in placed or path.name[0] == "." for path in out.iterdir()
    ):
        return None
    settings = _settings(config)
    del settings["seeds"]  # more of them may be added to a study
    return claim(
        out,
        _STUDY_FILE,
        {"settings": settings},
        what="study",
        defaults={"settings": defaults_of(StudyConfig)},
    )


def _finish(
    config: StudyConfig,
    dataset: ImageDataset,
    images: CellImages,
    trained: dict[str, Run],
) -> Path:
    """All that comes after the members, by one process."""
    say("", f"{STUDENT}, taught by the ensemble of {len(config.members())}")
    members = {name: trained[name] for name in config.members()}
    student = distill(config.student_config(), dataset, list(members.values()))
    keras.backend.clear_session()
    runs = {**{name: trained[name] for name in config.names()}, STUDENT: student}
    every = {**trained, STUDENT: student}
    table = measure_test_images(config, dataset, every, study_lineup(config))
    sections = [filters_section(runs)]
    if config.member_images:
        sections.insert(0, members_on_held_out_images(config, dataset, members))
    report = write_report(
        config.out,
        table,
        title=f"V1 front-ends on {Path(dataset.name).name}",
        **contents_of_test_images(config, images, every, table),
        sections=sections,
        settings={
            **{k: v for k, v in _settings(config).items() if v not in (None, [])},
            "versions": versions(),
        },
    )
    if config.export:
        _export(config, student)
    return report


def study_lineup(config: StudyConfig) -> Lineup:
    """Every seed of every variant, the student, the ensemble of each seed, controls."""
    variants, ensembles = {}, {}
    for seed in config.every_seed():
        own = {
            name: config.run_name(name, seed) for name in (*config.names(), ENSEMBLE)
        }
        ensembles[own[ENSEMBLE]] = tuple(own[name] for name in config.members())
        variants |= {run: name for name, run in own.items()}
    for ensemble, configs in config.control_configs().items():
        ensembles[ensemble] = tuple(Path(each.out).name for each in configs)
    models = tuple(run for run in variants if run not in ensembles)
    return Lineup(
        (*models, STUDENT),
        baseline=BASE if BASE in models else None,
        students=(STUDENT,),
        ensembles=ensembles,
        variants=variants,
    )


def _export(config: StudyConfig, student: Run) -> None:
    """Exports the student in a process of its own, unless that has been done.

    `export` builds on `v1keras`, so it is called as its users call it. A student that it
    refuses does not fail the study, whose report says how good the student is.
    """
    target = Path(config.out) / "serving" / STUDENT
    if target.is_dir() and any(path.name.isdecimal() for path in target.iterdir()):
        return
    say("", "Export of the student")
    least = config.min_accuracy or _TIMES_CHANCE / len(student.class_names)
    flags = [
        f"--run={student.path}",
        f"--out={target}",
        f"--min_accuracy={min(least, 1.0)}",
        f"--evaluation={Path(config.out) / EVALUATION_FOLDER}",
    ]
    if config.data_dir is not None:
        flags.append(f"--data_dir={config.data_dir}")
    rejected = target / ".rejected"
    before = _count(rejected)
    code = run_to_its_end([sys.executable, "-m", "export", *flags])
    if _count(rejected) > before:
        say(f"The student was not exported; {rejected} holds the reasons")
    elif code:
        raise ChildProcessError(
            f"The export of {student.path} ended with exit code {code}; its message "
            "stands above"
        )


def _count(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def _settings(config: StudyConfig) -> dict:
    """Settings that make the study, as they look after a round-trip through JSON."""
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    return {k: v for k, v in settings.items() if k not in _NOT_PART_OF_A_STUDY}
