import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import v1keras
from v1keras.layers import DivisiveNormalization, VOneBlock
from v1keras.v1 import V1_VARIANTS, VARIANTS, GaborParameters, Variant, similar_cells

GOLDEN = ("tiny", "only_simple", "only_complex", "imagenet_small")


def golden_block(golden, **settings):
    names = ("sf", "theta", "phase", "nx", "ny", "channel_q0", "channel_q1")
    return VOneBlock(
        gabors=GaborParameters(**{name: golden[name] for name in names}),
        simple_channels=int(golden["simple_channels"]),
        complex_channels=int(golden["complex_channels"]),
        image_size=int(golden["image_size"]),
        visual_degrees=float(golden["visual_degrees"]),
        kernel_size=int(golden["kernel_size"]),
        stride=int(golden["stride"]),
        k_exc=float(golden["k_exc"]),
        noise="off",
        **settings,
    )


@pytest.mark.parametrize("case", GOLDEN)
def test_published_responses(golden_dir, case):
    golden = np.load(golden_dir / f"vone_block_{case}.npz")
    responses = golden_block(golden)(golden["images"])
    np.testing.assert_allclose(responses, golden["responses"], atol=1e-4)


@pytest.mark.parametrize("case", GOLDEN)
def test_color_order_is_a_permutation_by_color(golden_dir, case):
    golden = np.load(golden_dir / f"vone_block_{case}.npz")
    responses = golden_block(golden, channel_order="color")(golden["images"])
    simple = int(golden["simple_channels"])
    colors = golden["channel_q0"]
    order = [
        *np.argsort(colors[:simple], kind="stable"),
        *(simple + np.argsort(colors[simple:], kind="stable")),
    ]
    np.testing.assert_allclose(responses, golden["responses"][..., order], atol=1e-4)


def test_default_colours_are_shared_by_the_pair():
    # A grating on one colour excites the complex cells of that colour only.
    block = VOneBlock(noise="off", image_size=64)
    images = np.zeros((1, 64, 64, 3), "float32")
    images[..., 1] = np.random.default_rng(0).uniform(-1, 1, (64, 64))
    responses = np.asarray(block(images))[0].max(axis=(0, 1))
    is_green = VARIANTS["standard"].sample().channel_q0 == 1
    assert np.all(responses[256:][is_green[256:]] > 0.01)
    assert np.all(responses[256:][~is_green[256:]] < 1e-4)


def test_any_size_known_only_at_call_time():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, VOneBlock(image_size=64, noise="off")(inputs))
    assert model.output_shape == (None, None, None, 512)
    for height, width in ((64, 64), (33, 48)):
        images = np.zeros((2, height, width, 3), "float32")
        expected = (2, (height - 1) // 2 + 1, (width - 1) // 2 + 1, 512)
        assert model(images).shape == expected
    with pytest.raises(ValueError, match="`image_size` must be given"):
        VOneBlock()(inputs)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in V1_VARIANTS]
    + [("standard", "mixed_float16"), ("standard", "mixed_bfloat16")],
)
def test_gradients_are_finite(name, dtype):
    block = VOneBlock(name, image_size=64, stride=8, dtype=dtype)
    # Zeros are where the square root has no derivative.
    for images in (
        tf.zeros((1, 32, 32, 3)),
        tf.random.stateless_normal((1, 32, 32, 3), (0, 1)),
    ):
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(block(images))
        gradient = tape.gradient(total, images).numpy()
        assert np.all(np.isfinite(gradient))
    assert np.abs(gradient).max() > 0


def test_explicit_gabors_round_trip(golden_dir, tmp_path):
    golden = np.load(golden_dir / "vone_block_only_complex.npz")
    inputs = keras.Input((64, 64, 3))
    model = keras.Model(inputs, golden_block(golden)(inputs))
    model.save(tmp_path / "golden.keras")
    loaded = keras.models.load_model(tmp_path / "golden.keras")
    assert loaded.trainable_weights == []
    np.testing.assert_allclose(
        loaded.predict(golden["images"], verbose=0), golden["responses"], atol=1e-4
    )


SMALL = {"simple_channels": 6, "complex_channels": 5, "kernel_size": 7, "noise": "off"}


def answer(variant, images, **settings):
    return np.asarray(VOneBlock(variant, **{**SMALL, **settings})(images))


def test_push_pull_by_formula():
    images = np.random.default_rng(3).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    plain = Variant(name="plain")
    gabors = plain.sample(11)
    # The opposite phase is the negative image's.
    push = answer(plain, images, gabors=gabors)
    pull = answer(plain, -images, gabors=gabors)[0, ..., :6]
    expected = push.copy()
    padded = np.pad(pull, [[1, 1], [1, 1], [0, 0]], constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    expected[0, ..., :6] -= 0.7 * np.nanmean(windows, axis=(-2, -1))
    inhibited = answer(dataclasses.replace(plain, push_pull=0.7), images, gabors=gabors)
    np.testing.assert_allclose(inhibited, expected, atol=1e-4)


def test_balanced_cells_do_not_answer_to_uniform_light():
    images = np.full((1, 32, 32, 3), 0.8, "float32")
    # Zeros around the image are an edge.
    inside = np.s_[:, 4:-4, 4:-4]
    assert np.abs(answer("standard", images)[inside]).max() > 1
    assert np.abs(answer("balanced", images)[inside]).max() < 1e-4


def test_divisive_normalization_is_of_the_cells():
    images = np.random.default_rng(3).uniform(-1, 1, (1, 32, 48, 3)).astype("float32")
    for pools in ("all", "similar"):
        variant = Variant(name="own", divisive_normalization=pools)
        cells = answer("standard", images)
        gabors = VOneBlock(variant, **SMALL).parameters
        groups = similar_cells(gabors) if pools == "similar" else None
        expected = DivisiveNormalization(groups=groups)(cells)
        np.testing.assert_allclose(answer(variant, images), expected, atol=1e-4)
        # In whatever order the channels are.
        block = VOneBlock(variant, **SMALL, channel_order="color")
        by_color = np.asarray(expected)[..., block.cell_of_channel]
        np.testing.assert_allclose(block(images), by_color, atol=1e-4)


def test_noise_with_a_fano_factor():
    images = np.random.default_rng(4).uniform(-1, 1, (1, 16, 16, 3)).astype("float32")
    variant = Variant(name="own", fano_factor=0.93)
    clean = answer(variant, images)
    many = np.repeat(images, 400, axis=0)
    noise = answer(variant, many, noise="stochastic") - clean
    expected = np.sqrt(0.93 * np.maximum(clean[0], 0) + 1e-5)
    np.testing.assert_allclose(noise.std(axis=0), expected, rtol=0.25)
    assert abs((noise.std(axis=0) / expected).mean() - 1) < 0.02


def test_refusals():
    with pytest.raises(ValueError, match="variant='base'"):
        VOneBlock("base")
    with pytest.raises(ValueError, match="channel_order='random'"):
        VOneBlock(channel_order="random")
    with pytest.raises(ValueError, match="512 parameters, simple_channels=1"):
        VOneBlock(gabors=VARIANTS["standard"].sample(), simple_channels=1)
    assert v1keras.layers.VOneBlock is VOneBlock
