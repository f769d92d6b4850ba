import math

import numpy as np
import pytest
import tensorflow as tf

from v1keras.data import AffineAugmentation, get_augmentation
from v1keras.data.augment import affine_transforms, transform_images


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (3, 17, 17, 3)).astype(np.float32)


def _apply(images, rotation=0.0, translation=(0.0, 0.0), scale=1.0, flip=False):
    n = len(images)
    transforms = affine_transforms(
        tf.fill([n], rotation),
        tf.tile(tf.constant([translation], tf.float32), [n, 1]),
        tf.fill([n], scale),
        tf.fill([n], flip),
        images.shape[1:3],
    )
    return transform_images(tf.constant(images), transforms).numpy()


def _reference(images, rotation, translation, scale, flip):
    """Pixel by pixel, from the definition: flip, scale, rotate, shift."""
    n, height, width, channels = images.shape
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    turn = np.array(
        [
            [math.cos(rotation), -math.sin(rotation)],
            [math.sin(rotation), math.cos(rotation)],
        ]
    )
    forward = turn * scale @ np.diag([-1.0 if flip else 1.0, 1.0])
    padded = np.zeros((n, height + 2, width + 2, channels))
    padded[:, 1:-1, 1:-1] = images
    result = np.zeros(images.shape)
    for row in range(height):
        for column in range(width):
            point = np.array([column, row]) - centre - translation
            x, y = np.linalg.solve(forward, point) + centre
            if not (-1 < x < width and -1 < y < height):
                continue
            x0, y0 = math.floor(x), math.floor(y)
            wx, wy = x - x0, y - y0
            result[:, row, column] = (
                padded[:, y0 + 1, x0 + 1] * (1 - wx) * (1 - wy)
                + padded[:, y0 + 1, x0 + 2] * wx * (1 - wy)
                + padded[:, y0 + 2, x0 + 1] * (1 - wx) * wy
                + padded[:, y0 + 2, x0 + 2] * wx * wy
            )
    return result


def test_identity(images):
    np.testing.assert_array_equal(_apply(images), images)


def test_flip_exchanges_left_and_right(images):
    np.testing.assert_allclose(_apply(images, flip=True), images[:, :, ::-1], atol=1e-3)


def test_a_quarter_turn_is_clockwise(images):
    turned = np.rot90(images, k=-1, axes=(1, 2))
    result = _apply(images, rotation=math.pi / 2)
    np.testing.assert_allclose(result, turned, atol=1e-2)


def test_shift_moves_right_and_down_and_fills_black(images):
    result = _apply(images, translation=(2.0, 3.0))
    np.testing.assert_allclose(result[:, 3:, 2:], images[:, :-3, :-2], atol=1e-3)
    assert result[:, :3].max() == result[:, :, :2].max() == 0


@pytest.mark.parametrize(
    "parameters",
    [
        {"rotation": 0.4, "translation": (0.7, -0.6), "scale": 1.15, "flip": True},
        {"rotation": -0.5, "translation": (-0.3, 0.2), "scale": 1.0, "flip": False},
        {"rotation": 0.1, "translation": (0.0, 0.0), "scale": 0.7, "flip": True},
    ],
)
def test_general_map_against_its_definition(images, parameters):
    np.testing.assert_allclose(
        _apply(images, **parameters), _reference(images, **parameters), atol=0.05
    )


def test_maps_not_square(images):
    wide = images[:, :9]
    parameters = {
        "rotation": 0.3,
        "translation": (1.0, 0.5),
        "scale": 1.1,
        "flip": True,
    }
    np.testing.assert_allclose(
        _apply(wide, **parameters), _reference(wide, **parameters), atol=0.05
    )


def test_the_seed_decides(images):
    augment = get_augmentation("paper")
    first = augment(images, (1, 2)).numpy()
    np.testing.assert_array_equal(first, augment(images, (1, 2)).numpy())
    assert (first != augment(images, (1, 3)).numpy()).any()


def test_images_of_a_batch_are_augmented_differently():
    same = np.tile(
        np.random.default_rng(0).uniform(0, 255, (1, 16, 16, 3)), (8, 1, 1, 1)
    )
    result = get_augmentation("paper")(same.astype(np.float32), (0, 0)).numpy()
    assert len(np.unique(result.reshape(8, -1), axis=0)) == 8


def test_the_paper_stays_in_its_ranges():
    # A dot off the centre tells angle, enlargement and shift of each map.
    size, count = 101, 500
    dots = np.zeros((count, size, size, 1), np.float32)
    dots[:, 50, 80] = 255
    result = AffineAugmentation(flip=False)(dots, (5, 6)).numpy()[..., 0]
    mass = result.sum((1, 2))
    x = (result.sum(1) * (np.arange(size) - 50)).sum(1) / mass
    y = (result.sum(2) * (np.arange(size) - 50)).sum(1) / mass
    shift = 0.05 * size
    radius, angle = np.hypot(x, y), np.degrees(np.arctan2(y, x))
    longest = math.hypot(shift, shift)
    assert radius.min() > 30 - longest - 1 and radius.max() < 36 + longest + 1
    assert radius.max() > 36 and radius.min() < 30
    widest = 30 + math.degrees(math.asin(longest / 30))
    assert 25 < angle.max() < widest and -widest < angle.min() < -25
    assert abs(angle.mean()) < 3


def test_half_of_the_images_are_flipped():
    ramp = np.tile(np.arange(16, dtype=np.float32), (400, 16, 1))[..., None]
    augment = AffineAugmentation(rotation=0.0, translation=0.0, scale=(1.0, 1.0))
    result = augment(ramp, (0, 0)).numpy()
    flipped = np.isclose(result, ramp[:, :, ::-1], atol=1e-3).all((1, 2, 3))
    kept = np.isclose(result, ramp, atol=1e-3).all((1, 2, 3))
    assert (flipped ^ kept).all()
    assert 0.4 < flipped.mean() < 0.6


@pytest.mark.parametrize(
    "arguments",
    [{"rotation": -1.0}, {"translation": 1.0}, {"scale": (1.2, 1.0)}],
)
def test_bad_ranges(arguments):
    with pytest.raises(ValueError, match="Received"):
        AffineAugmentation(**arguments)


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"paper, prime, augmix, none.*'blur'"):
        get_augmentation("blur")
    assert get_augmentation("none") is None
