import keras
import numpy as np
import pytest

import v1keras
from v1keras.models import (
    build_classifier,
    build_ensemble,
    feature_maps,
    headless,
    with_features,
)

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
    with pytest.raises(ValueError, match=r"Received: pooling=\['avg'\]"):
        headless(model, pooling=["avg"])
    with pytest.raises(ValueError, match=r"of v1, layer1, .*, layer4, .*: 'layer5'"):
        feature_maps(model, ["layer5"])
    plain = build_classifier("resnet18", "base", **SMALL)
    with pytest.raises(ValueError, match=r"of layer1, .*Received: 'v1'"):
        feature_maps(plain, ["v1"])
    ensemble = build_ensemble([plain])
    for refused in (headless, feature_maps):
        with pytest.raises(ValueError, match="Received: ensemble"):
            refused(ensemble)
        with pytest.raises(ValueError, match="Received: None"):
            refused(None)


@pytest.mark.parametrize("layers", ["v1", "bottleneck", [], 5, [5], [["v1"]]])
def test_no_list_of_names(model, layers):
    for refuse in (feature_maps, with_features):
        with pytest.raises(ValueError, match=r"at least one name of a layer.*layers="):
            refuse(model, layers)


def test_features_of_sequential_models(model):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.Dense(4, name="dense")]
    for unknown in (keras.Sequential(layers), None, "model"):
        with pytest.raises(ValueError, match=r"begins with a `keras.Input`.*model="):
            with_features(unknown, ["dense"])
    layers = [keras.Input((32, 32, 3)), *layers, keras.layers.Dense(3)]
    sequential = keras.Sequential(layers)
    answer = with_features(sequential, ["dense"])(IMAGES)
    np.testing.assert_allclose(answer["logits"], sequential(IMAGES), rtol=1e-5)
    assert answer["features"].shape == (2, 4)
    # In an ensemble too, and around a classifier.
    wrapped = keras.Sequential([keras.Input((32, 32, 3)), model])
    ensemble = build_ensemble([wrapped, build_classifier("resnet18", "base", **SMALL)])
    answer = with_features(ensemble, ["layer4_1_relu2"])(IMAGES)
    np.testing.assert_allclose(answer["logits"], ensemble(IMAGES), atol=1e-5)
    assert answer["features"].shape == (2, 1, 1, 64)


def test_features_of_a_shared_v1_are_those_of_all_members():
    members = [
        build_classifier("resnet18", v, **SMALL) for v in ("standard", "no_noise")
    ]
    ensemble = build_ensemble(members)
    v1keras.set_noise(ensemble, "off")
    (cells,) = (layer.name for layer in ensemble.layers if "shared_v1" in layer.name)
    expected = np.concatenate(
        [feature_maps(one, ["v1"])(IMAGES)["v1"] for one in members], axis=-1
    )
    answer = with_features(ensemble, [cells])(IMAGES)
    np.testing.assert_allclose(answer["features"], expected, atol=1e-3)
    with pytest.raises(ValueError, match=r"inputs aside\. Received: 'images'"):
        with_features(ensemble, ["images"])


def test_noise_is_in_the_maps():
    model = build_classifier("resnet18", **SMALL)
    cells = feature_maps(model, ["v1"])
    assert np.any(cells(IMAGES)["v1"] != cells(IMAGES)["v1"])
    with v1keras.noise(cells, "off"):
        np.testing.assert_array_equal(cells(IMAGES)["v1"], cells(IMAGES)["v1"])
