import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy import ndimage

from v1keras.layers import DivisiveNormalization

GROUPS = [0, 1, 1, 0, 2]


@pytest.fixture
def responses():
    return np.random.default_rng(0).gamma(0.3, size=(2, 16, 16, 5)).astype("float32")


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_formula(responses, groups):
    layer = DivisiveNormalization(0.2, sigma=0.25, groups=groups)
    # 8 positions per degree: 2 of them.
    x, y = np.mgrid[-6:7, -6:7]
    window = np.exp(-(x**2 + y**2) / 8)
    window = (window / window.sum())[np.newaxis]
    expected = np.empty_like(responses)
    for channel in range(5):
        same = np.array(groups or [0] * 5) == (groups or [0] * 5)[channel]
        energy = (responses[..., same].astype("float64") ** 2).mean(axis=-1)
        energy = ndimage.correlate(energy, window, mode="mirror")
        expected[..., channel] = responses[..., channel] / (0.2 + np.sqrt(energy))
    np.testing.assert_allclose(layer(responses), expected, atol=1e-4)


def test_half_precision_rounds_only_the_result(responses):
    expected = ops.convert_to_numpy(DivisiveNormalization(groups=GROUPS)(responses))
    half = DivisiveNormalization(groups=GROUPS, dtype="mixed_bfloat16")(responses)
    np.testing.assert_allclose(ops.cast(half, "float32"), expected, rtol=2**-8)


def test_silence_has_a_finite_gradient():
    responses = tf.Variable(np.zeros((1, 8, 8, 3), "float32"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(DivisiveNormalization()(responses))
    np.testing.assert_allclose(tape.gradient(total, responses), 2.0, rtol=1e-3)


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"semisaturation": 0}, (1, 8, 8, 2), "semisaturation=0"),
        ({"map_size": 0}, (1, 8, 8, 2), "map_size=0"),
        ({"groups": [0, 1, 1]}, (1, 8, 8, 2), "3 channels"),
        ({"groups": [0, 2]}, (1, 8, 8, 2), "numbered 0, 1, 2"),
        ({}, (1, 8, None, 2), "batch known"),
    ],
)
def test_refusals(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        DivisiveNormalization(**settings).build(shape)
