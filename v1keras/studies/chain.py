"""The whole chain: members, ensemble, student, evaluation, report, export."""

import dataclasses
import json
import sys
import time
from pathlib import Path

import keras

from v1keras.command_line import defaults_of
from v1keras.data import ImageDataset
from v1keras.endings import run_to_its_end
from v1keras.escaping import say
from v1keras.evaluation import Lineup, RobustnessTable
from v1keras.evaluation.report import write_report
from v1keras.evaluation.runs import ENSEMBLE
from v1keras.files import claim, write_json
from v1keras.studies.config import BASE, StudyConfig
from v1keras.studies.measure import (
    EVALUATION_FOLDER,
    contents_of_test_images,
    measure_test_images,
    members_on_held_out_images,
    open_test_images,
)
from v1keras.studies.pictures import filters_section
from v1keras.training import Run, distill, open_dataset, train, versions
from v1keras.training.strategy import works_alone

_STUDY_FILE = "study.json"
_STUDENT = "student"
# What an exported student must reach at least. It tells a trained model from a broken
# one; how good is good enough, only a user can say.
_TIMES_CHANCE = 2.0


@works_alone("runs a study")
def run_study(config: StudyConfig) -> Path:
    """Trains, distils, evaluates, reports and exports; resumes where it stopped.

    Args:
        config: `StudyConfig`.

    Returns:
        Path of `report.html`.

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
    out = Path(config.out)
    settings = _settings(config)
    claim(
        out,
        _STUDY_FILE,
        {"settings": settings},
        what="study",
        defaults={"settings": defaults_of(StudyConfig)},
    )
    dataset = open_dataset(config)
    images = open_test_images(config, dataset)
    # Only now: a refused data set leaves nothing behind.
    write_json(out / _STUDY_FILE, {"settings": settings})
    runs = _train_all(config, dataset)
    controls = _train_controls(config, dataset)
    every = dict(runs)
    for members in controls.values():
        every |= members
    table = _evaluate(config, dataset, runs, controls, every)
    sections = [filters_section(runs)]
    if config.member_images:
        members = {name: runs[name] for name in config.members()}
        sections.insert(0, members_on_held_out_images(config, dataset, members))
    report = write_report(
        out,
        table,
        title=f"V1 front-ends on {Path(dataset.name).name}",
        **contents_of_test_images(config, images, every, table),
        sections=sections,
        settings={
            **{k: v for k, v in settings.items() if v not in (None, [])},
            "versions": versions(),
        },
    )
    if config.export:
        _export(config, runs[_STUDENT])
    minutes = (time.monotonic() - started) / 60
    say("", f"{report}: open it in a browser. ({minutes:.1f} minutes)")
    return report


def _train_all(config: StudyConfig, dataset: ImageDataset) -> dict[str, Run]:
    names = config.names()
    runs = {}
    for number, name in enumerate(names, start=1):
        say("", f"[{number}/{len(names) + 1}] {name}")
        runs[name] = train(config.member_config(name), dataset)
        # Graphs and weights of the last model would stay in memory otherwise.
        keras.backend.clear_session()
    say(
        "",
        f"[{len(names) + 1}/{len(names) + 1}] {_STUDENT}, taught by the ensemble of "
        f"{len(config.members())}",
    )
    members = [runs[name] for name in config.members()]
    runs[_STUDENT] = distill(config.student_config(), dataset, members)
    keras.backend.clear_session()
    return runs


def _train_controls(
    config: StudyConfig, dataset: ImageDataset
) -> dict[str, dict[str, Run]]:
    """The members of each control ensemble, by its name."""
    controls = {}
    for ensemble, configs in config.control_configs().items():
        say("", f"{ensemble}: {len(configs)} seeds")
        controls[ensemble] = {}
        for each in configs:
            run = train(each, dataset)
            controls[ensemble][run.name] = run
            keras.backend.clear_session()
    return controls


def _evaluate(
    config: StudyConfig,
    dataset: ImageDataset,
    runs: dict[str, Run],
    controls: dict[str, dict[str, Run]],
    every: dict[str, Run],
) -> RobustnessTable:
    ensembles = {ENSEMBLE: config.members()}
    ensembles |= {name: tuple(members) for name, members in controls.items()}
    lineup = Lineup(
        tuple(runs),
        baseline=BASE if BASE in runs else None,
        students=(_STUDENT,),
        ensembles=ensembles,
    )
    return measure_test_images(config, dataset, every, lineup)


def _export(config: StudyConfig, student: Run) -> None:
    """Exports the student in a process of its own, unless that has been done.

    `export` builds on `v1keras`, so it is called as its users call it. A student that it
    refuses does not fail the study, whose report says how good the student is.
    """
    target = Path(config.out) / "serving" / _STUDENT
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
    """Settings as they look after a round-trip through JSON."""
    settings = json.loads(json.dumps(dataclasses.asdict(config)))
    del settings["out"]
    return settings
