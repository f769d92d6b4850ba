"""Finished runs go on with further epochs, and lose nothing by it."""

import csv
import shutil

import keras
import numpy as np
import pytest

from v1keras.files import checksums
from v1keras.training import DistillConfig, Run, TrainConfig, distill, train
from v1keras.training.optimizer import make_optimizer


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def finished(tiny_settings, tmp_path_factory):
    """A run of two epochs behind noise that goes on growing, by the plateau schedule."""
    out = tmp_path_factory.mktemp("finished") / "run"
    settings = {**tiny_settings, "variant": "standard", "noise_warmup_epochs": 3.0}
    return train(TrainConfig(out=str(out), **{**settings, "epochs": 2}))


@pytest.fixture
def longer(finished, tmp_path, change):
    """The configuration of two further epochs, in a copy of it."""
    out = shutil.copytree(finished.path, tmp_path / "run")
    return TrainConfig(**{**finished.config["settings"], "out": str(out), "epochs": 4})


def history(run):
    with (run.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def weights(run):
    return run.load_model().get_weights()


def test_it_ends_as_one_that_was_that_long_from_the_start(
    finished, longer, change, tmp_path
):
    run = train(longer)
    whole = train(change(longer, out=str(tmp_path / "whole")))
    assert history(run) == history(whole)
    assert all(map(np.array_equal, weights(run), weights(whole)))
    assert run.settings["epochs"] == 4 and run.is_finished
    assert run.config["earlier_results"] == [{"epochs": 2, **finished.config["result"]}]
    # Again and again.
    assert train(longer).config == run.config
    third = train(change(longer, epochs=5))
    assert [each["epochs"] for each in third.config["earlier_results"]] == [2, 4]


def test_a_stopped_one_keeps_result_and_model_and_resumes(
    finished, longer, change, tmp_path, monkeypatch
):
    for epoch in (2, 3):  # counted from 0

        def stop(self, begun, logs=None, epoch=epoch):
            if begun == epoch:
                raise Stopped

        with monkeypatch.context() as patch:
            patch.setattr(keras.callbacks.TensorBoard, "on_epoch_begin", stop)
            with pytest.raises(Stopped):
                train(longer)
        run = Run.open(longer.out)
        (before,) = run.config["earlier_results"]
        assert before == {"epochs": 2, **finished.config["result"]}
        assert not run.is_finished and len(history(run)) == epoch
        if epoch == 2:
            assert all(map(np.array_equal, weights(run), weights(finished)))
    # The epoch before the damaged one has the best model of its time.
    (run.path / "checkpoint" / "epoch_0003" / "state.json").unlink()
    run = train(longer)
    whole = train(change(longer, out=str(tmp_path / "whole")))
    assert history(run) == history(whole)
    assert all(map(np.array_equal, weights(run), weights(whole)))


def test_refused(finished, longer, change):
    before = checksums(longer.out)
    for other, message in (
        ({"epochs": 1}, "epochs=2 instead of epochs=1"),
        ({"momentum": 0.5}, r"has momentum=0\.9 instead of momentum=0\.5$"),
        ({"dataset": "shapes:120:24"}, "dataset='shapes:96:24' instead of"),
    ):
        with pytest.raises(FileExistsError, match=message):
            train(change(longer, **other))
        assert checksums(longer.out) == before
    shutil.rmtree(f"{longer.out}/checkpoint")
    before = checksums(longer.out)
    with pytest.raises(FileNotFoundError, match=r"goes on from its checkpoint/.*run w"):
        train(longer)
    assert checksums(longer.out) == before


def test_cosine_goes_on_where_the_longer_one_is(finished, longer, change, tmp_path):
    settings = {"out": str(tmp_path / "cosine"), "schedule": "cosine"}
    short = change(longer, epochs=2, noise_warmup_epochs=0.0, **settings)
    rates = train(short).history["learning_rate"]
    assert rates[-1] == 0.0
    found = train(change(short, epochs=4)).history["learning_rate"]
    schedule = make_optimizer(change(short, epochs=4), 3)._learning_rate
    expected = [float(schedule(steps)) for steps in (9, 12)]
    np.testing.assert_allclose(found, [*rates, *expected], rtol=1e-6)


def test_students(members, tiny_settings, tmp_path):
    settings = {
        **tiny_settings,
        "members": (members["no_noise"], members["standard"]),
        "teacher_views": 2,
    }

    def student(name, epochs):
        out = str(tmp_path / name)
        return distill(DistillConfig(**{**settings, "out": out, "epochs": epochs}))

    student("student", 1)
    run, whole = student("student", 3), student("whole", 3)
    assert history(run) == history(whole)
    assert all(map(np.array_equal, weights(run), weights(whole)))
