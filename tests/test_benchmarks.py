"""The benchmarks run; what they measure is no matter for a test."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *flags: str) -> str:
    finished = subprocess.run(
        [sys.executable, BENCHMARKS / script, *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-2000:]
    return finished.stdout


def test_worker_times_a_block():
    flags = ("--case=block", "--batch_size=2", "--image_size=32", "--repeats=3")
    result = json.loads(run("workers/ours.py", *flags, "--threads=1"))
    assert len(result["seconds"]) == 3
    assert min(result["seconds"]) > 0
    assert result["peak"] >= result["held"] > 100


def test_input_pipeline_reports():
    flags = ("--dataset=shapes:64:24", "--width=16", "--stride=8", "--steps=2")
    output = run("input_pipeline.py", *flags, "--batch_size=16")
    assert output.count("images/s") == 3
    assert "waiting for a batch" in output


@pytest.mark.parametrize(
    "script,flag",
    [
        ("front_end", "reference=/nowhere"),
        ("front_end", "scaling=/nowhere/plot.png"),
        ("serving", "compare=/nowhere"),
    ],
)
def test_a_missing_folder_is_refused(script, flag):
    finished = subprocess.run(
        [sys.executable, BENCHMARKS / f"{script}.py", f"--{flag}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert flag in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_serving_reports_and_compares_the_files_of_another_folder(tmp_path):
    small = ("--variant=base", "--width=4", "--image_size=32", "--rounds=1")
    small += ("--repeats=1", "--only=LiteRT")
    output = run("serving.py", *small, f"--keep={tmp_path / 'old'}")
    assert rows_of(output) == ["LiteRT float32", "LiteRT int8"]
    (tmp_path / "old/int8.tflite").unlink()
    output = run("serving.py", *small, f"--compare={tmp_path / 'old'}")
    names = ["LiteRT float32", "LiteRT float32 of old", "LiteRT int8"]
    assert rows_of(output) == names


def rows_of(output: str) -> list[str]:
    """The names of the rows of a table, whose other cells must be numbers."""
    _, *rows = (line.split("|")[1:-1] for line in output.splitlines() if "| " in line)
    assert all(float(cell) > 0 for row in rows for cell in row[1:])
    return [row[0].strip() for row in rows]
