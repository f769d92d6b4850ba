import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy import ndimage

from v1keras.layers import ContrastNormalization


@pytest.mark.parametrize(
    ("shape", "degrees", "sigma_pixels"),
    [((64, 64), 2.0, 6.0), ((64, 48), 4.0, 3.0), ((32, 32), 0.5, 12.0)],
)
def test_formula(shape, degrees, sigma_pixels):
    image = np.random.default_rng(0).uniform(-1, 1, (*shape, 3))
    half = int(np.ceil(3 * sigma_pixels))
    half = [min(half, size - 1) for size in shape]
    x, y = np.mgrid[-half[0] : half[0] + 1, -half[1] : half[1] + 1]
    window = np.exp(-(x**2 + y**2) / (2 * sigma_pixels**2))
    window = (window / window.sum())[..., np.newaxis]
    difference = image - ndimage.correlate(image, window, mode="mirror")
    contrast = np.sqrt(ndimage.correlate(difference**2, window, mode="mirror"))
    layer = ContrastNormalization(visual_degrees=degrees)
    normalized = layer(image[np.newaxis].astype("float32"))[0]
    expected = difference / (contrast + 0.045)
    np.testing.assert_allclose(normalized, expected, atol=1e-4)


def test_uniform_images_give_zero_with_a_finite_gradient():
    images = tf.Variable(np.full((1, 32, 32, 3), 0.3, "float32"))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(ContrastNormalization()(images))
    assert abs(total) < 1e-2
    assert np.isfinite(tape.gradient(total, images)).all()


def test_half_precision_rounds_only_the_result():
    images = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    expected = ops.convert_to_numpy(ContrastNormalization()(images))
    half = ContrastNormalization(dtype="mixed_bfloat16")(images)
    np.testing.assert_allclose(
        ops.cast(half, "float32"), expected, rtol=2**-8, atol=1e-4
    )


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"sigma": 0}, (1, 8, 8, 3), "sigma=0"),
        ({"epsilon": -1}, (1, 8, 8, 3), "epsilon=-1"),
        ({"epsilon": float("nan")}, (1, 8, 8, 3), "epsilon=nan"),
        ({"image_size": -64}, (1, 8, 8, 3), "image_size=-64"),
        ({}, (1, None, 8, 3), "batch known"),
    ],
)
def test_refusals(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        ContrastNormalization(**settings).build(shape)
