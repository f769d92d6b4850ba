import cv2
import numpy as np
import pytest

from v1keras.corruptions import corrupt
from v1keras.data import draw_shapes
from v1keras.data.quality import QUALITIES, measure_quality


def column(images, name):
    return measure_quality(images)[:, QUALITIES.index(name)]


@pytest.mark.parametrize("sigma", [2.0, 8.0, 20.0])
def test_noise_is_the_standard_deviation_that_was_added(sigma):
    # On a slope, to which the estimator is blind.
    slope = np.linspace(80, 160, 96)[None, :, None]
    noise = np.random.default_rng(0).normal(0, sigma, (4, 96, 96, 1))
    images = np.repeat(np.rint(slope + noise), 3, axis=-1).astype(np.uint8)
    np.testing.assert_allclose(column(images, "noise"), sigma, rtol=0.06)


def test_contrast_is_the_root_mean_square():
    stripes = np.tile(np.array([100, 151], np.uint8), (1, 32, 16))[..., None]
    images = np.repeat(stripes, 3, axis=-1)
    # The deviation of both greys is 25.5 levels of 255.
    np.testing.assert_allclose(column(images, "contrast"), 0.1)


def test_sharpness_is_the_variance_of_the_laplacian():
    image = np.random.default_rng(0).integers(0, 256, (24, 24), np.uint8)
    middle = image[1:-1, 1:-1].astype(float)
    around = sum(
        image[1 + dy : 23 + dy, 1 + dx : 23 + dx].astype(float)
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0))
    )
    found = column(np.repeat(image[None, ..., None], 3, axis=-1), "sharpness")
    np.testing.assert_allclose(found, (around - 4 * middle).var())


def test_blocks_are_found_wherever_their_grid_begins():
    images, _ = draw_shapes(8, image_size=64, seed=0)
    coded = []
    for image in images:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 5])
        coded.append(cv2.imdecode(data, cv2.IMREAD_COLOR))
    coded = np.array(coded)
    blocky = column(coded, "blockiness")
    assert (blocky > column(images, "blockiness") + 0.1).all()
    shifted = column(coded[:, 3:59, 5:61], "blockiness")
    np.testing.assert_allclose(shifted, blocky, rtol=0.25)
    assert np.all(shifted > 1.2)


@pytest.mark.parametrize(
    ("corruption", "name", "sign"),
    [
        ("gaussian_noise", "noise", 1),
        ("defocus_blur", "sharpness", -1),
        ("contrast", "contrast", -1),
    ],
)
def test_each_quality_follows_the_severity_of_its_corruption(corruption, name, sign):
    images, _ = draw_shapes(16, image_size=64, seed=1)
    levels = [images, *(corrupt(images, corruption, s, seed=0) for s in (1, 3, 5))]
    means = [column(level, name).mean() for level in levels]
    assert np.all(sign * np.diff(means) > 0)


def test_too_small_images_are_refused():
    with pytest.raises(ValueError, match=r"16 pixels.*\(1, 15, 32, 3\)"):
        measure_quality(np.zeros((1, 15, 32, 3), np.uint8))
