"""Callbacks of the caller, and what TensorBoard is given."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from v1keras.training import TrainConfig, train
from v1keras.v1 import filter_sheet


class Metrics(keras.callbacks.Callback):
    """What MLflow and others log, until it has seen enough."""

    def __init__(self):
        super().__init__()
        self.logged = []

    def on_epoch_end(self, epoch, logs=None):
        self.logged.append(logs)
        self.model.stop_training = len(self.logged) == 1


def tensors(folder, name):
    """What event files hold by a name, by step."""
    events = EventAccumulator(str(folder)).Reload().Tensors(name)
    return [tf.make_ndarray(event.tensor_proto) for event in events]


@pytest.fixture(scope="module")
def stopped(tiny_settings, tmp_path_factory):
    """A run that its callback ends after one of three epochs."""
    out = str(tmp_path_factory.mktemp("stopped") / "run")
    config = TrainConfig(**{**tiny_settings, "out": out, "variant": "standard"})
    metrics = Metrics()
    return train(config, callbacks=[metrics]), metrics, config


def test_a_callback_sees_what_is_kept_and_may_end_the_training(stopped):
    run, metrics, config = stopped
    (logs,) = metrics.logged
    assert run.is_finished and run.config["result"]["epochs"] == 1
    for name in ("loss", "val_loss", "val_accuracy"):
        assert run.history[name] == [logs[name]]
    assert run.summary().endswith("in epoch 1 of 1")
    assert train(config).config == run.config


def test_tensorboard_shows_rate_images_and_filters(stopped):
    run, _, _ = stopped
    (rate,) = tensors(run.path / "logs" / "train", "epoch_learning_rate")
    assert rate == pytest.approx(0.05)
    folder = run.path / "logs" / "pictures"
    # Width and height, then the pictures.
    ((width, height, *images),) = tensors(folder, "training images")
    assert (width, height, len(images)) == (b"32", b"32", 16)
    ((*_, sheet),) = tensors(folder, "Gabor filters")
    names = ("variant", "image_size", "visual_degrees", "kernel_size")
    expected = filter_sheet(**{name: run.v1[name] for name in names})
    np.testing.assert_array_equal(tf.io.decode_png(sheet), expected)
