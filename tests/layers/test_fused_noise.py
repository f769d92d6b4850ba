"""The compiled noise: its generator, its distribution and its formula."""

import itertools

import keras
import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from v1keras.layers import NeuronalNoise, fused_noise
from v1keras.layers.deviation import deviation

CONSTANTS = {"noise_scale": 0.286, "noise_level": 0.071, "noise_gain": 1.0}

# Known answers of the Random123 library: rounds, key, counter, words.
KNOWN_ANSWERS = [
    (13, (0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
    (13, (0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0xFD36D048, 0x2D17272C)),
    (
        13,
        (0x13198A2E, 0x03707344),
        (0x243F6A88, 0x85A308D3),
        (0xBA3E4725, 0xF27D669E),
    ),
    (20, (0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    (
        20,
        (0x13198A2E, 0x03707344),
        (0x243F6A88, 0x85A308D3),
        (0xC4923A9C, 0x483DF7A0),
    ),
]


@pytest.mark.parametrize(("rounds", "key", "counter", "words"), KNOWN_ANSWERS)
def test_generator_gives_the_published_words(rounds, key, counter, words):
    found = fused_noise.threefry(
        tf.constant(key, tf.uint32),
        tuple(tf.constant([word], tf.uint32) for word in counter),
        rounds,
    )
    assert tuple(int(word[0]) for word in found) == words


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    """Two calls of a layer, a million draws each: (call, batch, y, x, channel)."""
    layer = NeuronalNoise(seed=3)
    ones = np.ones((16, 16, 16, 256), "float32")
    factor = float(np.sqrt(1 * 0.286 + 0.071 + 1e-4) / 0.286)
    return np.stack([(np.asarray(layer(ones)) - 1) / factor for _ in range(2)])


def test_distribution_is_standard_normal(normal):
    for draws in normal.reshape(2, -1).astype("float64"):
        n = draws.size
        assert n > 1_000_000
        # Each within four standard errors of its estimator.
        assert abs(draws.mean()) < 4 / np.sqrt(n)
        assert abs(draws.var() - 1) < 4 * np.sqrt(2 / n)
        assert abs((draws**3).mean()) < 4 * np.sqrt(15 / n)
        assert abs((draws**4).mean() - 3) < 4 * np.sqrt(96 / n)
        assert scipy.stats.kstest(draws, "norm").pvalue > 1e-3
        # The tails: what lies beyond four deviations, by a normal approximation.
        expected = n * 2 * scipy.stats.norm.sf(4)
        assert abs((np.abs(draws) > 4).sum() - expected) < 4 * np.sqrt(expected)


def test_draws_are_independent(normal):
    bound = 4.5 / np.sqrt(normal[0].size)
    first, second = normal
    # Neighbours along every axis, and the halves of every axis.
    for axis in range(4):
        length = first.shape[axis]
        for shift in (1, 2, length // 2):
            near, far = np.split(first, [shift], axis)[1], first
            far = np.split(far, [length - shift], axis)[0]
            assert abs(np.mean(near * far)) < bound * np.sqrt(2), (axis, shift)
            assert abs(np.mean(near**2 * far**2) - 1) < 3 * bound * np.sqrt(2)
    # Two calls, at the same place and at neighbouring ones.
    for shift in range(-2, 3):
        moved = np.roll(second.ravel(), shift)
        assert abs(np.mean(first.ravel() * moved)) < bound


def test_different_seeds_and_calls_give_different_draws():
    shape = tf.constant((64,))
    keys = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2)]
    draws = [fused_noise.standard_normal(shape, tf.constant(key)) for key in keys]
    for one, other in itertools.combinations(draws, 2):
        assert np.mean(np.asarray(one) == np.asarray(other)) < 0.1


def test_extremes_are_finite_and_symmetric():
    largest = (2**23 - 1 + 0.5) * 2.0**-22 - 1
    assert np.float32(largest) < 1
    assert np.isfinite(scipy.special.erfinv(largest))
    draws = np.asarray(
        fused_noise.standard_normal(tf.constant((2_000_000,)), tf.constant((0, 0)))
    )
    assert np.all(np.isfinite(draws))
    assert 4.5 < draws.max() < 5.4
    assert -5.4 < draws.min() < -4.5


def test_all_numbers_are_the_quantiles_of_their_bits():
    """Each of the 2^23 numbers against SciPy's in double precision."""
    step = np.arange(2**23) + 0.5
    uniform = step * 2.0**-22 - 1
    expected = scipy.special.ndtri(step * 2.0**-23)
    compiled = tf.function(fused_noise._normal_quantile, jit_compile=True)
    found = np.asarray(compiled(tf.constant(uniform, tf.float32)), "float64")
    assert np.abs(found / expected - 1).max() < 1e-6


@pytest.mark.parametrize("gain", [1.0, 0.5])
def test_formula_is_that_of_the_plain_layer(gain):
    """The compiled pass against the formula in NumPy with the same draws."""
    responses = np.random.default_rng(0).gamma(2.0, 1.0, (2, 8, 8, 16))
    responses = responses.astype("float32")
    seed = tf.constant((5, 7))
    normal = fused_noise.standard_normal(tf.constant(responses.shape), seed)
    spikes = np.maximum(responses * 0.286 + 0.071, 0)
    noisy = spikes + np.asarray(normal) * np.sqrt(spikes + 1e-4) * gain
    expected = (noisy - 0.071) / 0.286
    found = fused_noise.add_noise(
        tf.constant(responses), seed, **{**CONSTANTS, "noise_gain": gain}
    )
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_half_precision_responses_keep_their_type():
    responses = tf.ones((2, 4, 4, 8), tf.bfloat16)
    seed = tf.constant((0, 0))
    found = fused_noise.add_noise(responses, seed, **CONSTANTS)
    single = fused_noise.add_noise(tf.cast(responses, tf.float32), seed, **CONSTANTS)
    assert found.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(found, tf.float32), single, rtol=1e-2)


def test_gradient_is_that_of_the_formula():
    responses = tf.random.stateless_uniform((4, 9), (0, 1))
    seed = tf.constant((1, 2))
    normal = fused_noise.standard_normal(tf.constant((4, 9)), seed)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(responses)
        fused = fused_noise.add_noise(responses, seed, **CONSTANTS)
        plain = responses + normal * deviation(responses, **CONSTANTS)
    np.testing.assert_allclose(
        tape.gradient(fused, responses), tape.gradient(plain, responses), rtol=1e-4
    )


def test_batches_of_any_size_in_one_model():
    inputs = keras.Input((4, 4, 8))
    model = keras.Model(inputs, NeuronalNoise(seed=1)(inputs))
    # The last batch is smaller.
    answers = model.predict(np.ones((5, 4, 4, 8), "float32"), batch_size=2, verbose=0)
    assert answers.shape == (5, 4, 4, 8)
    assert len(np.unique(answers)) > 600


def test_another_source_of_draws_is_used():
    layer = NeuronalNoise()
    layer.source = tf.ones_like
    found = layer(tf.zeros((1, 3)))
    np.testing.assert_allclose(found, np.sqrt(0.071 + 1e-4) / 0.286, rtol=1e-5)
