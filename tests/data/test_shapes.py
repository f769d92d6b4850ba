import numpy as np
import pytest

from v1keras.data import SHAPES, draw_shapes


def test_an_image_depends_on_its_seed_and_index_only():
    few, few_labels = draw_shapes(15, seed=3)
    many, many_labels = draw_shapes(40, seed=3)
    np.testing.assert_array_equal(few, many[:15])
    np.testing.assert_array_equal(few_labels, many_labels[:15])
    assert (draw_shapes(15, seed=4)[0] != few).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("image_size", [32, 64, 97])
def test_types_and_balance(image_size):
    images, labels = draw_shapes(36, image_size=image_size)
    assert images.shape == (36, image_size, image_size, 3)
    assert images.dtype == np.uint8 and labels.dtype == np.int32
    assert len(SHAPES) >= 10
    np.testing.assert_array_equal(np.bincount(labels), [3] * len(SHAPES))


def _accuracy_of_linear_classifier(features, labels):
    """Held-out accuracy of least squares on one-hot labels."""
    half = len(labels) // 2
    features = (features - features.mean(0)) / features.std(0)
    features = np.column_stack([features, np.ones(len(features))])
    targets = np.eye(len(SHAPES))[labels]
    weights = np.linalg.lstsq(features[:half], targets[:half], rcond=None)[0]
    return np.mean((features[half:] @ weights).argmax(1) == labels[half:])


def test_colour_and_brightness_say_nothing_about_the_class():
    images, labels = draw_shapes(2400, image_size=32)
    pixels = images.reshape(len(images), -1, 3).astype(np.float64)
    features = np.column_stack(
        [pixels.mean(1), pixels.std(1), pixels.mean((1, 2)) ** 2]
    )
    accuracy = _accuracy_of_linear_classifier(features, labels)
    # Chance is 1/12; 0.024 is three standard errors of 1200 tests at chance.
    assert abs(accuracy - 1 / 12) < 0.024


def test_objects_of_all_classes_cover_the_same_area():
    from v1keras.data import shapes

    areas = {}
    for name, contours in shapes._contours().items():
        rng = np.random.default_rng(0)
        areas[name] = shapes._mask(contours, 64, rng).sum()
    assert max(areas.values()) < 1.02 * min(areas.values()), areas


@pytest.mark.parametrize(
    "arguments", [{"n": 0}, {"n": 5, "image_size": 8}, {"n": 5, "seed": -1}]
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="Received"):
        draw_shapes(**arguments)
