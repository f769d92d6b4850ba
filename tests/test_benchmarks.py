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


@pytest.mark.parametrize("flag", ["reference=/nowhere", "scaling=/nowhere/plot.png"])
def test_a_missing_folder_is_refused(flag):
    finished = subprocess.run(
        [sys.executable, BENCHMARKS / "front_end.py", f"--{flag}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert flag in finished.stderr


def test_serving_reports():
    small = ("--variant=base", "--width=4", "--image_size=32", "--rounds=1")
    output = run("serving.py", *small, "--repeats=1", "--only=LiteRT")
    _, *rows = (line.split("|")[1:-1] for line in output.splitlines() if "| " in line)
    assert [row[0].strip() for row in rows] == ["LiteRT float32", "LiteRT int8"]
    assert all(float(cell) > 0 for row in rows for cell in row[1:])
