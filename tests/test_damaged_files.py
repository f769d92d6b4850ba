"""Every file that is read may be damaged: one line that names it, never a traceback.

`READERS` is the list: a reader of a new file is a line in it. Each of them is shown some
damaged files here; `V1KERAS_DAMAGED_FILES=100` shows it so many.
"""

import dataclasses
import json
import os
import random
import shutil
import types
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.card import read_robustness
from export.evaluator import find_baseline
from export.integrity import find_faults, seal
from export.litert import convert_to_litert
from export.models_config import models_config, read_labels
from export.saved_model import write_saved_model
from export.trainer import _read, _Records
from v1keras.data import draw_shapes, load_dataset
from v1keras.data.corrupted import _CIFAR10, open_corrupted
from v1keras.evaluation import CLEAN, LogitCache
from v1keras.evaluation.cache import Sample
from v1keras.evaluation.calibration import measure_calibration, stored_calibrations
from v1keras.evaluation.costs import Cost, measure_costs
from v1keras.files import claim, file_fingerprint
from v1keras.models import LabelLoss
from v1keras.prediction.exported import open_exported
from v1keras.studies.recipes import AblationConfig
from v1keras.training import Run
from v1keras.training.checkpoint import RunCheckpoint
from v1keras.training.teacher import _stored
from v1keras.v1 import GaborParameters, sample_gabors

CASES = int(os.environ.get("V1KERAS_DAMAGED_FILES", "4"))
LABELS = ("cat", "dog", "owl")
SIZE = 16
# What an entry of a JSON file may turn into.
WRONG = (
    None, "x", -1, 0, 1e308, -0.5, 10**30, 10**400, True, [], {}, [[1]], {"a": None},
    "\ud800", float("nan"), float("inf"), "../../x",
)  # fmt: skip
DEEP = "[" * 100_000


@pytest.fixture(scope="module")
def files(tmp_path_factory, golden_dir):
    """A folder with an undamaged file for each reader."""
    folder = tmp_path_factory.mktemp("files")
    shutil.copytree(golden_dir / "saved_by_0.1.0/runs/student", folder / "run")
    shutil.copytree(golden_dir / "saved_by_0.1.0/runs/interrupted", folder / "stopped")
    _write_evaluation(folder)
    _write_data(folder)
    _write_export(folder / "export" / "7")
    np.savez(folder / "gabors.npz", **sample_gabors(8).to_dict())
    np.save(folder / "view_000.npy", np.zeros((8, 3), np.float16))
    recipes = {"plain": {}, "hot": {"temperature": 8, "teacher_layers": ["a"]}}
    (folder / "recipes.json").write_text(json.dumps(recipes))
    labels = {"cats": {"stable": 7}}
    (folder / "models.config").write_text(models_config({"cats": [7, 9]}, labels))
    return folder


def _write_evaluation(folder):
    weights = {"m": "x", "run": file_fingerprint(folder / "run/model.keras")}
    cache = LogitCache(folder / "logits", {"seed": 0, "dtype": "float16"}, weights)
    answers = {"m": np.zeros((1, 8, 3), np.float16)}
    image = np.zeros((8, 8, 3), np.uint8)
    cache.add(CLEAN, np.arange(8) % 3, np.arange(8), answers, sample=Sample(image, "0"))
    found = measure_calibration(np.eye(3)[np.arange(16) % 3], np.zeros(16, int))
    record = {
        "model": file_fingerprint(folder / "run/model.keras"),
        "noise": {"off": dataclasses.asdict(found)},
    }
    (folder / "run/calibration.json").write_text(json.dumps(record))
    cost = {"fingerprint": "x", "cost": Cost(1, 4, 2, 0.5, "CPU")._asdict()}
    (folder / "costs.json").write_text(json.dumps({"m": cost}))
    numbers = "accuracy,low,high,gain,noise_std,expected_calibration_error"
    header = f"model,role,corruption,severity,{numbers},negative_log_likelihood"
    row = "run,student,{},{},0.5,0.4,0.6,,,0.1,1.2,0.4,50,1\n"
    (folder / "robustness.csv").write_text(
        f"{header},brier_score,images,noise_samples\n"
        + row.format("clean", 0)
        + row.format("fog", 1)
    )
    ends = ("", "_low", "_high", "_gain")
    groups = [f"{each}{end}" for each in ("clean", "noise", "mean") for end in ends]
    (folder / "summary.csv").write_text(
        f"model,role,{','.join(groups)}\nrun,student{',0.5' * len(groups)}\n"
    )


def _write_data(folder):
    images, _ = draw_shapes(12, image_size=SIZE, seed=0)
    (folder / "cifar").mkdir()
    np.save(folder / "cifar/labels.npy", np.tile(np.arange(10), 5))
    np.save(folder / "cifar/fog.npy", np.zeros((50, 6, 6, 3), np.uint8))
    tiny, rows = folder / "tiny", []
    (tiny / "val/images").mkdir(parents=True)
    for index, image in enumerate(images):
        name = f"n{index % 3}"
        (tiny / "train" / name / "images").mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(tiny / "train" / name / "images" / f"{index}.png", image)
        keras.utils.save_img(tiny / "val/images" / f"{index}.png", image)
        rows.append(f"{index}.png\t{name}\t0\t0\t9\t9\n")
    (tiny / "val/val_annotations.txt").write_text("".join(rows))
    (tiny / "words.txt").write_text("n0\tcat, puss\nn1\tdog\nn2\towl\n")
    with tf.io.TFRecordWriter(str(folder / "records")) as writer:
        for label, image in enumerate(images[:3]):
            encoded = tf.io.encode_png(image).numpy()
            features = {
                "image": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[encoded])
                ),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def _write_export(folder):
    inputs = keras.Input((SIZE, SIZE, 3))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(len(LABELS))(flat))
    folder.mkdir(parents=True)
    write_saved_model(model, LABELS, folder)
    content = {"labels": "labels.txt", "input": {"shape": [None, SIZE, SIZE, 3]}}
    text = json.dumps({**content, "version": 7})
    (folder / "metadata.json").write_text(text)
    seal(folder)
    file = folder.parent.parent / "single.tflite"
    file.write_bytes(convert_to_litert(model))
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("metadata.json", text)
        archive.writestr("labels.txt", "".join(f"{label}\n" for label in LABELS))


def read_run(folder):
    run = Run.open(folder / "run")
    return run.name, run.labels, run.variant, run.v1, run.settings, run.summary()


def read_checkpoint(folder):
    model = Run.open(folder / "stopped").load_model()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), LabelLoss())
    RunCheckpoint(folder / "stopped", []).restore(model)


def read_manifest(folder):
    LogitCache(folder / "logits", {"seed": 0, "dtype": "float16"}, {"m": "x"})
    LogitCache.open(folder / "logits")


def read_cell(folder):
    cache = LogitCache.open(folder / "logits")
    return cache.models(CLEAN), cache.read(CLEAN), cache.sample(CLEAN)


def read_evaluation(folder):
    return read_robustness([Run.open(folder / "run")], str(folder))


def read_view(folder):
    teacher = types.SimpleNamespace(output_shape=(None, 3))
    return _stored(folder / "view_000.npy", "", teacher, None, 8, None, 0)


def read_recipes(folder):
    recipes = str(folder / "recipes.json")
    config = AblationConfig(out="x", base="x", members=("x", "y"), recipes=recipes)
    return config.read_recipes()


def read_cifar(folder):
    stored = open_corrupted(
        folder / "cifar", _CIFAR10, image_size=6, allow_partial=True
    )
    return stored.read("fog", 5)


def read_folders(folder):
    return load_dataset(str(folder / "tiny"), image_size=SIZE).display_names


def read_exported(folder):
    _, size, _, answer = open_exported(folder / "export" / "7")
    return answer(np.zeros((1, size, size, 3), np.uint8))


def read_litert(folder):
    _, size, _, answer = open_exported(folder / "single.tflite")
    return answer(np.zeros((1, size, size, 3), np.uint8))


def read_records(folder):
    return _read("train", [str(folder / "records")], _Records(LABELS, LABELS, SIZE, 1.0, "image", "label"))  # fmt: skip


# What reads each file.
READERS = {
    "run/config.json": read_run,
    "run/history.csv": lambda folder: Run.open(folder / "run").history,
    "run/model.keras": lambda folder: Run.open(folder / "run").load_model(),
    "run/calibration.json": lambda folder: stored_calibrations(
        Run.open(folder / "run")
    ),
    "stopped/checkpoint/epoch_0001/state.json": read_checkpoint,
    "stopped/checkpoint/epoch_0001/training.weights.h5": read_checkpoint,
    "logits/manifest.json": read_manifest,
    "logits/clean-0.npz": read_cell,
    "costs.json": lambda folder: measure_costs(folder, {}, {}),
    "robustness.csv": read_evaluation,
    "summary.csv": read_evaluation,
    "view_000.npy": read_view,
    "gabors.npz": lambda folder: GaborParameters.load(folder / "gabors.npz"),
    "recipes.json": read_recipes,
    "cifar/labels.npy": read_cifar,
    "cifar/fog.npy": read_cifar,
    "tiny/val/val_annotations.txt": read_folders,
    "tiny/words.txt": read_folders,
    "records": read_records,
    "models.config": read_labels,
    "export/7/metadata.json": read_exported,
    "export/7/labels.txt": read_exported,
    "export/7/saved_model.pb": read_exported,
    "export/7/variables/variables.index": read_exported,
    "export/7/SHA256SUMS": read_exported,
    "single.tflite": read_litert,
}
OTHER_READERS = {
    "run/config.json": lambda folder: claim(
        folder / "run", "config.json", {"kind": "student"}, what="run"
    ),
    "export/7/metadata.json": lambda folder: find_faults(folder / "export/7"),
    "export/7/labels.txt": lambda folder: find_baseline(
        str(folder / "export"), folder / "new", LABELS
    ),
}


def damage(content, suffix, dice):
    """Damaged content, and what was done."""
    ways = [truncate, flip, junk, zeros, repeat]
    ways += {".json": [wrong_entry] * 5, ".csv": [wrong_field] * 5}.get(suffix, [])
    way = dice.choice(ways)
    return way(content, dice), way.__name__


def truncate(content, dice):
    return content[: dice.choice([0, dice.randrange(len(content))])]


def flip(content, dice):
    damaged = bytearray(content)
    for _ in range(dice.choice([1, 1, 20])):
        damaged[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def junk(content, dice):
    return dice.choice(
        [dice.randbytes(len(content)), b"\xff\xfe\x00", b"null", b"\n", DEEP.encode()]
    )


def zeros(content, dice):
    start = dice.randrange(len(content))
    return content[:start] + bytes(len(content) - start)


def repeat(content, dice):
    return content + content[dice.randrange(len(content)) :]


def wrong_entry(content, dice):
    record = json.loads(content)
    value, key = record, dice.choice([*record])
    while isinstance(value[key], dict | list) and value[key] and dice.random() < 0.8:
        value = value[key]
        key = dice.choice([*value]) if isinstance(value, dict) else 0
    if dice.random() < 0.2:
        del value[key]
    else:
        value[key] = dice.choice(WRONG)
    return json.dumps(record).encode()


def wrong_field(content, dice):
    rows = [line.split(",") for line in content.decode().split("\n")]
    row = dice.choice(rows[:-1])
    wrong = ["", "x", "nan", "1e999", '"', "=1+1", "-1", "0", "a,b", "\x00"]
    row[dice.randrange(len(row))] = dice.choice(wrong)
    return "\n".join(map(",".join, rows)).encode()


def show(reader, name, folder, count):
    """Reads damaged files; gives what went wrong."""
    file = folder / name
    whole = file.read_bytes()
    dice, faults = random.Random(name), []
    try:
        reader(folder)
        for case in range(count):
            content, way = damage(whole, file.suffix, dice)
            file.write_bytes(content)
            try:
                reader(folder)
            except (ValueError, OSError) as error:
                # As a command prints it.
                if file.name not in str(error) or len(str(error)) > 1000:
                    faults.append(f"{name} {case} ({way}): {error!s:.300}")
            except Exception as error:
                faults.append(f"{name} {case} ({way}): {error!r:.300}")
    finally:
        file.write_bytes(whole)
    return faults


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_line_that_names_the_file(files, name):
    faults = show(READERS[name], name, files, CASES)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("name", OTHER_READERS)
def test_damage_to_what_a_second_reader_reads(files, name):
    faults = show(OTHER_READERS[name], name, files, CASES)
    assert not faults, "\n".join(faults)
