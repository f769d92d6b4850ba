"""Checkpoints: the two newest, what happens if one is damaged, and what follows them."""

import csv
import shutil

import keras
import numpy as np
import pytest
from stopping import Stopped

from v1keras.training import Run, TrainConfig, train


def stop_in(epoch, monkeypatch):
    """Ends every training as soon as it begins this epoch, counted from 1, or a later."""

    def stop(self, begun, logs=None):
        if begun + 1 >= epoch:
            raise Stopped

    monkeypatch.setattr(keras.callbacks.TensorBoard, "on_epoch_begin", stop)


def checkpoints(run):
    return sorted(path.name for path in (run / "checkpoint").iterdir())


def history(run):
    with (run / "history.csv").open() as file:
        return [
            {name: value for name, value in row.items() if name != "seconds"}
            for row in csv.DictReader(file)
        ]


@pytest.fixture(scope="module")
def whole(tiny_settings, tmp_path_factory):
    """A run of three epochs that nothing has stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(TrainConfig(out=str(out), **tiny_settings)).path


@pytest.fixture(scope="module")
def stopped(tiny_settings, tmp_path_factory):
    """The same, stopped in its third epoch."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stop_in(3, patch)
        with pytest.raises(Stopped):
            train(TrainConfig(out=str(out), **tiny_settings))
    return out


@pytest.fixture
def run(stopped, tiny):
    """A copy of it, where `tiny` trains on."""
    shutil.copytree(stopped, tiny.out)
    return Run.open(tiny.out).path


def flip(file):
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


DAMAGES = {
    "a bit of the weights": lambda folder: flip(folder / "training.weights.h5"),
    "no weights": lambda folder: (folder / "training.weights.h5").unlink(),
    "half a state": lambda folder: (folder / "state.json").write_text('{"best'),
    "another state": lambda folder: (folder / "state.json").write_text("[]"),
    "empty": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_one_before_is_taken(run, tiny, damage, monkeypatch, capsys):
    assert checkpoints(run) == ["epoch_0001", "epoch_0002"]
    damage(run / "checkpoint" / "epoch_0002")
    stop_in(2, monkeypatch)
    with pytest.raises(Stopped):
        train(tiny)
    said = [line for line in capsys.readouterr().out.splitlines() if "resumed" in line]
    assert len(said) == 1 and said[0].startswith(f"{run}/checkpoint/epoch_0002, which")
    assert said[0].endswith("resumed from epoch_0001 instead.")
    # Table and model are of that epoch, too.
    assert len(history(run)) == 1
    model, kept = run / "model.keras", run / "checkpoint" / "epoch_0001" / "model.keras"
    assert model.read_bytes() == kept.read_bytes()


def test_resumed_from_the_one_before_it_ends_alike(run, whole, tiny):
    damaged = run / "checkpoint" / "epoch_0002"
    (damaged / "state.json").unlink()
    # Not what this package wrote.
    shutil.copytree(damaged, damaged.with_name("epoch_9999.bak"))
    (damaged.parent / "epoch_9998").write_text("")
    train(tiny)
    assert history(run) == history(whole)
    expected = Run.open(whole).load_model().get_weights()
    for found, value in zip(
        Run.open(run).load_model().get_weights(), expected, strict=True
    ):
        np.testing.assert_array_equal(found, value)
    assert checkpoints(run) == ["epoch_0003", "epoch_9998", "epoch_9999.bak"]
    # What only a resumed training needs is gone.
    files = {path.name for path in (run / "checkpoint" / "epoch_0003").iterdir()}
    assert files == {"state.json", "training.weights.h5"}


def test_two_damaged_checkpoints_are_refused(run, tiny):
    for folder in (run / "checkpoint").iterdir():
        flip(folder / "training.weights.h5")
    before = {path: path.read_bytes() for path in run.rglob("*.*") if path.is_file()}
    with pytest.raises(
        ValueError,
        match=rf"remove {run}/checkpoint to train from .*epoch_0002.*epoch_0001",
    ):
        train(tiny)
    changed = [path.name for path in before if path.read_bytes() != before[path]]
    assert changed in ([], ["config.json"])


def test_a_run_without_epochs_is_begun_anew(tiny, change, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        stop_in(1, patch)
        with pytest.raises(Stopped):
            train(change(tiny, learning_rate=1e6))
        with pytest.raises(Stopped):
            train(tiny)
    line = f"{tiny.out}: begun anew, as no epoch was finished with its settings."
    assert line in capsys.readouterr().out
    assert train(tiny).config["settings"]["learning_rate"] == tiny.learning_rate
    with pytest.raises(FileExistsError, match=r"learning_rate=0.05 instead of"):
        train(change(tiny, learning_rate=1e6))
