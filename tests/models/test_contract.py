"""Keras' contract, for every kind of model."""

import keras
import numpy as np
import pytest
from harness import check_layer

from v1keras.models import build_classifier, build_ensemble, with_features

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
SETTINGS = {"num_classes": 3, "input_shape": (32, 32, 3), "width": 4, "kernel_size": 7}


def member(variant="standard", seed=0, **settings):
    settings = {**SETTINGS, **settings}
    return build_classifier("resnet18", variant, stride=8, seed=seed, **settings)


def ensemble():
    """Two members that share filters and one that does not."""
    members = [member("standard"), member("only_simple", 1), member("sf_low", 2)]
    return build_ensemble(members, probabilities=True)


def features():
    return with_features(member(), ["layer2_1_relu2"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (member, {}),
        (member, {"variant": "base", "normalization": "group", "width": 16}),
        (member, {"variant": "evnet_lgn_v2", "width": 8}),
        (ensemble, {}),
        (features, {}),
    ],
)
def test_contract(build, settings):
    formats = () if build is features else ("tf_saved_model", "litert")
    check_layer(build, settings, IMAGES, formats=formats, half_precision=0.1)


@pytest.mark.parametrize("pixel_scaling", ["symmetric", "imagenet"])
@pytest.mark.parametrize("variant", ["base", "standard", "evnet_lgn_v2"])
def test_users_data_format_changes_nothing(variant, pixel_scaling, tmp_path):
    settings = {"width": 8, "pixel_scaling": pixel_scaling, "noise": "off"}
    expected = member(variant, **settings)
    expected.save(tmp_path / "model.keras")
    logits = np.asarray(expected(IMAGES))
    keras.config.set_image_data_format("channels_first")
    try:
        model = member(variant, **settings)
        for each in (model, keras.models.load_model(tmp_path / "model.keras")):
            np.testing.assert_allclose(each(IMAGES), logits, atol=1e-5)
    finally:
        keras.config.set_image_data_format("channels_last")
    for weight, own in zip(expected.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, own)
    for layer, own in zip(expected.layers, model.layers, strict=True):
        assert layer.output.shape == own.output.shape
        assert getattr(own, "data_format", None) in (None, "channels_last")


def test_files_with_a_bare_list_of_factors_load():
    # As `pixel_scaling="imagenet"` was saved when it depended on the data format.
    model = member("base", pixel_scaling="imagenet")
    config = model.get_config()
    (scaling,) = (c for c in config["layers"] if c["name"] == "preprocessing")
    ((scaling["config"]["scale"],),) = scaling["config"]["scale"]
    earlier = keras.Model.from_config(config)
    earlier.set_weights(model.get_weights())
    assert np.ndim(earlier.get_layer("preprocessing").scale) == 1
    np.testing.assert_allclose(earlier(IMAGES), model(IMAGES), atol=1e-6)
