import keras
import numpy as np
import pytest

import v1keras
from v1keras.models import build_classifier, build_ensemble, feature_maps, headless

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
SMALL = {"num_classes": 3, "width": 4, "stride": 4, "input_shape": (32, 32, 3)}


@pytest.fixture(scope="module")
def model():
    return build_classifier("resnet18", "no_noise", **SMALL)


def test_the_head_alone_is_missing(model):
    pooled = headless(model)(IMAGES)
    head = model.get_layer("logits")
    np.testing.assert_allclose(head(pooled), model(IMAGES), atol=1e-5)
    maps = np.array(headless(model, pooling=None)(IMAGES))
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), pooled, atol=1e-5)
    highest = headless(model, pooling="max")(IMAGES)
    np.testing.assert_allclose(maps.max(axis=(1, 2)), highest, atol=1e-6)


def test_named_maps(model):
    maps = feature_maps(model)(IMAGES)
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in maps.items()}
    assert shapes == {
        "v1": (8, 8, 512),
        "layer1": (8, 8, 4),
        "layer2": (4, 4, 8),
        "layer3": (2, 2, 16),
        "layer4": (1, 1, 32),
    }
    # They are what the next layers see.
    shown = model.get_layer("bottleneck")(maps["v1"])
    chosen = feature_maps(model, ["bottleneck", "layer4"])(IMAGES)
    np.testing.assert_allclose(chosen["bottleneck"], shown, atol=1e-4)
    np.testing.assert_allclose(
        chosen["layer4"], headless(model, pooling=None)(IMAGES), atol=1e-5
    )
    plain = build_classifier("resnet18", "base", **SMALL)
    assert list(feature_maps(plain).output) == [f"layer{n}" for n in range(1, 5)]


def test_they_are_saved_and_learn(model, tmp_path):
    base = headless(model)
    inputs = keras.Input((32, 32, 3))
    tuned = keras.Model(inputs, keras.layers.Dense(2)(base(inputs)))
    tuned.save(tmp_path / "tuned.keras")
    loaded = keras.models.load_model(tmp_path / "tuned.keras")
    np.testing.assert_allclose(loaded(IMAGES), tuned(IMAGES), atol=1e-5)


def test_bad_input_is_refused(model):
    with pytest.raises(ValueError, match="Received: pooling='mean'"):
        headless(model, pooling="mean")
    with pytest.raises(ValueError, match="Received: 'layer5'"):
        feature_maps(model, ["layer5"])
    ensemble = build_ensemble([build_classifier("resnet18", "base", **SMALL)])
    for refused in (headless, feature_maps):
        with pytest.raises(ValueError, match="Received: ensemble"):
            refused(ensemble)


def test_noise_is_in_the_maps():
    model = build_classifier("resnet18", **SMALL)
    cells = feature_maps(model, ["v1"])
    assert np.any(cells(IMAGES)["v1"] != cells(IMAGES)["v1"])
    with v1keras.noise(cells, "off"):
        np.testing.assert_array_equal(cells(IMAGES)["v1"], cells(IMAGES)["v1"])
