import keras
import numpy as np
import pytest
import tensorflow as tf

from v1keras.models import BalancedAccuracy, LabelLoss
from v1keras.training import L2SGD, TrainConfig
from v1keras.training.distributed_fit import distributed_fit
from v1keras.training.optimizer import make_optimizer
from v1keras.training.strategy import get_strategy


def test_decay_is_part_of_the_gradient():
    weight = keras.Variable([2.0, -1.0])
    optimizer = L2SGD(0.1, l2=0.5, momentum=0.9)
    expected, velocity = np.array([2.0, -1.0]), np.zeros(2)
    for gradient in ([1.0, 0.0], [0.5, 2.0], [0.0, 0.0]):
        optimizer.apply([keras.ops.array(gradient)], [weight])
        # torch.optim.SGD: v = m v + (g + l2 w); w -= lr v.
        velocity = 0.9 * velocity + (np.array(gradient) + 0.5 * expected)
        expected = expected - 0.1 * velocity
        np.testing.assert_allclose(weight, expected, rtol=1e-6)


def test_nesterov_and_no_momentum():
    for settings in ({"momentum": 0.9, "nesterov": True}, {}):
        weight = keras.Variable([2.0, -1.0])
        optimizer = L2SGD(0.1, l2=0.5, **settings)
        expected, velocity = np.array([2.0, -1.0]), np.zeros(2)
        momentum = settings.get("momentum", 0.0)
        for gradient in ([1.0, 0.0], [0.5, 2.0]):
            optimizer.apply([keras.ops.array(gradient)], [weight])
            gradient = np.array(gradient) + 0.5 * expected
            velocity = momentum * velocity + gradient
            step = gradient + momentum * velocity if settings else gradient
            expected = expected - 0.1 * step
            np.testing.assert_allclose(weight, expected, rtol=1e-6)


def test_two_replicas_update_as_one_does():
    found = []
    for name in ("none", "mirrored"):
        keras.utils.set_random_seed(0)
        with get_strategy(name).scope():
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
            model.compile(L2SGD(0.1, momentum=0.9, l2=0.1), "mse")
        x = np.linspace(-1, 1, 32, dtype="float32").reshape(8, 4)
        model.fit(x, x[:, :3] ** 2, batch_size=4, epochs=3, shuffle=False, verbose=0)
        found.append([np.asarray(each) for each in model.optimizer.variables[2:]])
        found[-1] += [np.asarray(each) for each in model.weights]
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)


class StopAfterThree(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 2


def averaged(replicas):
    """Figures of a small model that is trained on so many replicas."""

    def batches(replicas=1, own=range(1)):
        x = np.linspace(-1, 1, 32, dtype="float32").reshape(8, 4) ** 3
        labels = np.array([0, 1, 2, 0, 0, 1, 0, 0], "int32")
        # The parts of the replicas come in turn.
        return tf.data.Dataset.from_tensor_slices((x, labels)).batch(4 // replicas)

    keras.utils.set_random_seed(0)
    with get_strategy("none" if replicas == 1 else "mirrored").scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.compile(
            L2SGD(0.5, momentum=0.9, use_ema=True, ema_momentum=0.5),
            LabelLoss(class_weight=[1.0, 2.0, 3.0]),
            metrics=[BalancedAccuracy(3)],
        )
    history = keras.callbacks.History()
    callbacks = [history, keras.callbacks.SwapEMAWeights(), StopAfterThree()]
    common = {"epochs": 9, "steps_per_epoch": 2, "validation_steps": 2, "verbose": 0}
    if replicas == 1:
        training, validation = batches().repeat(), batches()
        model.fit(
            training,
            validation_data=validation,
            shuffle=False,
            callbacks=callbacks,
            **common,
        )
    else:

        def endless(**kwargs):
            return batches(**kwargs).repeat()

        distributed_fit(model, endless, batches, callbacks=callbacks, **common)
    return history.history


def test_averages_and_balanced_figures_do_not_depend_on_replicas():
    one, two = averaged(1), averaged(2)
    assert one.keys() == two.keys() and len(one["val_loss"]) == 3
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=1e-5, err_msg=name)


def test_what_replicas_cannot_do():
    settings = {"out": "x", "mixed_precision": True, "compute_dtype": "float16"}
    optimizer = make_optimizer(TrainConfig(**settings, weight_ema=0.9), 10)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
    assert optimizer.inner_optimizer.ema_momentum == 0.9
    for config in (TrainConfig(**settings), TrainConfig(out="x", clip_norm=1.0)):
        with pytest.raises(ValueError, match="on 2 replicas"):
            make_optimizer(config, 10, replicas=2)


def test_clipping_is_of_all_gradients_together_and_before_the_decay():
    weights = [keras.Variable([2.0, 0.0]), keras.Variable([0.0])]
    config = TrainConfig(out="x", clip_norm=1.0, weight_decay=0.5, schedule="constant")
    optimizer = make_optimizer(config, 10)
    optimizer.apply([keras.ops.array([3.0, 0.0]), keras.ops.array([4.0])], weights)
    # As torch.nn.utils.clip_grad_norm_ before torch.optim.SGD: a norm of 5 becomes 1.
    np.testing.assert_allclose(weights[0], [2.0 - 0.1 * (0.6 + 0.5 * 2.0), 0.0])
    np.testing.assert_allclose(weights[1], [-0.1 * 0.8], rtol=1e-6)


def test_round_trip():
    config = keras.optimizers.serialize(L2SGD(0.2, l2=1e-3, momentum=0.8))
    restored = keras.optimizers.deserialize(config)
    assert isinstance(restored, L2SGD)
    assert (restored.l2, restored.momentum) == (1e-3, 0.8)


def rates(schedule, epochs, **settings):
    config = TrainConfig(out="x", schedule=schedule, epochs=epochs, **settings)
    optimizer = make_optimizer(config, steps_per_epoch=10)
    rate = optimizer._learning_rate
    steps = range(0, epochs * 10, 10)
    return [float(rate(step)) if callable(rate) else float(rate) for step in steps]


def test_schedules():
    assert rates("constant", 3) == pytest.approx([0.1] * 3)
    assert rates("step", 5, step_epochs=2)[::2] == pytest.approx([0.1, 0.01, 0.001])
    cosine = rates("cosine", 5, warmup_epochs=1.0)
    assert cosine[0] == 0.0 and cosine[1] == pytest.approx(0.1)
    # Half-way from the end of the warm-up to the end: half the rate.
    assert cosine[3] == pytest.approx(0.05)
