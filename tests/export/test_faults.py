"""What an export survives: each fault is made for real, in a process of its own."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from export import ExportConfig, export_run, list_versions, pusher
from export.runtimes import ask_all

ROOT = Path(__file__).resolve().parents[2]
WHOLE = {"saved_model.pb", "BLESSED", "INFRA_BLESSED", "metadata.json", "model.tflite"}

# Kills the process, as the memory manager of Linux would, when it calls a function.
KILLED_AT = """
import os, signal, sys
from export import {module}
def die(*arguments, **named):
    os.kill(os.getpid(), signal.SIGKILL)
{module}.{function} = die
from export.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def flags(run, out):
    return [
        f"--run={run}",
        f"--out={out}",
        "--min_accuracy=0.001",
        "--images=16",
        "--corruptions=contrast",
    ]


def start(arguments, program=(sys.executable,), **settings):
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [*program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **settings,
    )


def assert_whole(path):
    assert {entry.name for entry in path.iterdir()} >= WHOLE
    answers = ask_all(path, np.zeros((1, 32, 32, 3), np.uint8))
    assert np.isfinite(answers["serve_bytes"].logits).all()
    assert np.isfinite(answers["litert"].logits).all()


@pytest.mark.slow
def test_killed_at_any_stage_and_started_again(runs, tmp_path):
    out = tmp_path / "served"
    stages = {
        "pipeline": (
            "write_saved_model",
            "convert_to_litert",
            "ask_apart",
            "_evaluate",
            "write_card",
        ),
        "pusher": ("synchronize",),
    }
    for module, functions in stages.items():
        for function in functions:
            code = KILLED_AT.format(module=module, function=function)
            process = start(["-c", code, *flags(runs / "base", out)])
            _, error = process.communicate()
            assert process.returncode == -signal.SIGKILL, error
            # The half version is there, but no server looks at it.
            assert list_versions(out) == ()
            assert len([path for path in out.iterdir() if path.is_dir()]) == 1
    config = ExportConfig(
        run=(str(runs / "base"),), out=str(out), min_accuracy=0.001, images=16
    )
    result = export_run(config)
    assert [entry.name for entry in out.iterdir()] == [result.path.name]
    assert_whole(result.path)


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [0.1, 2])
def test_a_full_disk_leaves_everything_as_it_was(runs, tmp_path, megabytes):
    out = tmp_path / "served"
    with pusher.staging(out) as folder:
        (folder / "labels.txt").write_text("kept")
        path = pusher.publish(folder, out)
    limit = int(megabytes * 1e6)
    process = start(
        ["-m", "export", *flags(runs / "base", out), "--baseline=none"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    _, error = process.communicate()
    assert process.returncode == 2
    assert "export: error:" in error.splitlines()[-1]
    assert "Traceback" not in error
    assert [entry.name for entry in out.iterdir()] == [path.name]
    assert (path / "labels.txt").read_text() == "kept"


# A disk of its own for one process: SIZE OUT COMMAND...
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=$0 tmpfs "$1" && mkdir "$1/7" && echo kept > "$1/7/labels.txt"
before=$(df --output=avail "$1" | tail -1)
out=$1; shift
"$@"
code=$?
echo files: $(cd "$out" && find . -mindepth 1 | sort)
echo space: $before $(df --output=avail "$out" | tail -1)
exit $code
"""
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def can_mount():
    try:
        command = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="may not mount file systems")
@pytest.mark.parametrize("size", ["1m", "4m"], ids=("SavedModel", "LiteRT"))
def test_a_small_disk_is_as_it_was(runs, tmp_path, size):
    command = ["-m", "export", *flags(runs / "base", tmp_path), "--baseline=none"]
    process = start(
        ["-c", ON_A_SMALL_DISK, size, tmp_path, sys.executable, *command],
        program=(*NAMESPACE, "sh"),
    )
    shown, error = process.communicate()
    assert process.returncode == 2, error
    assert "export: error: " in error.splitlines()[-1]
    assert "Traceback" not in error
    found = dict(line.split(": ", 1) for line in shown.splitlines())
    assert found["files"] == "./7 ./7/labels.txt"
    before, after = found["space"].split()
    assert before == after


@pytest.mark.slow
def test_two_exports_at_once_make_two_versions(runs, tmp_path):
    out = tmp_path / "served"
    processes = [start(["-m", "export", *flags(runs / "base", out)]) for _ in range(2)]
    for process in processes:
        _, error = process.communicate()
        assert process.returncode == 0, error
    found = list_versions(out)
    assert len(found) == 2
    assert sorted(entry.name for entry in out.iterdir()) == sorted(map(str, found))
    for version in found:
        assert_whole(out / str(version))


@pytest.mark.parametrize(
    "changes,message",
    [
        ({"image_size": 48}, r"must take 48 x 48.*input_shape=\(None, 32, 32, 3\)"),
        (
            {"class_names": ["a", "b"], "display_names": ["a", "b"]},
            r"have 2 outputs.*output_shape=\(None, 12\)",
        ),
        ({"data": None, "kind": None}, "config.json is damaged .no entry data, kind"),
    ],
    ids=("input size", "number of labels", "incomplete"),
)
def test_a_run_that_is_not_what_it_says(runs, tmp_path, changes, message):
    folder = tmp_path / "run"
    shutil.copytree(runs / "base", folder)
    config = json.loads((folder / "config.json").read_text())
    config = {k: v for k, v in (config | changes).items() if v is not None}
    (folder / "config.json").write_text(json.dumps(config))
    settings = ExportConfig(
        run=(str(folder),), out=str(tmp_path / "out"), min_accuracy=0.5
    )
    with pytest.raises(ValueError, match=message):
        export_run(settings)
    assert not (tmp_path / "out").exists()
