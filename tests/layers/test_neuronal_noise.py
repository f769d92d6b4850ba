import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

import v1keras
from v1keras.layers import (
    NeuronalNoise,
    is_stochastic,
    noise_layers,
    set_noise,
    set_noise_share,
)

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


RESPONSES = np.ones((2, 4, 4, 2), "float32")


def functional(*layers):
    inputs = outputs = keras.Input((4, 4, 2))
    for layer in layers:
        outputs = layer(outputs)
    return keras.Model(inputs, outputs)


class Subclassed(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)


# Models around a model, and what Keras compiles in them.
OUTER = [
    lambda inner: inner,
    lambda inner: functional(NeuronalNoise(0.0), inner),
    lambda inner: keras.Sequential([inner]),
    Subclassed,
]
COMPILED = [
    lambda model: model.predict(RESPONSES, verbose=0),
    lambda model: model.predict_on_batch(RESPONSES),
    lambda model: model.evaluate(RESPONSES, RESPONSES, verbose=0),
    lambda model: model.train_on_batch(RESPONSES, RESPONSES),
]


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("answer", COMPILED)
def test_mode_reaches_what_is_compiled(outer, answer):
    inner = functional(NeuronalNoise())
    model = outer(inner)
    model.compile("sgd", "mse")

    def answers():
        return [np.asarray(answer(model)) for _ in range(2)]

    for _ in range(2):
        set_noise(inner, "stochastic", seed=3)
        assert is_stochastic(inner)
        first, second = answers()
        assert not np.allclose(first, second)
        set_noise(inner, "stochastic", seed=3)
        np.testing.assert_array_equal(answers(), [first, second])
        set_noise(inner, "off")
        assert not is_stochastic(model)
        np.testing.assert_array_equal(*answers())
        assert np.all(answers()[0] == (RESPONSES if first.ndim > 1 else 0.0))
        set_noise(inner, "fixed", seed=5)
        one, other = answers()
        np.testing.assert_array_equal(one, other)
        expected = np.asarray(model(RESPONSES))
        if first.ndim < 2:
            expected = np.mean((expected - RESPONSES) ** 2)
        np.testing.assert_allclose(one, expected, rtol=1e-5)
        set_noise(inner, "fixed", seed=6)
        assert not np.allclose(answers()[0], one)
    with pytest.raises(ValueError, match="stochastic, off, fixed"):
        set_noise(model, "on")


def test_a_function_of_ones_own_holds_no_draws_where_noise_was_off():
    layer = NeuronalNoise(noise="off")
    function = tf.function(layer).get_concrete_function(RESPONSES)
    types = {operation.type for operation in function.graph.get_operations()}
    assert types <= {"Placeholder", "Identity", "NoOp", "Const"}


def test_noise_for_a_while():
    model = functional(NeuronalNoise(seed=1), NeuronalNoise(noise="fixed", seed=2))
    twin = functional(NeuronalNoise(seed=1), NeuronalNoise(noise="fixed", seed=2))
    np.testing.assert_array_equal(model(RESPONSES), twin(RESPONSES))
    with pytest.raises(KeyError), v1keras.noise(model, "off"):
        assert np.array_equal(model(RESPONSES), RESPONSES)
        with v1keras.noise(model, "stochastic", seed=3):
            assert not np.array_equal(model(RESPONSES), RESPONSES)
        assert np.array_equal(model(RESPONSES), RESPONSES)
        raise KeyError
    # It resumes where it was.
    np.testing.assert_array_equal(model(RESPONSES), twin(RESPONSES))
    assert [layer.get_config() for layer in noise_layers(model)] == [
        {**layer.get_config(), "name": own.name}
        for layer, own in zip(noise_layers(twin), noise_layers(model), strict=True)
    ]


def test_fixed_noise_is_the_same_under_xla():
    layer = NeuronalNoise(noise="fixed", seed=5)
    responses = tf.ones((2, 4, 4, 2))
    step = tf.function(  # as Keras compiles a step
        lambda: tf.distribute.get_strategy().run(layer, (responses,)), jit_compile=True
    )
    np.testing.assert_allclose(step(), layer(responses), rtol=1e-5)


def test_streams_of_one_seed_differ():
    for mode in ("stochastic", "fixed"):
        draws = []
        for stream in (0, 1, 2):
            layer = NeuronalNoise(noise=mode, seed=4)
            draws.append(np.ravel(layer(np.ones((1, 16, 16, 8)), stream=stream)))
        assert np.abs(np.corrcoef(draws) - np.eye(3)).max() < 0.1


def test_xla_is_left_out_on_a_cpu_only():
    assert NeuronalNoise().supports_jit == bool(tf.config.list_logical_devices("GPU"))


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


def fixed_noise(layer):
    set_noise(model := functional(layer), "fixed", layer.seed)
    return np.asarray(model(RESPONSES))


def test_seeds_are_whole_numbers_of_one_range():
    for seed in (np.int64(3), np.uint8(3)):
        np.testing.assert_array_equal(
            fixed_noise(NeuronalNoise(seed=seed)), fixed_noise(NeuronalNoise(seed=3))
        )
        assert type(NeuronalNoise(seed=seed).get_config()["seed"]) is int
    for seed in (-1, 2**32, 2**63 - 1, 10**20):
        with pytest.raises(ValueError, match=f"from 0 to 4294967295.*seed={seed}"):
            NeuronalNoise(seed=seed)
        with pytest.raises(ValueError, match=f"seed={seed}"):
            set_noise(functional(NeuronalNoise()), "fixed", seed)
    for seed in (True, 1.0, "1", None):
        with pytest.raises(ValueError, match=f"must be an integer.*seed={seed!r}"):
            NeuronalNoise(seed=seed)


def test_no_two_seeds_draw_the_same_noise():
    seeds = (0, 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1)
    drawn = [np.ravel(fixed_noise(NeuronalNoise(seed=seed))) for seed in seeds]
    assert np.abs(np.corrcoef(drawn) - np.eye(len(seeds))).max() < 0.8


@pytest.mark.parametrize("seed", [-1, 2**32 + 5, 2**62])
def test_saved_layers_with_other_seeds_load_and_draw_their_noise(seed):
    # As version 0.1.0 took them: their last 32 bits were what counted.
    same = NeuronalNoise(noise="fixed", seed=seed % 2**32)
    loaded = NeuronalNoise.from_config({**same.get_config(), "seed": seed})
    np.testing.assert_array_equal(loaded(RESPONSES), same(RESPONSES))
    for layer in (
        v1keras.layers.VOneBlock(simple_channels=2, complex_channels=2),
        v1keras.layers.SubcorticalBlock(),
    ):
        loaded = type(layer).from_config({**layer.get_config(), "seed": seed})
        assert loaded.get_config()["seed"] == seed % 2**32


def test_refusals():
    with pytest.raises(ValueError, match="noise_scale=0"):
        NeuronalNoise(noise_scale=0)
    with pytest.raises(ValueError, match=r"epsilon=-1"):
        NeuronalNoise(epsilon=-1.0)
    with pytest.raises(ValueError, match="noise='loud'"):
        NeuronalNoise(noise="loud")


@pytest.mark.parametrize("mode", ["fixed", "stochastic"])
def test_share_reaches_what_is_compiled(mode):
    model = functional(NeuronalNoise())

    def noise_of(share):
        set_noise(model, mode, seed=1)
        set_noise_share(model, share)
        compiled = model.predict(RESPONSES, verbose=0) - RESPONSES
        set_noise(model, mode, seed=1)
        np.testing.assert_allclose(model(RESPONSES) - RESPONSES, compiled, atol=1e-5)
        return compiled

    whole = noise_of(1.0)
    assert np.std(whole) > 1
    np.testing.assert_allclose(noise_of(0.25), 0.25 * whole, atol=1e-4)
    np.testing.assert_array_equal(noise_of(0.0), 0 * whole)
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        set_noise_share(model, 1.5)
