"""PRIME and AugMix against independent formulas."""

import cv2
import numpy as np
import pytest
import scipy.ndimage
import tensorflow as tf

from v1keras.data import AugMixAugmentation, PrimeAugmentation
from v1keras.data.chains import chain_lengths, image_seeds, mix_chains, normal, uniform
from v1keras.data.prime import _sampled_at

SIZE = 32


@pytest.fixture(scope="module")
def images():
    rng = np.random.RandomState(0)
    smooth = scipy.ndimage.gaussian_filter(
        rng.uniform(0, 255, (12, SIZE, SIZE, 3)), (0, 2, 2, 0)
    )
    return np.round(smooth).astype("float32")


@pytest.fixture(scope="module")
def unit():
    return tf.constant(np.random.RandomState(1).uniform(size=(12, 5)), "float32")


@pytest.mark.parametrize("augment", [PrimeAugmentation(), AugMixAugmentation()])
def test_an_image_depends_on_its_own_draws_only(augment, images, unit):
    results = augment.apply(images, unit).numpy()
    alone = augment.apply(images[4:5], unit[4:5]).numpy()
    np.testing.assert_allclose(results[4:5], alone, atol=1e-3)
    assert results.min() >= 0 and results.max() <= 255 + 1e-3
    changes = np.abs(results - images).mean(axis=(1, 2, 3))
    assert np.sum(changes > 0.5) >= 8
    again = augment.apply(np.repeat(images[:1], 12, axis=0), unit).numpy()
    assert len(np.unique(again.mean(axis=(1, 2, 3)))) == 12


def test_draws_are_uniform_and_normal_and_apart():
    seeds = image_seeds(np.random.RandomState(2).uniform(size=(64, 2)))
    flat, bell = uniform(seeds, 200, 3).numpy(), normal(seeds, 200, 3).numpy()
    assert abs(flat.mean() - 0.5) < 0.01 and abs(flat.std() - 12**-0.5) < 0.01
    assert abs(bell.mean()) < 0.03 and abs(bell.std() - 1) < 0.03
    for other in (uniform(seeds, 200, 4).numpy(), bell):
        assert abs(np.corrcoef(flat.ravel(), other.ravel())[0, 1]) < 0.03
    lengths = chain_lengths(seeds, 3, 3).numpy()
    assert set(np.unique(lengths)) == {1, 2, 3}


def test_mixtures_are_convex(images, unit):
    seeds = image_seeds(unit)
    same = mix_chains(images, [images, images], seeds)
    np.testing.assert_allclose(same, images, rtol=1e-5, atol=1e-3)
    ends = mix_chains(np.zeros_like(images), [np.ones_like(images)] * 3, seeds)
    shares = np.unique(ends.numpy().round(5))
    assert len(shares) == 12 and 0 < shares.min() and shares.max() < 1


def test_filters_are_correlations(images, unit):
    seeds, augment = image_seeds(unit), PrimeAugmentation(filter_strength=0.5)
    strength = 0.5 * uniform(seeds, 1, 7).numpy()
    kernels = (strength * normal(seeds, 9, 7).numpy()).reshape(-1, 3, 3)
    kernels[:, 1, 1] += 1
    expected = [
        scipy.ndimage.correlate(image, kernel[..., np.newaxis], mode="constant")
        for image, kernel in zip(images / 255, kernels, strict=True)
    ]
    filtered = augment._filtered(images / 255, seeds, 7)
    np.testing.assert_allclose(filtered, np.clip(expected, 0, 1), atol=1e-5)


def test_color_maps_are_bands_of_sines(images, unit):
    seeds = image_seeds(unit)
    augment = PrimeAugmentation(color_frequencies=12, color_bandwidth=4)
    draws = uniform(seeds, 3, 2).numpy()
    coefficients = normal(seeds, 12, 2).numpy().reshape(-1, 3, 4)
    recolored = augment._recolored(images / 255, seeds, 2).numpy()
    for number, (high, low, strength) in enumerate(draws):
        highest = 1 + int(high * 12)
        lowest = 1 + int(low * highest)
        for color in range(3):
            grey = images[number, ..., color] / 255
            expected = grey + sum(
                np.sqrt(0.05 * strength)
                * coefficients[number, color, k]
                * np.sin(np.pi * (lowest + k) * grey)
                for k in range(4)
                if lowest + k <= highest
            )
            np.testing.assert_allclose(
                recolored[number, ..., color], np.clip(expected, 0, 1), atol=1e-4
            )


def test_displaced_pixels_are_interpolated(images):
    field = np.random.RandomState(3).normal(0, 2, (12, SIZE, SIZE, 2))
    field = field.astype("float32")
    rows, columns = np.mgrid[:SIZE, :SIZE].astype("float32")
    expected = [
        cv2.remap(
            image,
            columns - moved[..., 1],
            rows - moved[..., 0],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for image, moved in zip(images, field, strict=True)
    ]
    # OpenCV interpolates in steps of 1/32 pixel.
    np.testing.assert_allclose(_sampled_at(images, field), expected, atol=3)


def test_displacements_leave_borders_and_fold_nothing(unit):
    ramp = np.broadcast_to(
        np.linspace(0, 1, SIZE, dtype="float32")[:, np.newaxis, np.newaxis],
        (12, SIZE, SIZE, 3),
    )
    displaced = PrimeAugmentation()._displaced(ramp, image_seeds(unit), 0).numpy()
    np.testing.assert_allclose(displaced[:, [0, -1]], ramp[:, [0, -1]], atol=1e-5)
    moved = np.abs(displaced - ramp).max(axis=(1, 2, 3)) * (SIZE - 1)
    assert np.all(moved > 0.2) and np.all(moved < SIZE / 4)
    assert np.mean(np.diff(displaced, axis=1) >= -1e-6) > 0.95


def test_augmix_composes_its_operations(images, unit):
    augment = AugMixAugmentation(rotation=0.0, shear=0.0, translation=0.0)
    np.testing.assert_allclose(augment.apply(images, unit), images, atol=1e-3)
    sides = tf.constant([SIZE, SIZE], "float32")
    strengths = tf.constant([0.5] * 5, "float32")
    rotation, shear_x, _, _, shift_y = (
        AugMixAugmentation()._matrices(tf.range(5), strengths, sides).numpy()
    )
    angle = np.radians(4.5)
    np.testing.assert_allclose(
        rotation[:2, :2],
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]],
        atol=1e-6,
    )
    np.testing.assert_allclose(shear_x[:2, :2], [[1, 0.045], [0, 1]], atol=1e-6)
    np.testing.assert_allclose(shift_y[:2, 2], [0, 0.05 * SIZE], atol=1e-6)


@pytest.mark.parametrize(
    ("augmentation", "wrong"),
    [
        (PrimeAugmentation, {"width": 0}),
        (PrimeAugmentation, {"filter_size": 4}),
        (PrimeAugmentation, {"color_frequencies": 5}),
        (PrimeAugmentation, {"filter_strength": -1.0}),
        (AugMixAugmentation, {"depth": 0}),
        (AugMixAugmentation, {"rotation": 200.0}),
    ],
)
def test_bad_values_are_refused(augmentation, wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"Received: {name}="):
        augmentation(**wrong)
