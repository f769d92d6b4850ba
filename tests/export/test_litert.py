import importlib.util
import shutil

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export import quantize
from export.config import QUANTIZATIONS
from export.litert import convert_to_litert
from export.source import open_source
from v1keras.layers import VOneBlock, set_noise
from v1keras.models import build_classifier
from v1keras.training import Run

needs_quantizer = pytest.mark.skipif(
    importlib.util.find_spec("ai_edge_quantizer") is None,
    reason="needs ai-edge-quantizer",
)


def runner(flatbuffer):
    return Interpreter(model_content=flatbuffer).get_signature_runner("serving_default")


@needs_quantizer
@pytest.mark.parametrize(
    "numbers,tolerance", zip(QUANTIZATIONS, (1e-4, 0.2, 0.02, 0.5), strict=True)
)
def test_answers_like_keras(classifier, images, logits, numbers, tolerance):
    flatbuffer = convert_to_litert(
        classifier, quantize=numbers, calibration_images=images
    )
    answer = runner(flatbuffer)(images=images.astype(np.float32))
    assert set(answer) == {"logits", "probabilities"}
    assert answer["logits"].dtype == np.float32
    assert np.abs(answer["logits"] - logits).max() < tolerance
    np.testing.assert_allclose(answer["probabilities"].sum(1), 1, atol=0.02)


def test_batch_is_one_until_resized(classifier, images, logits):
    flatbuffer = convert_to_litert(classifier)
    interpreter = Interpreter(model_content=flatbuffer)
    (details,) = interpreter.get_input_details()
    assert details["shape"].tolist() == [1, 16, 16, 3]
    assert details["shape_signature"].tolist() == [-1, 16, 16, 3]
    run = runner(flatbuffer)
    for batch in (1, 5, 2):
        answer = run(images=images[:batch].astype(np.float32))["logits"]
        np.testing.assert_allclose(answer, logits[:batch], rtol=1e-4, atol=1e-4)


@needs_quantizer
def test_quantized_models_are_smaller():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(64, 3)(inputs)
    x = keras.layers.Conv2D(64, 3)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3))
    sizes = {
        name: len(convert_to_litert(model, quantize=name, calibration_images=images))
        for name in QUANTIZATIONS
    }
    assert sizes["float16"] < 0.6 * sizes["none"]
    assert sizes["dynamic"] < 0.4 * sizes["none"]
    assert sizes["int8"] < 0.4 * sizes["none"]


@needs_quantizer
@pytest.mark.slow
def test_an_int8_student_has_at_most_three_tenths_of_the_size():
    model = build_classifier(
        "resnet18", "no_noise", num_classes=50, input_shape=(64, 64, 3), width=32
    )
    set_noise(model, "off")
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3))
    whole, small = (
        convert_to_litert(model, quantize=name, calibration_images=images)
        for name in ("none", "int8")
    )
    assert len(small) <= 0.3 * len(whole)
    # Other runtimes than LiteRT read the fields of the first version of the format.
    content = schema.ModelT.InitFromPackedBuf(small, 0)
    for code in content.operatorCodes:
        assert code.deprecatedBuiltinCode == min(code.builtinCode, 127)
    assert {buffer.offset for buffer in content.buffers} == {0}
    assert sum(map(len, (b.data for b in content.buffers if b.data is not None))) > (
        0.9 * len(small)
    )


def test_unknown_operations_are_a_value_error():
    class Dice(keras.layers.Layer):
        def call(self, inputs):
            return inputs + keras.random.normal((8, 8, 3), seed=1)

    inputs = keras.Input((8, 8, 3))
    outputs = keras.layers.GlobalAveragePooling2D()(Dice()(inputs))
    with pytest.raises(ValueError, match="cannot be converted to LiteRT"):
        convert_to_litert(keras.Model(inputs, outputs))


def v1_model():
    """A front-end before a backbone that adds, pools and pads."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    block = VOneBlock(
        "no_noise", simple_channels=16, complex_channels=48, name="cortex"
    )
    cells = block(x)
    x = keras.layers.Conv2D(16, 1, use_bias=False)(cells)
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.Conv2D(16, 3, activation="relu")(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu")(x) + x
    x = keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x), keras.Model(inputs, cells)


@needs_quantizer
def test_int8_keeps_the_small_energies_of_complex_cells():
    # Contrasts from 1 to 1/64, as those of natural images.
    contrast = 2.0 ** -np.arange(7)[:, None, None, None]
    waves = np.random.default_rng(0).uniform(-127, 127, (7, 32, 32, 3))
    images = (128 + contrast * waves).astype(np.float32)
    model, front_end = v1_model()
    expected = model.predict(images, verbose=0)
    flatbuffer = convert_to_litert(model)
    exact = quantize.exact_layers(model)
    assert "cortex" in exact and "dense" not in " ".join(exact)

    def error(layers):
        small = quantize.quantize_int8(flatbuffer, images, exact_layers=layers)
        assert len(small) < 0.35 * len(flatbuffer)
        return np.abs(runner(small)(images=images)["logits"] - expected).max()

    assert error(exact) < 0.03 * np.abs(expected).max()
    assert error(exact) < 0.3 * error(())
    # The front-end alone: only its kernels are rounded, to 1/127 of the largest.
    cells = front_end.predict(images, verbose=0)
    inputs = front_end.inputs[0]
    pooled = keras.layers.GlobalAveragePooling2D()(front_end(inputs))
    pooled = convert_to_litert(
        keras.Model(inputs, pooled), quantize="int8", calibration_images=images
    )
    np.testing.assert_allclose(
        runner(pooled)(images=images)["logits"], cells.mean((1, 2)), rtol=0.02
    )


def test_int8_needs_images(classifier):
    with pytest.raises(ValueError, match="calibration_images"):
        convert_to_litert(classifier, quantize="int8")
    with pytest.raises(ValueError, match="quantize=int4"):
        convert_to_litert(classifier, quantize="int4")


def test_int8_names_the_package_that_it_needs(classifier, images, monkeypatch):
    monkeypatch.setattr(quantize.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'v1keras\[int8\]'"):
        convert_to_litert(classifier, quantize="int8", calibration_images=images)


@pytest.mark.parametrize("noise", ["off", "fixed"])
def test_v1_models_need_only_builtin_operations(noise):
    inputs = keras.Input((24, 24, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    block = VOneBlock(
        simple_channels=6, complex_channels=6, kernel_size=9, noise=noise, seed=3
    )
    x = keras.layers.GlobalAveragePooling2D()(block(x))
    model = keras.Model(inputs, x)
    images = np.random.default_rng(0).uniform(0, 255, (3, 24, 24, 3)).astype("float32")
    expected = model.predict(images, verbose=0)
    flatbuffer = convert_to_litert(model)
    answer = runner(flatbuffer)(images=images)["logits"]
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-4)
    # The pattern is in the file, and the Keras model is as it was.
    np.testing.assert_array_equal(model.predict(images, verbose=0), expected)


def test_fixed_noise_changes_the_answer():
    def exported(noise):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((24, 24, 3))
        block = VOneBlock(
            simple_channels=4, complex_channels=4, kernel_size=9, noise=noise
        )
        pooled = keras.layers.GlobalAveragePooling2D()(block(inputs))
        return runner(convert_to_litert(keras.Model(inputs, pooled)))

    image = np.random.default_rng(0).uniform(-1, 1, (1, 24, 24, 3)).astype("float32")
    quiet, noisy = (exported(noise)(images=image) for noise in ("off", "fixed"))
    assert np.abs(quiet["logits"] - noisy["logits"]).max() > 1e-3


@pytest.mark.parametrize("stride,channels", [(2, 4), (3, 9), (6, 1)])
def test_kernels_take_whole_strides_where_that_costs_little(stride, channels):
    inputs = keras.Input((24, 24, 3))
    block = VOneBlock(
        "no_noise",
        simple_channels=6,
        complex_channels=6,
        kernel_size=9,
        stride=stride,
    )
    pooled = keras.layers.GlobalAveragePooling2D()(block(inputs))
    model = keras.Model(inputs, pooled)
    images = np.random.default_rng(0).uniform(-1, 1, (3, 24, 24, 3)).astype("float32")
    expected = model.predict(images, verbose=0)
    interpreter = Interpreter(model_content=convert_to_litert(model))
    size = -(-9 // stride) if channels > 1 else 9
    shapes = {tuple(each["shape"][1:]) for each in interpreter.get_tensor_details()}
    assert (size, size, channels) in shapes
    answer = interpreter.get_signature_runner("serving_default")(images=images)
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.predict(images, verbose=0), expected)


def in_bfloat16(layer):
    policy = {**layer.get_config(), "dtype": "mixed_bfloat16"}
    return type(layer).from_config(policy)


def test_runs_of_mixed_precision_are_exported_in_float32(runs, tmp_path):
    paths = [tmp_path / "no_noise", tmp_path / "base"]
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    members = []
    for path in paths:
        shutil.copytree(runs / path.name, path)
        model = Run.open(path).load_model()
        members.append(np.array(model(images)))
        mixed = keras.models.clone_model(model, clone_function=in_bfloat16)
        mixed.set_weights(model.get_weights())
        assert mixed(images).dtype == "bfloat16"
        mixed.save(path / "model.keras")
    ensemble = open_source([str(path) for path in paths]).model
    logits = np.array(ensemble(images))
    np.testing.assert_allclose(logits, np.mean(members, axis=0), rtol=1e-4, atol=1e-4)
    answer = runner(convert_to_litert(ensemble))
    for image, expected in zip(images, logits, strict=True):
        found = answer(images=image[None])["logits"][0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
