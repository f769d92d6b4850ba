import numpy as np
from keras import ops

from v1keras.layers import LightAdaptation


def test_contrast_with_the_mean_of_each_image():
    images = np.random.default_rng(0).uniform(0.1, 1, (2, 6, 5, 3)).astype("float32")
    adapted = ops.convert_to_numpy(LightAdaptation()(images))
    expected = images / images.mean(axis=(1, 2, 3), keepdims=True) - 1
    np.testing.assert_allclose(adapted, expected, atol=1e-4)


def test_mean_is_exact_in_half_precision():
    # The mean of many equal values is beyond bfloat16's sums.
    images = np.full((1, 64, 64, 3), 0.7, "float32")
    adapted = LightAdaptation(dtype="mixed_bfloat16")(images)
    np.testing.assert_allclose(ops.cast(adapted, "float32"), 0.0, atol=1e-4)


def test_black_images_are_finite():
    adapted = LightAdaptation()(np.zeros((1, 4, 4, 3), "float32"))
    assert np.isfinite(ops.convert_to_numpy(adapted)).all()
