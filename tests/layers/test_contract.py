"""Keras' contract, for every layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from harness import check_layer

from v1keras import layers
from v1keras.v1 import Variant, sample_gabors

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(-1, 1, (2, 16, 20, 3)).astype("float32")
MAPS = RANDOM.gamma(2.0, 1.0, (2, 4, 5, 8)).astype("float32")
LOGITS = [*RANDOM.normal(size=(3, 2, 5)).astype("float32")]
SMALL = {"kernel_size": 7, "simple_channels": 6, "complex_channels": 5}
NORMALIZING = Variant(
    name="normalizing", balanced=True, push_pull=0.5, divisive_normalization="similar",
    fano_factor=0.9,
)  # fmt: skip
BLOCKS = [
    layers.VOneBlock(variant, noise="off", seed=seed, **SMALL).get_config()
    for seed, variant in enumerate(("standard", "no_noise"))
]


CASES = [
    (layers.BatchNormalization, {}, MAPS),
    (layers.ContrastNormalization, {}, IMAGES),
    (layers.DivisiveNormalization, {}, MAPS),
    (layers.DivisiveNormalization, {"groups": [0, 1, 0, 2, 2, 1, 0, 0]}, MAPS),
    (
        layers.GaborFilterBank,
        {"gabors": sample_gabors(5), "kernel_size": 7},
        IMAGES,
    ),
    (layers.LightAdaptation, {}, IMAGES),
    (layers.MeanLogits, {"weights": [1, 2, 0]}, LOGITS),
    (layers.MeanLogits, {"average": "probabilities"}, LOGITS),
    (layers.NeuronalNoise, {"rectify": True}, MAPS),
    (layers.SharedVOneBlocks, {"blocks": BLOCKS, "streams": [0, 2]}, IMAGES),
    (layers.SubcorticalBlock, {}, IMAGES),
    (layers.VOneBlock, SMALL, IMAGES),
    (layers.VOneBlock, {"variant": NORMALIZING, **SMALL}, IMAGES),
    (layers.VOneBlock, {"channel_order": "color", "stride": 4, **SMALL}, IMAGES),
]


@pytest.mark.parametrize(("cls", "kwargs", "inputs"), CASES)
def test_contract(cls, kwargs, inputs):
    check_layer(cls, kwargs, inputs)


def test_corruptions_run_in_python_and_cannot_be_exported():
    check_layer(
        layers.RandomCorruption,
        {"corruptions": "contrast", "severities": 3},
        RANDOM.uniform(0, 255, (2, 32, 32, 3)).astype("float32"),
        formats=(),
    )


def test_no_layer_is_missing():
    public = [getattr(layers, name) for name in layers.__all__]
    classes = {each for each in public if isinstance(each, type)}
    assert classes == {layers.RandomCorruption, *(cls for cls, *_ in CASES)}


def test_tensorflows_own_exporters_take_a_front_end(tmp_path):
    inputs = keras.Input(IMAGES.shape[1:])
    model = keras.Model(inputs, layers.VOneBlock(noise="off", **SMALL)(inputs))
    tf.saved_model.save(model, tmp_path)
    served = tf.saved_model.load(tmp_path).signatures["serving_default"]
    (found,) = served(tf.constant(IMAGES)).values()
    np.testing.assert_allclose(found, model(IMAGES), atol=1e-5)
    assert tf.lite.TFLiteConverter.from_keras_model(model).convert()
