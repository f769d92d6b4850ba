import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from v1keras.layers import BatchNormalization

RANDOM = np.random.default_rng(0)
MAPS = RANDOM.normal(3.0, 2.0, (4, 6, 5, 8)).astype("float32")
WEIGHTS = [
    RANDOM.uniform(0.5, 2.0, 8),  # gamma
    RANDOM.normal(size=8),  # beta
    RANDOM.normal(size=8),  # moving mean
    RANDOM.uniform(0.5, 2.0, 8),  # moving variance
]


def layer(kind, **settings):
    made = kind(momentum=0.9, epsilon=1e-5, **settings)
    made.build(MAPS.shape)
    made.set_weights(WEIGHTS)
    return made


def trained(one):
    """Output and gradients of a training step."""
    maps = tf.constant(MAPS)
    with tf.GradientTape() as tape:
        tape.watch(maps)
        outputs = one(maps, training=True)
        loss = tf.reduce_sum(outputs**3)
    return outputs, tape.gradient(loss, [maps, *one.trainable_variables])


def test_training_by_formula():
    fused = layer(BatchNormalization)
    outputs, _ = trained(fused)
    gamma, beta, moving_mean, moving_variance = WEIGHTS
    mean, variance = MAPS.mean((0, 1, 2)), MAPS.var((0, 1, 2))
    expected = (MAPS - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    _, _, own_mean, own_variance = fused.get_weights()
    np.testing.assert_allclose(own_mean, 0.9 * moving_mean + 0.1 * mean, rtol=1e-5)
    unbiased = MAPS.var((0, 1, 2), ddof=1)
    expected = 0.9 * moving_variance + 0.1 * unbiased
    np.testing.assert_allclose(own_variance, expected, rtol=1e-5)


def test_gradients_and_inference_are_those_of_keras():
    fused, plain = layer(BatchNormalization), layer(keras.layers.BatchNormalization)
    np.testing.assert_array_equal(fused(MAPS), plain(MAPS))
    (outputs, gradients), (expected, known) = trained(fused), trained(plain)
    np.testing.assert_allclose(outputs, expected, atol=1e-4)
    for own, other in zip(gradients, known, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-2)


def test_a_frozen_layer_keeps_its_statistics():
    frozen = layer(BatchNormalization, trainable=False)
    outputs = frozen(MAPS, training=True)
    np.testing.assert_array_equal(outputs, frozen(MAPS, training=False))
    # Non-trainable weights come first or last as Keras likes; none has moved.
    for weight, before in zip(frozen.get_weights(), WEIGHTS, strict=True):
        np.testing.assert_allclose(weight, before, rtol=1e-6)


@pytest.mark.parametrize(
    "settings,shape",
    [
        ({"axis": 1}, (4, 8, 5, 6)),
        ({"scale": False}, (4, 5, 6, 8)),
        ({}, (16, 8)),
        *(({"dtype": d}, (4, 5, 6, 8)) for d in ("float64", "float16", "bfloat16")),
    ],
)
def test_what_has_no_kernel_is_left_to_keras(settings, shape):
    maps = RANDOM.normal(size=shape).astype("float32")
    fused = BatchNormalization(**settings)
    plain = keras.layers.BatchNormalization(**settings)
    results = (
        keras.ops.convert_to_numpy(
            keras.ops.cast(layer(maps, training=True), "float64")
        )
        for layer in (fused, plain)
    )
    np.testing.assert_array_equal(*results)
    for own, other in zip(fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)


REPLICAS = """
import sys

import keras
import numpy as np
import tensorflow as tf

import v1keras

(cpu,) = tf.config.list_physical_devices("CPU")
replicas = int(sys.argv[1])
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)]
)
strategy = tf.distribute.MirroredStrategy(
    [device.name for device in tf.config.list_logical_devices("CPU")]
)
assert strategy.num_replicas_in_sync == replicas
images = np.random.default_rng(0).normal(3.0, 2.0, (16, 4, 4, 3)).astype("float32")
labels = np.arange(16) % 2
with strategy.scope():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(4, 3)(inputs)
    x = v1keras.layers.BatchNormalization(momentum=0.5)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    optimizer = v1keras.training.L2SGD(0.01, l2=1e-3, momentum=0.9)
    model.compile(optimizer, v1keras.models.LabelLoss())
for count in (2 * replicas, 2 * replicas - 1, 1):
    share = -(-count // replicas)
    parts = [images[:count][i * share : (i + 1) * share] for i in range(replicas)]
    with strategy.scope():
        layer = v1keras.layers.BatchNormalization(momentum=0.5)
        layer.build((None, 4, 4, 3))
    shares = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(parts[context.replica_id_in_sync_group])
    )
    step = tf.function(lambda shares: layer(shares, training=True))
    strategy.run(step, (shares,))
    for moving, of_part, start in (
        (layer.moving_mean, lambda part: part.mean((0, 1, 2)), 0.0),
        (layer.moving_variance, lambda part: part.var((0, 1, 2), ddof=1), 1.0),
    ):
        own = [(start + of_part(part)) / 2 if len(part) else start for part in parts]
        expected = sum(own) / replicas
        for replica in strategy.experimental_local_results(moving.value):
            np.testing.assert_allclose(replica, expected * np.ones(3), rtol=1e-5)
        np.testing.assert_allclose(moving.numpy(), expected * np.ones(3), rtol=1e-5)

for images_left in range(1, 2 * replicas + 1):
    count = 2 * replicas + images_left
    data = tf.data.Dataset.from_tensor_slices((images[:count], labels[:count]))
    data = data.batch(2 * replicas)
    logs = model.fit(data, validation_data=data, verbose=0).history
    assert np.isfinite([*logs.values()]).all(), (images_left, logs)
    assert all(np.isfinite(weight).all() for weight in model.get_weights()), images_left
    for weight in model.layers[2].weights:
        copies = strategy.experimental_local_results(weight.value)
        assert all(np.array_equal(copies[0], copy) for copy in copies), weight.path
"""


@pytest.mark.parametrize("replicas", [2, 4])
def test_replicas(replicas):
    """They share their statistics, and all sizes of the last batch leave them finite."""
    # oneDNN's convolution, on CPUs only, gives a wrong shape for a batch of no images.
    environment = {**os.environ, "TF_ENABLE_ONEDNN_OPTS": "0"}
    command = [sys.executable, "-c", REPLICAS, str(replicas)]
    subprocess.run(command, env=environment, check=True)


def test_an_empty_batch_changes_nothing():
    one = layer(BatchNormalization)
    before = one.get_weights()
    maps = tf.zeros((0, 6, 5, 8))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(one(maps, training=True))
    for gradient in tape.gradient(loss, one.trainable_variables):
        np.testing.assert_array_equal(gradient, np.zeros(8))
    for weight, own in zip(one.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, own)
