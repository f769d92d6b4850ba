import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from scipy import ndimage

import v1keras
from v1keras.layers import SubcorticalBlock
from v1keras.v1.subcortical import M_CELLS, P_CELLS, window_size

# Configurations, and the channels that are left.
CONFIGURATIONS = {
    "standard": 4,
    "no_p_cells": 1,
    "no_m_cells": 3,
    "no_light_adapt": 4,
    "no_contrast_norm": 4,
}
IN_96 = ("standard", "no_m_cells")


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(2, 40, 40, 3)).astype("float32")


def respond(block, images):
    return ops.convert_to_numpy(block(images))


@pytest.mark.parametrize(
    ("file", "configuration"),
    [("subcortical_64", name) for name in CONFIGURATIONS]
    + [("subcortical_96", name) for name in IN_96],
)
def test_published_responses(golden_dir, file, configuration):
    golden = np.load(golden_dir / f"{file}.npz")
    block = SubcorticalBlock(
        configuration, visual_degrees=float(golden["visual_degrees"]), noise="off"
    )
    expected = golden[f"{configuration.replace('_', '-')}/responses"]
    responses = respond(block, golden["images"])
    np.testing.assert_allclose(responses, expected, atol=1e-4, rtol=0)
    assert responses.shape[-1] == CONFIGURATIONS[configuration]


def blur(image, radius, half, total=None):
    """By two-dimensional correlation with the window, borders reflected."""
    x, y = np.mgrid[-half : half + 1, -half : half + 1]
    window = np.exp(-(x**2 + y**2) / radius**2)
    if total is not None:
        window *= total / window.sum()
    return ndimage.correlate(image, window, mode="mirror"), window.sum()


@pytest.mark.parametrize(
    ("shape", "degrees"), [((32, 32), 2.0), ((32, 32), 1.0), ((48, 80), 4.0)]
)
def test_formula_at_other_sizes(shape, degrees):
    image = np.random.default_rng(1).uniform(size=(*shape, 3))
    light = image / image.mean() - 1
    scale = shape[0] / degrees / 32
    expected = []
    for cells, center, surround in (
        (P_CELLS, light[..., 0], light[..., 1]),
        (P_CELLS, light[..., 1], light[..., 0]),
        (P_CELLS, light[..., 2], light[..., :2].mean(axis=-1)),
        (M_CELLS, light.mean(axis=-1), light.mean(axis=-1)),
    ):
        half = window_size(cells.surround_radius * scale, shape[0]) // 2
        c, c_sum = blur(center, cells.center_radius * scale, half)
        s, s_sum = blur(surround, cells.surround_radius * scale, half)
        w = cells.surround_weight
        dog = (c + w * s) / abs(c_sum + w * s_sum)
        half = window_size(cells.pool_radius * scale, shape[0]) // 2
        energy = blur(dog**2, cells.pool_radius * scale, half, total=1)[0]
        divisor = (np.sqrt(energy) + cells.semisaturation) ** cells.exponent
        expected.append(cells.gain * dog / divisor)
    block = SubcorticalBlock(visual_degrees=degrees, noise="off")
    responses = respond(block, image[np.newaxis].astype("float32"))[0]
    np.testing.assert_allclose(responses, np.stack(expected, axis=-1), atol=1e-4)


def test_light_is_adapted_to(images):
    block = SubcorticalBlock(noise="off")
    np.testing.assert_allclose(
        respond(block, images), respond(block, images / 3), atol=1e-3
    )


@pytest.mark.parametrize("configuration", ["standard", "no_contrast_norm"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_uniform_images_have_finite_responses_and_gradients(configuration, value):
    block = SubcorticalBlock(configuration, noise="off")
    images = tf.Variable(np.full((1, 32, 32, 3), value, "float32"))
    with tf.GradientTape() as tape:
        responses = block(images)
        total = tf.reduce_sum(responses)
    assert np.isfinite(responses).all()
    assert np.isfinite(tape.gradient(total, images)).all()


def test_gradient_reaches_the_image_and_no_weight(images):
    block = SubcorticalBlock(noise="off")
    variable = tf.Variable(images)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(block(variable) ** 2)
    gradient = tape.gradient(loss, variable).numpy()
    step = np.zeros_like(images)
    step[0, 20, 20, 1] = 1e-2
    change = np.sum(
        respond(block, images + step).astype("float64") ** 2
        - respond(block, images - step).astype("float64") ** 2
    )
    assert np.isclose(gradient[0, 20, 20, 1], change / 2e-2, rtol=0.02)
    assert block.trainable_weights == []


def test_noise_has_the_measured_fano_factor():
    images = np.random.default_rng(2).uniform(size=(1, 32, 32, 3)).astype("float32")
    block = SubcorticalBlock(noise="off")
    clean = respond(block, images)
    v1keras.set_noise(block, "stochastic", seed=3)
    noise = respond(block, np.repeat(images, 400, axis=0)) - clean
    expected = np.sqrt(0.4 * (np.abs(clean[0]) + 1e-5))
    np.testing.assert_allclose(noise.std(axis=0), expected, rtol=0.25)
    # 400 draws at each of 4096 places: the mean ratio is known to 0.06 %.
    assert abs((noise.std(axis=0) / expected).mean() - 1) < 0.01
    assert np.abs(noise.mean()) < 0.01


def test_noise_is_seeded_and_switched(images):
    first, second = (SubcorticalBlock(seed=5) for _ in range(2))
    draws = respond(first, images)
    np.testing.assert_array_equal(draws, respond(second, images))
    assert not np.allclose(draws, respond(first, images))
    assert v1keras.layers.is_stochastic(first)
    v1keras.set_noise(first, "fixed", seed=1)
    np.testing.assert_array_equal(respond(first, images), respond(first, images))
    quiet = SubcorticalBlock(noise_gain=0.0)
    assert not v1keras.layers.is_stochastic(quiet)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_precision(images, policy):
    expected = respond(SubcorticalBlock(noise="off"), images)
    block = SubcorticalBlock(noise="off", dtype=policy)
    responses = block(images)
    assert keras.backend.standardize_dtype(responses.dtype) == block.compute_dtype
    # Only the result is rounded.
    tolerance = {"mixed_bfloat16": 2**-8, "mixed_float16": 2**-10}.get(policy, 1e-4)
    np.testing.assert_allclose(
        ops.convert_to_numpy(ops.cast(responses, "float64")),
        expected,
        rtol=tolerance,
        atol=1e-4,
    )


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"configuration": "lgn"}, (1, 32, 32, 3), "standard, no_p_cells.*lgn"),
        ({"image_size": -64}, (1, 32, 32, 3), "image_size=-64"),
        ({"visual_degrees": 0}, (1, 32, 32, 3), "visual_degrees=0"),
        ({}, (1, 32, 32, 4), r"\(batch, height, width, 3\)"),
        ({}, (None, None, 32, 3), "all but the batch known"),
    ],
)
def test_refusals(settings, shape, message):
    with pytest.raises(ValueError, match=message):
        SubcorticalBlock(**settings).build(shape)
