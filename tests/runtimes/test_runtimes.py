"""What is exported answers alike in runtimes that nobody here wrote.

Each script under `scripts/` names the packages that it needs; `uv` runs it in an
environment of its own, in which this package is not installed.
"""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from export.litert import convert_to_litert
from export.litert_metadata import describe
from export.runtimes import ask_litert
from export.saved_model import write_saved_model
from export.source import open_source
from v1keras.data import load_dataset

uv = pytest.importorskip("uv", reason="needs the extra runtimes")
pytest.importorskip("ai_edge_quantizer")

SCRIPTS = sorted(Path(__file__).with_name("scripts").glob("*.py"))
# Relative to the largest logit. 8 bits are not exact in LiteRT either.
TOLERANCES = {"int8.tflite": 0.2}
TOLERANCE = 1e-4

pytestmark = pytest.mark.runtimes


@pytest.fixture(scope="module")
def exported(golden_dir, tmp_path_factory):
    """A folder of exported files, of images, and what Keras answers to these."""
    folder = tmp_path_factory.mktemp("exported")
    source = open_source([str(golden_dir / "saved_by_0.1.0" / "runs" / "student")])
    dataset = load_dataset("shapes:256:64", image_size=source.image_size)
    images = np.asarray(dataset.split("test").images, np.uint8)
    np.save(folder / "images.npy", images)
    write_saved_model(source.model, source.labels, folder / "saved_model")
    calibration = np.asarray(dataset.split("train").images)
    for name, quantize in (("float32", "none"), ("int8", "int8")):
        (folder / f"{name}.tflite").write_bytes(
            convert_to_litert(
                source.model, quantize=quantize, calibration_images=calibration
            )
        )
    # What knows no signatures takes a file of one output for one classifier.
    one_output = describe(
        convert_to_litert(source.model, outputs=("logits",)),
        name="student",
        description="A student.",
        license=None,
        files={"labels.txt": "".join(f"{label}\n" for label in source.labels)},
        labels_file="labels.txt",
    )
    (folder / "one_output.tflite").write_bytes(one_output)
    logits = source.model.predict(images.astype(np.float32), verbose=0)
    return folder, logits


def compare(runtime, answers, logits, rows):
    largest = np.abs(logits).max()
    deviations = {
        file: np.abs(found - logits).max() / largest for file, found in answers.items()
    }
    for file, deviation in deviations.items():
        same = (answers[file].argmax(1) == logits.argmax(1)).mean()
        rows.append((runtime, file, deviation, same))
    assert {
        file: value
        for file, value in deviations.items()
        if not value <= TOLERANCES.get(file, TOLERANCE)
    } == {}


def test_litert_answers_like_keras(exported, rows):
    folder, logits = exported
    images = np.load(folder / "images.npy")
    answers = {
        name: ask_litert(folder / name, images).logits
        for name in ("float32.tflite", "int8.tflite")
    }
    compare("litert", answers, logits, rows)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_answers_like_keras(script, exported, tmp_path, rows):
    folder, logits = exported
    answers_file = tmp_path / "answers.npz"
    command = [uv.find_uv_bin(), "run", "--no-python-downloads", "--script", script]
    # Only what the script names is there.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    finished = subprocess.run(
        [*command, folder, folder / "images.npy", answers_file],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    missing = re.search(r"No interpreter found for .*", finished.stderr)
    if missing:
        pytest.skip(missing[0])
    assert finished.returncode == 0, finished.stderr[-3000:]
    with np.load(answers_file) as stored:
        answers = dict(stored)
    compare(script.stem, answers, logits, rows)
