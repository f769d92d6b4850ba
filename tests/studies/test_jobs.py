"""A study that several processes share."""

import contextlib
import csv
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from v1keras.command_line import defaults_of
from v1keras.locks import lock_folder
from v1keras.studies import StudyConfig, run_study
from v1keras.training import Run, train

# What comes after the members, as short as it can be.
SHORT = {"corrupted": "none", "export": False}


def start(config: StudyConfig, number: int) -> subprocess.Popen:
    """The study as a task of an array job."""
    flags = [
        f"--{name}={','.join(value) if isinstance(value, tuple) else value}"
        for name, value in vars(config).items()
        if value != defaults_of(StudyConfig).get(name)
    ]
    paths = os.pathsep.join(sys.path)
    return subprocess.Popen(
        [sys.executable, "-m", "v1keras.study", *flags],
        env={**os.environ, "PYTHONPATH": paths, "SLURM_ARRAY_TASK_ID": str(number)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_two_processes_of_which_one_is_killed(small, tmp_path):
    config = StudyConfig(**{**small, "epochs": 4, **SHORT})
    members = tmp_path / "study" / "members"
    killed, other = start(config, 2), start(config, 0)
    history = members / "sf_low" / "history.csv"
    while killed.poll() is None and not history.exists():
        time.sleep(0.02)
    killed.send_signal(signal.SIGKILL)
    said = killed.communicate()[0]
    assert killed.returncode == -signal.SIGKILL, said
    before = Run.open(members / "sf_low")
    assert "[3/4] sf_low" in said and not before.is_finished
    seconds = before.history["seconds"]

    said = other.communicate()[0]
    assert other.returncode == 0, said
    assert "[1/4] base" in said and (tmp_path / "study" / "report.html").is_file()
    for name in config.names():
        run = Run.open(members / name)
        assert run.is_finished and run.history["epoch"] == [1, 2, 3, 4]
    # It went on where the killed one was.
    assert run.name == "sf_low" and run.history["seconds"][: len(seconds)] == seconds
    assert Run.open(tmp_path / "study" / "student").is_finished


@pytest.mark.slow
def test_only_what_is_free_is_trained(small, tmp_path, capsys):
    small = {**small, **SHORT}
    config = StudyConfig(**small, only=("sf_low", "no_noise"))
    members = tmp_path / "study" / "members"
    with lock_folder(members / "no_noise", "trains"):
        assert run_study(config) is None
        said = capsys.readouterr().out
        assert f"another process (pid {os.getpid()}, host" in said
        assert "Left to others: base, no_noise;" in said
        assert Run.open(members / "sf_low").is_finished
    assert sorted(path.name for path in members.iterdir()) == ["sf_low"]

    # A run that was trained elsewhere is taken in if it is what the study would train.
    placed = members / "no_noise"
    other = dataclasses.replace(config.member_config("no_noise"), out=str(placed))
    train(dataclasses.replace(other, learning_rate=0.01))
    with pytest.raises(FileExistsError, match=r"no_noise.*has learning_rate=0\.01"):
        run_study(config)
    shutil.rmtree(placed)
    train(dataclasses.replace(other, out=str(tmp_path / "elsewhere")))
    placed.symlink_to(tmp_path / "elsewhere")
    before = (placed / "model.keras").stat().st_mtime_ns

    last = StudyConfig(**small, only=("base",))
    with lock_folder(tmp_path / "study", "finishes a study"):
        assert run_study(last) is None
    assert "All members are trained; another process" in capsys.readouterr().out
    assert run_study(last).name == "report.html"
    assert (placed / "model.keras").stat().st_mtime_ns == before

    # More seeds may be added to a study that is finished.
    student = tmp_path / "study" / "student" / "model.keras"
    taught = student.stat().st_mtime_ns
    page = run_study(StudyConfig(**small, seeds=(0, 3))).read_text()
    assert "no_noise (2 seeds)" in page and student.stat().st_mtime_ns == taught
    evaluation = tmp_path / "study" / "evaluation"
    with (evaluation / "seeds.csv").open() as file:
        seeds = {row["variant"]: row for row in csv.DictReader(file)}
    with (evaluation / "summary.csv").open() as file:
        summary = {row["model"]: float(row["clean"]) for row in csv.DictReader(file)}
    assert list(seeds) == ["base", "no_noise", "sf_low", "ensemble"]
    for name, row in seeds.items():
        both = [summary[name], summary[f"{name}_seed3"]]
        assert float(row["clean_mean"]) == pytest.approx(np.mean(both), abs=2e-6)
        spread = np.std(both, ddof=1)
        assert float(row["clean_std"]) == pytest.approx(spread, abs=2e-6)


@pytest.mark.slow
def test_runs_may_be_placed_before_the_study_begins(small, tmp_path):
    config = StudyConfig(**small)
    member = dataclasses.replace(config.member_config("sf_low"), epochs=2)
    train(member)
    with pytest.raises(FileExistsError, match=r"sf_low.*has epochs=2 instead of"):
        run_study(config)
    assert [path.name for path in (tmp_path / "study").iterdir()] == ["members"]


@pytest.mark.parametrize("name", ["SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX"])
def test_tasks_of_an_array_begin_with_different_members(
    small, tmp_path, monkeypatch, capsys, name
):
    config = StudyConfig(**small)
    with contextlib.ExitStack() as stack:
        for member in config.names():
            folder = tmp_path / "study" / "members" / member
            stack.enter_context(lock_folder(folder, "trains"))
        for number, order in {
            "1": ["no_noise", "sf_low", "base"],
            "5": ["sf_low", "base", "no_noise"],
        }.items():
            monkeypatch.setenv(name, number)
            assert run_study(config) is None
            assert re.findall(r"\d/4\] (.+)", capsys.readouterr().out) == order
