"""Float16, clipped gradients, averaged weights, weighted and smoothed labels together."""

import numpy as np
import pytest
from stopping import StopIn, Stopped

from v1keras.data import evaluation_batches
from v1keras.models import BalancedAccuracy, LabelLoss, balanced_class_weight
from v1keras.training import (
    DistillConfig,
    Run,
    TrainConfig,
    distill,
    open_dataset,
    train,
)

RECIPE = {
    "variant": "no_noise",
    "mixed_precision": True,
    "compute_dtype": "float16",
    "clip_norm": 1.0,
    "weight_ema": 0.5,
    "label_smoothing": 0.1,
    "class_weight": "balanced",
    "mixup": 0.2,
}


@pytest.fixture(scope="module")
def config(tiny_settings, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("recipe") / "run")
    return TrainConfig(**{**tiny_settings, **RECIPE, "epochs": 2, "out": out})


@pytest.fixture(scope="module")
def run(config):
    """Stopped after one epoch, and resumed."""
    with pytest.raises(Stopped):
        train(config, callbacks=[StopIn(2)])
    return train(config)


def figures(run):
    return {name: rows for name, rows in run.history.items() if name != "seconds"}


def test_resuming_equals_not_stopping(run, config, change, tmp_path):
    whole = train(change(config, out=str(tmp_path / "whole")))
    assert figures(run) == figures(whole)
    found, expected = (each.load_model().get_weights() for each in (run, whole))
    assert all(map(np.array_equal, found, expected))


def test_the_saved_model_is_the_validated_one(run, config):
    dataset = open_dataset(config)
    train_labels = dataset.split("train").labels
    weight = balanced_class_weight(train_labels, dataset.num_classes)
    model = run.load_model()
    assert model.get_layer("vone_block").compute_dtype == "float16"
    model.compile(
        loss=LabelLoss(class_weight=weight, label_smoothing=0.1),
        metrics=[BalancedAccuracy(dataset.num_classes)],
    )
    batches = evaluation_batches(dataset.split("validation"), batch_size=32)
    found = model.evaluate(batches, verbose=0, return_dict=True)
    result = run.config["result"]
    best = {name: rows[result["best_epoch"] - 1] for name, rows in run.history.items()}
    assert found["loss"] == pytest.approx(best["val_loss"], rel=0.01)
    balanced = best["val_balanced_accuracy"]
    assert found["balanced_accuracy"] == pytest.approx(balanced, abs=0.05)
    assert result["validation_balanced_accuracy"] == balanced
    assert balanced == max(run.history["val_balanced_accuracy"])


def test_students(members, tiny_settings, tmp_path):
    settings = {**tiny_settings, **RECIPE, "epochs": 1, "out": str(tmp_path / "run")}
    del settings["compute_dtype"], settings["mixed_precision"]
    both = (members["no_noise"], members["standard"])
    run = distill(DistillConfig(**settings, members=both, teacher_views=1))
    assert {"balanced_accuracy", "val_balanced_accuracy"} <= run.history.keys()
    assert np.isfinite(Run.open(run.path).history["val_label_loss"]).all()
