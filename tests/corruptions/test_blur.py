from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from v1keras.corruptions import PARAMETERS, corrupt
from v1keras.corruptions.apply import image_generator
from v1keras.corruptions.blur import (
    _disk,
    clipped_zoom,
    motion_filter,
    motion_kernel,
    smooth,
)

# Made with ImageMagick 6.9.11 (Q16): MagickMotionBlurImage of a PNG image.
IMAGEMAGICK = Path(__file__).parent / "imagemagick_motion_blur.npz"


def test_motion_blur_equals_imagemagick():
    with np.load(IMAGEMAGICK) as stored:
        image = stored["image"]
        cases = [name for name in stored.files if name != "image"]
        assert len(cases) == 10
        for case in cases:
            radius, sigma, angle = case.split("_")
            expected = stored[case].astype(int)
            source = image if expected.ndim == 3 else image[..., 0]
            blurred = motion_filter(source, int(radius), float(sigma), float(angle))
            # One value in some ten thousand lies within rounding of a whole number.
            assert np.abs(blurred - expected).max() <= 1
            assert np.mean(blurred != expected) < 1e-3


@pytest.mark.parametrize("angle", [0.0, 30.0, -45.0, -90.0, -123.4])
def test_motion_kernel_follows_the_formula(angle):
    radius, sigma = 10, 4.0
    kernel = motion_kernel(radius, sigma, angle)
    centre = kernel.shape[0] // 2
    expected = np.zeros_like(kernel)
    weights = [np.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    for i, weight in enumerate(weights):
        column = np.ceil(i * np.cos(np.deg2rad(angle)) - 0.5)
        row = np.ceil(i * np.sin(np.deg2rad(angle)) - 0.5)
        if abs(row) <= centre and abs(column) <= centre:
            expected[centre + int(row), centre + int(column)] += weight / sum(weights)
    np.testing.assert_allclose(kernel, expected, atol=1e-6)
    assert kernel.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scale", ["tiny", "imagenet"])
def test_disks_hold_no_denormal_numbers(scale):
    for parameters in PARAMETERS[scale]["defocus_blur"]:
        disk = _disk(*parameters)
        assert disk[disk > 0].min() > 1e-12
        # Nothing but the disk: no margin of zeros.
        assert disk[0].any() and disk[:, 0].any()


def test_motion_blur_stays_within_45_degrees():
    point = np.zeros((60, 41, 41, 3), np.uint8)
    point[:, 20, 20] = 255
    blurred = corrupt(point, "motion_blur", 5, seed=0)
    _, rows, columns, _ = np.nonzero(blurred)
    # Correlation: the samples lie to the right of the pixel that they blur.
    assert columns.max() == 20
    assert np.all(np.abs(rows - 20) <= 20 - columns)
    assert rows.min() < 17
    assert rows.max() > 23


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.5, 6.0])
def test_smooth_equals_scipy(sigma, images):
    image = images[0].astype(np.float32)
    expected = ndimage.gaussian_filter(
        image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4.0
    )
    np.testing.assert_allclose(smooth(image, sigma), expected, atol=1e-3)


@pytest.mark.parametrize("factor", [1.01, 1.1, 1.25, 2.25, 4.5])
def test_clipped_zoom_equals_scipy(factor, make_images):
    image = make_images(1, 56, 91)[0].astype(np.float32)
    height, width = (int(np.ceil(size / factor)) for size in image.shape[:2])
    top, left = (56 - height) // 2, (91 - width) // 2
    crop = image[top : top + height, left : left + width]
    zoomed = ndimage.zoom(crop, (factor, factor, 1), order=1)
    top, left = (zoomed.shape[0] - 56) // 2, (zoomed.shape[1] - 91) // 2
    expected = zoomed[top : top + 56, left : left + 91]
    np.testing.assert_allclose(clipped_zoom(image, factor), expected, atol=0.05)


@pytest.mark.parametrize("scale", ["tiny", "imagenet"])
@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_glass_blur_equals_pixel_by_pixel_copies(scale, severity, make_images):
    image = make_images(1, 34, 39)[0]
    sigma, reach, passes = PARAMETERS[scale]["glass_blur"][severity - 1]
    generator = image_generator(2, 5, "glass_blur", severity)
    expected = smooth(image.astype(np.float32), sigma).astype(np.uint8)
    inner = (34 - 2 * reach, 39 - 2 * reach)
    for _ in range(passes):
        draws = generator.integers(-reach, reach, size=(2, *inner), dtype=np.int8)
        for row in reversed(range(inner[0])):
            for column in reversed(range(inner[1])):
                down, right = (int(offset) for offset in draws[:, row, column])
                y, x = row + reach + 1, column + reach + 1
                expected[y, x] = expected[y + down, x + right]
    expected = smooth(expected.astype(np.float32), sigma).astype(np.uint8)
    result = corrupt(
        image[np.newaxis], "glass_blur", severity, seed=2, scale=scale, index=[5]
    )
    np.testing.assert_array_equal(result[0], expected)


def test_defocus_blur_spreads_a_point_over_a_disk():
    point = np.zeros((1, 65, 65, 3), np.uint8)
    point[0, 32, 32] = 255
    radius = PARAMETERS["imagenet"]["defocus_blur"][1][0]
    blurred = corrupt(point, "defocus_blur", 2, seed=0, scale="imagenet")[0, ..., 0]
    rows, columns = np.nonzero(blurred)
    distances = np.hypot(rows - 32, columns - 32)
    assert radius <= distances.max() <= radius + 1.5
    assert blurred[32, 32] == int(255 / 49)
