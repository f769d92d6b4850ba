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
    [({"axis": 1}, (4, 8, 5, 6)), ({"scale": False}, (4, 5, 6, 8)), ({}, (16, 8))],
)
def test_what_has_no_kernel_is_left_to_keras(settings, shape):
    maps = RANDOM.normal(size=shape).astype("float32")
    fused = BatchNormalization(**settings)
    plain = keras.layers.BatchNormalization(**settings)
    results = fused(maps, training=True), plain(maps, training=True)
    np.testing.assert_array_equal(*results)
    for own, other in zip(fused.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(own, other)
