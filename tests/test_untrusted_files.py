"""No file runs code when it is read, whoever made it, and the refusal says why."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from v1keras.data.corrupted import _CIFAR10, open_corrupted
from v1keras.evaluation import CLEAN, LogitCache
from v1keras.reading import read_array
from v1keras.training import Run
from v1keras.v1 import GaborParameters


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


@pytest.fixture
def ran(tmp_path):
    """What code in a file would make."""
    return tmp_path / "ran"


@pytest.fixture
def run(golden_dir, tmp_path):
    return Run.open(
        shutil.copytree(golden_dir / "saved_by_0.1.0/runs/base", tmp_path / "run")
    )


def rewrite(file, change=None, **further):
    """Changes the configuration within a model file, and adds members to it."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if change:
        config = json.loads(members["config.json"])
        change(config)
        members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in {**members, **further}.items():
            archive.writestr(name, data)


def test_a_lambda_is_refused_as_what_it_is(run, ran):
    path = str(ran)
    inputs = keras.Input((4,))
    outputs = keras.layers.Lambda(lambda x: (__import__("os").mkdir(path), x)[1])(
        keras.layers.Dense(2)(inputs)
    )
    keras.Model(inputs, outputs).save(run.path / "model.keras")
    ran.rmdir()  # Keras has called it to find out what it gives
    with pytest.raises(
        ValueError, match=r"model\.keras, .*undamaged but refused.*ambda"
    ):
        run.load_model()
    assert not ran.exists()


# A module, and what the configuration of its "class" holds.
HOSTILE = {
    "a module that runs": {"module": "hostile_module", "class_name": "Layer"},
    "a function of os": {"module": "os", "class_name": "mkdir"},
    "a builtin": {"module": "builtins", "class_name": "exec"},
    "a function of Keras": {"module": "keras.utils", "class_name": "get_file"},
    "an unknown class": {"module": "keras.layers", "class_name": "Newer"},
    "our name on another module": {
        "module": "hostile_module",
        "class_name": "VOneBlock",
        "registered_name": "v1keras>VOneBlockx",
    },
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("place", ["model", "layer", "initializer"])
def test_names_in_a_model_are_not_imported(
    run, ran, tmp_path, monkeypatch, what, place
):
    code = f"import os\nos.mkdir({str(ran)!r})\nclass Layer: pass\nVOneBlock = Layer\n"
    (tmp_path / "hostile_module.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    hostile = {"config": {"path": str(ran), "name": "x"}, "registered_name": None}
    hostile |= HOSTILE[what]

    def change(config):
        layers = config["config"]["layers"]
        if place == "model":
            config.clear()
            config.update(hostile)
        elif place == "layer":
            layers[1].update(hostile)
        else:
            dense = next(each for each in layers if each["class_name"] == "Dense")
            dense["config"]["kernel_initializer"] = hostile

    rewrite(run.path / "model.keras", change)
    with pytest.raises(
        ValueError, match=r"model\.keras, which is undamaged but refused"
    ):
        run.load_model()
    assert not ran.exists()


def test_members_with_a_path_stay_inside(run, tmp_path):
    before = {*tmp_path.iterdir()}, {*Path.cwd().iterdir()}
    slips = dict.fromkeys(
        ("../slip", f"{tmp_path}/slip", "assets/../../slip", "assets/x"), b"x"
    )
    rewrite(run.path / "model.keras", **slips)
    try:
        run.load_model()
    except ValueError as error:
        assert "model.keras" in str(error)
    assert ({*tmp_path.iterdir()}, {*Path.cwd().iterdir()}) == before
    assert not list(Path(tmp_path.parent).glob("slip"))


def read_cell(folder):
    return LogitCache(folder, {"seed": 0}, {"m": "x"}).read(CLEAN)


ARRAYS = {
    "gabors.npz": lambda folder: GaborParameters.load(folder / "gabors.npz"),
    "clean-0.npz": read_cell,
    "view_000.npy": lambda folder: read_array(
        folder / "view_000.npy", "x", dtype=np.float16, shape=(1,), mmap=True
    ),
    "labels.npy": lambda folder: open_corrupted(
        folder, _CIFAR10, image_size=6, allow_partial=True
    ),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_pickled_objects_are_refused(tmp_path, ran, name):
    pickled = np.array([Payload(ran)], dtype=object)
    if name.endswith(".npz"):
        names = ("sf", "channel_q0", "logits/m", "labels", "ids", "sample")
        np.savez(tmp_path / name, **dict.fromkeys(names, pickled))
    else:
        np.save(tmp_path / name, pickled, allow_pickle=True)
    if name == "clean-0.npz":
        manifest = {"settings": {"seed": 0}, "models": {"m": "x"}}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    np.save(tmp_path / "fog.npy", np.zeros((5, 6, 6, 3), np.uint8))
    with pytest.raises(
        ValueError, match=rf"{name} is damaged .*(allow_pickle|objects)"
    ):
        ARRAYS[name](tmp_path)
    assert not ran.exists()
