import dataclasses
import warnings

import keras
import numpy as np
import pytest

import v1keras
from v1keras import layers
from v1keras.models import build_classifier, setting_for
from v1keras.models.classifier import _pool
from v1keras.v1 import (
    NORMALIZING_CONTROLS,
    NORMALIZING_VARIANTS,
    V1_VARIANTS,
    VARIANTS,
    Variant,
    get_variant,
    sample_gabors,
)

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype("float32")


def small(variant="standard", arch="resnet18", **settings):
    return build_classifier(
        arch, variant, **{"num_classes": 7, "width": 16, "stride": 4, **settings}
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_finite_and_reach_every_weight(variant):
    import tensorflow as tf

    model = small(variant)
    with tf.GradientTape() as tape:
        logits = model(IMAGES, training=True)
        assert logits.dtype == "float32" and logits.shape == (4, 7)
        loss = tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 3], logits)
    for gradient in tape.gradient(loss, model.trainable_variables):
        assert np.all(np.isfinite(gradient))
        assert np.any(gradient != 0)


def test_groups_are_normalised_within_each_image():
    groups = small("no_noise", normalization="group")
    batch = small("no_noise")
    assert [w.shape for w in groups.trainable_weights] == [
        w.shape for w in batch.trainable_weights
    ]
    assert not [w for w in groups.weights if "moving" in w.path]
    alone = groups(IMAGES[:1], training=True)
    np.testing.assert_allclose(groups(IMAGES, training=True)[:1], alone, atol=1e-4)
    norm = groups.get_layer("layer2_0_norm1")
    maps = np.random.default_rng(1).normal(3, 2, (2, 4, 4, 32)).astype("float32")
    normalised = np.reshape(norm(maps), (2, 16, norm.groups, -1))
    np.testing.assert_allclose(normalised.mean(axis=(1, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(normalised.std(axis=(1, 3)), 1, atol=1e-3)
    with pytest.raises(ValueError, match="Received: normalization='layer'"):
        small(normalization="layer")


def test_resnet50_has_the_published_number_of_weights():
    # torchvision's ResNet50 has 25,557,032 trainable weights with 1000 classes.
    plain = build_classifier(
        "resnet50", "base", num_classes=1000, input_shape=(224, 224, 3)
    )
    assert sum(np.prod(w.shape) for w in plain.trainable_weights) == 25_557_032
    # VOneResNet50: 512 x 64 of the bottleneck instead of the stem and its norm.
    model = build_classifier("resnet50", num_classes=1000, input_shape=(224, 224, 3))
    expected = 25_557_032 - (7 * 7 * 3 * 64 + 2 * 64) + 512 * 64
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == expected


def test_resnet18_has_the_published_number_of_weights():
    model = build_classifier(
        "resnet18", "base", num_classes=1000, input_shape=(224, 224, 3)
    )
    assert sum(np.prod(w.shape) for w in model.trainable_weights) == 11_689_512


def test_stride_of_the_bottleneck_block_sits_in_the_3x3_convolution():
    model = small(arch="resnet50")
    assert model.get_layer("layer2_0_conv1").strides == (1, 1)
    assert model.get_layer("layer2_0_conv2").strides == (2, 2)


@pytest.mark.parametrize(("stride", "size"), [(2, 64), (4, 64), (4, 65), (8, 64)])
def test_base_and_v1_give_the_back_end_maps_of_one_size(stride, size):
    shapes = [
        small(v, stride=stride, input_shape=(size, size, 3))
        .get_layer("layer1_0_conv1")
        .output.shape
        for v in ("base", "standard")
    ]
    assert shapes[0] == shapes[1]
    assert shapes[0][1] == (size - 1) // stride + 1


def test_settings_of_the_papers():
    tiny, imagenet = setting_for(64), setting_for(224)
    assert (tiny.visual_degrees, tiny.stride, tiny.k_exc) == (2.0, 2, 23.5)
    assert (imagenet.visual_degrees, imagenet.stride, imagenet.k_exc) == (8.0, 4, 25.0)
    assert (imagenet.noise_scale, imagenet.noise_level) == (0.35, 0.07)
    block = small(input_shape=(224, 224, 3), stride=None).get_layer("vone_block")
    assert (block.stride, block.variant.sf_max, block.k_exc) == (4, 9.0, 25.0)
    own = Variant(name="own", sf_max=11.3)
    block = small(own, input_shape=(224, 224, 3)).get_layer("vone_block")
    assert block.variant.sf_max == 11.3


def test_a_changed_variant_keeps_the_rest_of_the_setting():
    # Only the seed differs: the cut of the setting stays.
    variant = dataclasses.replace(get_variant("standard"), name="own", gabor_seed=7)
    block = small(variant, input_shape=(224, 224, 3)).get_layer("vone_block")
    assert block.variant.sf_range == (0.5, 8.0)
    assert block.parameters == sample_gabors(512, seed=7, sf_max=9.0)


def test_an_end_within_a_bin_is_told():
    with pytest.warns(UserWarning, match=r"sf_max=5: .*have 0.5 to 4 cycles"):
        small(Variant(name="own", sf_max=5.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small("sf_mid")
        small("sf_high", input_shape=(128, 128, 3))


PIXELS = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype("float32")


def v1_input(variant):
    """What V1 or the stem sees, by the layers themselves."""
    light = PIXELS / 255
    geometry = {"image_size": 64, "visual_degrees": 2.0}
    if variant.light_adaptation:
        light = layers.LightAdaptation()(light)
    elif variant.subcortical != "none":
        light = layers.SubcorticalBlock(variant.subcortical, noise="off", **geometry)(
            light
        )
    else:
        light = 2 * light - 1
    if variant.contrast_normalization:
        light = layers.ContrastNormalization(**geometry)(light)
    return light


@pytest.mark.parametrize(
    "variant", [*NORMALIZING_VARIANTS.values(), *NORMALIZING_CONTROLS.values()]
)
def test_normalizing_variants(variant):
    model = small(variant)
    assert layers.is_stochastic(model) == (variant.name in ("evnet", "evnet_lgn_v2"))
    v1keras.set_noise(model, "off")
    seen = v1_input(variant)
    if variant.v1:
        block = layers.VOneBlock(variant, stride=4, noise="off", channel_order="color")
        seen = block(seen)
        tensor = model.get_layer("vone_block").output
    else:
        tensor = model.get_layer("stem_conv_pad").input
    inner = keras.Model(model.input, tensor)(PIXELS)
    np.testing.assert_allclose(inner, seen, atol=2e-3, rtol=1e-3)
    assert model(PIXELS).shape == (2, 7)


def test_lgn_bypasses_v1():
    model = small("evnet_lgn_v2", width=16)
    v1keras.set_noise(model, "off")
    names = ("subcortical_block", "bottleneck", "v1_and_lgn")
    outputs = [model.get_layer(name).output for name in names]
    lgn, behind_v1, both = keras.Model(model.input, outputs)(PIXELS)
    assert behind_v1.shape == (2, 16, 16, 12)
    # EVNet pads with minus infinity by half a window.
    padded = np.pad(lgn, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), (1, 2))
    pooled = windows[:, ::4, ::4].max((-1, -2))
    np.testing.assert_array_equal(both, np.concatenate([behind_v1, pooled], -1))
    with pytest.raises(ValueError, match="`width` must be above 4"):
        small("evnet_lgn_v2", width=4)


@pytest.mark.parametrize(("stride", "size"), [(1, 16), (3, 33), (5, 35), (3, 32)])
def test_lgn_bypasses_v1_of_every_stride(stride, size):
    x = np.random.default_rng(0).normal(size=(1, size, size, 2)).astype("float32")
    pooled = _pool(keras.ops.convert_to_tensor(x), stride)
    places = (size - 1) // stride + 1
    assert pooled.shape == (1, places, places, 2)
    before = (stride + 1) // 2
    for place in range(places):
        start, end = place * stride - before, place * stride + stride - before + 1
        window = x[0, max(start, 0) : end, max(start, 0) : end]
        np.testing.assert_array_equal(pooled[0, place, place], window.max((0, 1)))


def test_every_stage_at_once():
    variant = Variant(
        name="all", subcortical="no_p_cells", contrast_normalization=True,
        balanced=True, push_pull=0.5, divisive_normalization="similar",
        distribution="evnet", fano_factor=0.5,
    )  # fmt: skip
    model = small(variant)
    first, second = (np.array(model(PIXELS)) for _ in range(2))
    assert np.isfinite(first).all() and not np.array_equal(first, second)
    copy = keras.models.clone_model(model)
    assert copy.get_layer("vone_block").variant == model.get_layer("vone_block").variant


def test_seed_decides_the_initial_weights():
    first, same, other = (small(seed=seed).get_weights() for seed in (3, 3, 4))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    # No two layers may begin with the same draws.
    model = small(width=16)
    kernels = [
        model.get_layer(f"layer1_{block}_conv{index}").get_weights()[0]
        for block in (0, 1)
        for index in (1, 2)
    ]
    assert not np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[0], kernels[2])


def test_he_initialisation_by_fan_out():
    kernel = small(width=64).get_layer("layer3_1_conv2").get_weights()[0]
    assert np.isclose(kernel.std(), np.sqrt(2 / (9 * 256)), rtol=0.01)


@pytest.mark.parametrize("variant", V1_VARIANTS)
def test_models_are_stochastic_unless_noise_is_off(variant):
    model = small(variant)
    differs = not np.array_equal(model(IMAGES), model(IMAGES))
    assert differs == (variant != "no_noise")
    v1keras.set_noise(model, "off")
    np.testing.assert_array_equal(model(IMAGES), model(IMAGES))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arch": "vgg"}, "resnet18, resnet50"),
        ({"variant": "v5"}, "base, standard"),
        ({"num_classes": 0}, "num_classes=0"),
        ({"width": -8}, "width=-8"),
        ({"stride": 0}, "`stride` must be at least 1"),
        ({"variant": "base", "stride": 3}, "must be even"),
        ({"stride": 2.5}, "`stride` must be an integer"),
        ({"num_classes": "7"}, "num_classes='7'"),
        ({"width": None}, "width=None"),
        ({"arch": ["resnet18"]}, r"arch=\['resnet18'\]"),
        ({"pixel_scaling": {"scale": 1}}, r"pixel_scaling={'scale': 1}"),
        ({"variant": ["standard"]}, r"variant=\['standard'\]"),
        ({"variant": {"name": "own"}}, r"Variant\(\*\*fields\)` makes one"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        small(**settings)


@pytest.mark.parametrize(
    "shape",
    [(64, 64, 1), (0, 64, 3), (None, None, 3), (64.0, 64, 3), (64, 3), 64, None, "643"],
)
def test_input_shapes_that_are_none_are_refused(shape):
    for variant in ("standard", "base"):
        with pytest.raises(ValueError, match=r"of its own\. Received: input_shape"):
            small(variant, input_shape=shape)


@pytest.mark.parametrize("kind", [list, np.array])
def test_an_input_shape_may_be_any_three_integers(kind):
    assert small(input_shape=kind([32, 32, 3])).input_shape == (None, 32, 32, 3)
