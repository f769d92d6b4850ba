"""Finished runs go on with further epochs, and lose nothing by it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from stopping import StopIn, Stopped

from v1keras.files import checksums
from v1keras.training import DistillConfig, Run, TrainConfig, distill, train


@pytest.fixture(scope="module")
def settings(tiny_settings, tmp_path_factory):
    """Behind noise that goes on growing, by the plateau schedule."""
    return {
        **tiny_settings,
        "variant": "standard",
        "noise_warmup_epochs": 2.0,
        "out": str(tmp_path_factory.mktemp("runs") / "run"),
    }


@pytest.fixture(scope="module")
def finished(settings):
    """A run of two epochs."""
    return train(TrainConfig(**{**settings, "epochs": 2}))


@pytest.fixture
def longer(settings, finished, tmp_path):
    """The configuration of two further epochs, in a copy of it."""
    out = shutil.copytree(finished.path, tmp_path / "run")
    return TrainConfig(**{**settings, "out": str(out), "epochs": 4})


def history(run):
    return {k: v for k, v in run.history.items() if k != "seconds"}


def is_same_model(run, other):
    found, expected = (each.load_model().get_weights() for each in (run, other))
    return all(map(np.array_equal, found, expected))


def test_it_ends_as_one_that_was_that_long_from_the_start(
    finished, longer, change, tmp_path
):
    before = {"epochs": 2, **finished.config["result"]}
    # Before the first of the further epochs nothing of the finished run is lost.
    with pytest.raises(Stopped):
        train(longer, callbacks=[StopIn(3)])
    run = Run.open(longer.out)
    assert not run.is_finished and run.config["earlier_results"] == [before]
    assert history(run) == history(finished) and is_same_model(run, finished)
    with pytest.raises(Stopped):
        train(longer, callbacks=[StopIn(4)])
    # The epoch before this one is the last of the finished run.
    (run.path / "checkpoint" / "epoch_0003" / "state.json").unlink()
    run = train(longer)
    whole = train(change(longer, out=str(tmp_path / "whole")))
    assert history(run) == history(whole) and is_same_model(run, whole)
    assert run.settings["epochs"] == 4 and run.is_finished
    assert run.config["earlier_results"] == [before]
    assert train(longer).config == run.config


def test_refused(longer, change):
    before = checksums(longer.out)
    for other, message in (
        ({"epochs": 1}, "epochs=2 instead of epochs=1"),
        ({"momentum": 0.5}, r"has momentum=0\.9 instead of momentum=0\.5$"),
        ({"dataset": "shapes:120:24"}, "dataset='shapes:96:24' instead of"),
    ):
        with pytest.raises(FileExistsError, match=message):
            train(change(longer, **other))
        assert checksums(longer.out) == before
    checkpoint = Path(longer.out, "checkpoint", "epoch_0002")
    (checkpoint / "training.weights.h5").write_bytes(b"half")
    before = checksums(longer.out)
    with pytest.raises(ValueError, match=r"undamaged; put back a copy .*epoch_0002"):
        train(longer)
    assert checksums(longer.out) == before
    shutil.rmtree(checkpoint.parent)
    before = checksums(longer.out)
    with pytest.raises(FileNotFoundError, match=r"goes on from its checkpoint/.*run w"):
        train(longer)
    assert checksums(longer.out) == before


def test_students(members, tiny_settings, tmp_path):
    def student(epochs):
        settings = {**tiny_settings, "epochs": epochs, "out": str(tmp_path / "student")}
        both = (members["no_noise"], members["standard"])
        return distill(DistillConfig(**settings, members=both, teacher_views=1))

    short = student(1)
    before = history(short)
    long = student(2)
    assert {name: rows[:1] for name, rows in history(long).items()} == before
    assert long.config["earlier_results"] == [{"epochs": 1, **short.config["result"]}]
