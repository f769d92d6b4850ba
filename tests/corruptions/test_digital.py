import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from v1keras.corruptions import PARAMETERS, corrupt
from v1keras.corruptions.digital import _smooth_reflecting


def test_contrast_keeps_the_mean_of_each_channel(images):
    result = corrupt(images, "contrast", 1, seed=0)
    means = images.mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(result, (images - means) * 0.4 + means - 0.5, atol=0.51)


def test_pixelate_makes_blocks(make_images):
    result = corrupt(make_images(1, 64, 64), "pixelate", 5, seed=0)[0]
    blocks = result.reshape(32, 2, 32, 2, 3)
    np.testing.assert_array_equal(
        blocks, blocks[:, :1, :, :1].repeat(2, 1).repeat(2, 3)
    )


@pytest.mark.parametrize("size", [(32, 47), (101, 64), (224, 224)])
def test_pixelate_equals_pillow_down_and_up(make_images, size):
    images = make_images(1, *size)
    for severity, factor in enumerate(PARAMETERS["tiny"]["pixelate"], start=1):
        small = (int(size[1] * factor), int(size[0] * factor))
        shrunk = Image.fromarray(images[0]).resize(small, Image.Resampling.BOX)
        expected = shrunk.resize(size[::-1], Image.Resampling.BOX)
        result = corrupt(images, "pixelate", severity, seed=0, scale="tiny")
        np.testing.assert_array_equal(result[0], expected)


@pytest.mark.parametrize("sigma", [0.0, 1.9, 19.2, 170.8])
def test_smoothing_equals_scipy(sigma):
    fields = np.random.default_rng(0).uniform(-1, 1, (2, 57, 80)).astype(np.float32)
    expected = [
        ndimage.gaussian_filter(f.astype(float), sigma, mode="reflect", truncate=3)
        if sigma
        else f
        for f in fields
    ]
    smoothed = _smooth_reflecting(fields.copy(), sigma)
    assert smoothed.dtype == np.float32
    np.testing.assert_allclose(smoothed, expected, atol=1e-6)


def test_elastic_transform_without_displacement_is_affine(make_images):
    strength, _, affine = PARAMETERS["tiny"]["elastic_transform"][0]
    assert strength == 0
    # A horizontal ramp stays a ramp, up to its ends, which are reflected.
    ramp = np.tile(np.linspace(0, 255, 64)[:, np.newaxis], (1, 64, 1, 1, 3))
    ramp = ramp.reshape(1, 64, 64, 3).transpose(0, 2, 1, 3)
    result = corrupt(ramp.astype(np.uint8), "elastic_transform", 1, seed=0)
    middle = result[0, 24:40, 24:40, 0].astype(float)
    assert np.abs(np.diff(middle, 2, axis=1)).max() <= 3
    assert np.abs(result.astype(int) - ramp).max() < 4 * 3 * affine


def test_jpeg_quality_falls(images):
    errors = [
        np.abs(
            corrupt(images, "jpeg_compression", s, seed=0) - images.astype(int)
        ).mean()
        for s in (1, 5)
    ]
    assert 0 < errors[0] < errors[1] < 40


def test_saturate_leaves_hue_and_value(make_images):
    colour = np.full((1, 32, 32, 3), (200, 150, 100), np.uint8)
    weaker = corrupt(colour, "saturate", 2, seed=0)[0, 0, 0]
    np.testing.assert_allclose(weaker, [200, 195, 190], atol=1)
    stronger = corrupt(colour, "saturate", 3, seed=0)[0, 0, 0]
    np.testing.assert_allclose(stronger, [200, 100, 0], atol=1)


def test_saturate_turns_grey_reddish_as_published():
    grey = np.full((1, 32, 32, 3), 100, np.uint8)
    np.testing.assert_allclose(
        corrupt(grey, "saturate", 5, seed=0)[0, 0, 0], [100, 80, 80], atol=1
    )
