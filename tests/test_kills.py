"""Commands that are killed at random moments end with the very files of one that was not.

Every third time the signal is SIGTERM, after which nothing half-written may be left.

CI ends a study, which trains, distils, evaluates and exports, twice. With the
environment variable `V1KERAS_KILLS` each command is killed as often as it says.
"""

import contextlib
import csv
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from export.integrity import find_faults
from v1keras.files import is_temporary
from v1keras.locks import LOCK_FILE

pytestmark = [pytest.mark.slow, pytest.mark.kills]

KILLS = int(os.environ.get("V1KERAS_KILLS", 0))
IN_CI = {"study": 2}
MODEL = (
    "--dataset=shapes:120:24", "--arch=resnet18", "--width=4", "--image_size=32",
    "--visual_degrees=1", "--stride=8", "--batch_size=20", "--simple_channels=8",
    "--complex_channels=8", "--validation_fraction=0.5", "--epochs=4",
)  # fmt: skip
STUDENT = ("v1keras.distill", *MODEL, "--variant=no_noise", "--members=MEMBERS")
COMMANDS = {
    "train": ("v1keras.train", *MODEL, "--variant=standard"),
    "train on": ("v1keras.train", *MODEL, "--variant=standard"),
    "live teacher": (*STUDENT, "--epochs=6"),
    "cached teacher": (*STUDENT, "--teacher_views=2", "--epochs=6"),
    "study": (
        "v1keras.study", *MODEL, "--variants=sf_low,standard", "--epochs=2",
        "--max_images=12", "--min_accuracy=0.001",
    ),
    "export": ("export", "--run=MEMBER", "--min_accuracy=0.001", "--images=16"),
}  # fmt: skip
# What has been finished in the same folder before.
BEFORE = {"train on": "--epochs=2"}
# Clocks, and what depends on them: digests of files that hold a date, and sizes of
# archives. The values in these files are compared themselves.
VOLATILE = {
    "seconds", "milliseconds", "created", "version", "sha256", "models", "teacher",
    "bytes",
}  # fmt: skip


@dataclasses.dataclass
class Process:
    """A command at work, once it holds its folder."""

    command: tuple[str, ...]
    out: Path

    def __post_init__(self):
        module, *flags = self.command
        # As one group, which a cluster ends as a whole.
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *flags, f"--out={self.out}"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        before = self._holder()
        while self._process.poll() is None and self._holder() == before:
            time.sleep(0.02)
        self._began = time.monotonic()

    def _holder(self):
        # A study holds the folder of what it trains.
        found = {}
        for path in self.out.rglob(LOCK_FILE):
            with contextlib.suppress(FileNotFoundError):
                found[path] = path.read_text()
        return found

    def ends_within(self, seconds=None, number=signal.SIGKILL) -> bool:
        """Waits for its end, which must be a success, or ends it by a signal."""
        try:
            _, error = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, number)
            _, error = self._process.communicate()
            if number == signal.SIGTERM:
                # The second is SIGTERM's own, where the command had just ended.
                assert self._process.returncode in (128 + number, -number), error
                assert not any(map(is_left_over, self.out.rglob("*")))
            return False
        self.seconds = time.monotonic() - self._began
        assert self._process.returncode == 0, error
        return True


@pytest.fixture(scope="session")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    for variant in ("sf_low", "standard"):
        command = ("v1keras.train", *MODEL, f"--variant={variant}", "--epochs=1")
        assert Process(command, folder / variant).ends_within()
    return folder


def is_left_over(path: Path) -> bool:
    return is_temporary(path.name) or path.name == LOCK_FILE


def content(out: Path) -> dict:
    """What a folder holds, by path: values, without times; names only, if drawn."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        assert not is_left_over(path), path
        if path.is_dir() or "logs/" in name or path.name == "costs.json":
            continue
        # Versions are named by the time.
        name = re.sub(r"\b\d{10}\b", "VERSION", name)
        assert name not in found
        found[name] = _values(path)
    return found


def _values(path):
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return _without_times(list(csv.DictReader(file)))
    if path.suffix == ".json":
        return _without_times(json.loads(path.read_text()))
    if path.suffix == ".h5":
        return _datasets(path)
    if path.suffix == ".keras":
        with zipfile.ZipFile(path) as archive:
            return _datasets(io.BytesIO(archive.read("model.weights.h5")))
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: value.tobytes() for name, value in arrays.items()}
    return path.read_bytes() if path.suffix == ".npy" else None


def _datasets(file):
    values = {}

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            values[name] = item[()].tobytes()

    with h5py.File(file) as content:
        content.visititems(add)
    return values


def _without_times(value):
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in VOLATILE}
    return [_without_times(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_moments(name, request, tmp_path):
    kills = KILLS or IN_CI.get(name, 0)
    if not kills:
        pytest.skip("V1KERAS_KILLS=20 kills it 20 times")
    command = COMMANDS[name]
    if any("MEMBER" in flag for flag in command):
        members = request.getfixturevalue("members")
        both = f"{members}/sf_low,{members}/standard"
        command = tuple(
            flag.replace("MEMBERS", both).replace("MEMBER", f"{members}/standard")
            for flag in command
        )
    # The same name and place, which the record and the page hold.
    out, finished = tmp_path / "out", tmp_path / "finished" / "out"
    if name in BEFORE:
        assert Process((*command, BEFORE[name]), finished).ends_within()
        shutil.copytree(finished, out)
    whole = Process(command, out)
    assert whole.ends_within()
    expected = content(out)
    out.rename(tmp_path / "whole")
    generator = np.random.default_rng(len(name))
    done = 0
    while done < kills:
        attempts = 0
        if name in BEFORE:
            shutil.copytree(finished, out)
        while True:
            moment = generator.uniform(0, whole.seconds) if done < kills else None
            number = signal.SIGTERM if done % 3 == 1 else signal.SIGKILL
            if Process(command, out).ends_within(moment, number):
                break
            done += 1
            attempts += 1
        found = content(out)
        different = [key for key in expected if found.get(key) != expected[key]]
        assert (different, found.keys()) == ([], expected.keys()), attempts
        for version in out.rglob("saved_model.pb"):
            assert find_faults(version.parent) == []
        print(f"{name}: {attempts} kills, the same {len(found)} files", flush=True)
        out.rename(tmp_path / f"killed_{done}_{time.monotonic_ns()}")
