import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from v1keras.layers import NeuronalNoise, is_stochastic, noise_layers, set_noise

SCALE, LEVEL = 0.286, 0.071


def standardised(responses, noisy, gain=1.0):
    """The standard normal draws that turned `responses` into `noisy`."""
    spikes = responses * SCALE + LEVEL
    return (noisy - responses) * SCALE / (np.sqrt(np.maximum(spikes, 0) + 1e-4) * gain)


def test_formula_and_distribution():
    layer = NeuronalNoise(0.5, seed=0)
    responses = np.random.default_rng(0).uniform(0, 5, (16, 32, 32, 64))
    draws = standardised(responses, np.asarray(layer(responses.astype("float32"))), 0.5)
    flat = draws.ravel()
    assert flat.size > 1_000_000
    assert abs(flat.mean()) < 4e-3 and abs(flat.std() - 1) < 3e-3
    assert abs(stats.skew(flat)) < 0.01 and abs(stats.kurtosis(flat)) < 0.03
    assert stats.kstest(flat[::10], "norm").pvalue > 1e-3
    # Independent over batch, rows, columns and channels.
    for axis in range(4):
        first = np.take(draws, range(draws.shape[axis] - 1), axis).ravel()
        second = np.take(draws, range(1, draws.shape[axis]), axis).ravel()
        assert abs(np.corrcoef(first, second)[0, 1]) < 5e-3
    again = standardised(responses, np.asarray(layer(responses.astype("float32"))), 0.5)
    assert abs(np.corrcoef(flat, again.ravel())[0, 1]) < 5e-3


def test_negative_responses_stay_finite():
    layer = NeuronalNoise(seed=0)
    noisy = np.asarray(layer(np.full((1, 4, 4, 8), -10.0, "float32")))
    # relu(u) is 0: the standard deviation is sqrt(1e-4) / scale.
    assert np.all(np.abs(noisy + 10) < 6 * 0.01 / SCALE)
    assert np.asarray(NeuronalNoise(rectify=True)(noisy)).min() >= 0


def test_modes():
    responses = np.ones((3, 6, 6, 4), "float32")
    assert np.array_equal(NeuronalNoise(noise="off")(responses), responses)
    assert np.array_equal(NeuronalNoise(0.0)(responses), responses)
    fixed = NeuronalNoise(noise="fixed", seed=0)
    whole = np.asarray(fixed(responses))
    np.testing.assert_array_equal(whole, fixed(responses))
    np.testing.assert_array_equal(whole[:1], fixed(responses[:1]))
    other = NeuronalNoise(noise="fixed", seed=1)(responses)
    assert not np.allclose(whole, other)


def test_set_noise_reaches_compiled_and_nested_models():
    inputs = keras.Input((4, 4, 2))
    inner = keras.Model(inputs, NeuronalNoise()(inputs))
    outer_input = keras.Input((4, 4, 2))
    outer = keras.Model(outer_input, NeuronalNoise(name="second")(inner(outer_input)))
    images = np.ones((2, 4, 4, 2), "float32")
    assert len(noise_layers(outer)) == 2
    assert is_stochastic(outer)

    assert not np.allclose(*(outer.predict(images, verbose=0) for _ in range(2)))
    set_noise(outer, "off")
    assert not is_stochastic(outer)
    np.testing.assert_array_equal(outer.predict(images, verbose=0), images)
    set_noise(outer, "stochastic", seed=0)
    first = outer.predict(images, verbose=0)
    set_noise(outer, "stochastic", seed=0)
    np.testing.assert_array_equal(outer.predict(images, verbose=0), first)
    set_noise(outer, "stochastic", seed=1)
    assert not np.allclose(outer.predict(images, verbose=0), first)
    with pytest.raises(ValueError, match="stochastic, off, fixed"):
        set_noise(outer, "on")


def test_front_ends_of_one_model_draw_differently():
    inputs = keras.Input((8, 8, 4))
    outputs = [NeuronalNoise(name=name)(inputs) for name in "ab"]
    model = keras.Model(inputs, outputs)
    set_noise(model, "stochastic", seed=0)
    first, second = model(np.ones((4, 8, 8, 4), "float32"))
    assert abs(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]) < 0.1


def test_replicas_draw_differently():
    devices = tf.config.list_logical_devices("CPU")
    strategy = tf.distribute.MirroredStrategy([device.name for device in devices])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        layer = NeuronalNoise(seed=0)

    @tf.function
    def draw():
        return strategy.run(lambda: layer(tf.ones((4, 8, 8, 4))))

    first, second = strategy.experimental_local_results(draw())
    assert abs(np.corrcoef(np.ravel(first), np.ravel(second))[0, 1]) < 0.1
    third, _ = strategy.experimental_local_results(draw())
    assert abs(np.corrcoef(np.ravel(first), np.ravel(third))[0, 1]) < 0.1


def test_a_loaded_model_goes_on_with_the_noise(tmp_path):
    inputs = keras.Input((4, 4, 2))
    model = keras.Model(inputs, NeuronalNoise()(inputs))
    images = np.ones((2, 4, 4, 2), "float32")
    first = np.asarray(model(images))
    model.save(tmp_path / "noise.keras")
    loaded = keras.models.load_model(tmp_path / "noise.keras")
    second = np.asarray(model(images))
    np.testing.assert_array_equal(loaded(images), second)
    assert not np.allclose(first, second)


def test_refusals():
    with pytest.raises(ValueError, match="noise_scale=0"):
        NeuronalNoise(noise_scale=0)
    with pytest.raises(ValueError, match="noise='loud'"):
        NeuronalNoise(noise="loud")
