"""What every Keras layer and model of ours must do, checked in one call."""

import json
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from v1keras.layers import NOISE_MODES, noise_layers, set_noise

HALF_PRECISIONS = ("mixed_bfloat16", "mixed_float16")


def check_layer(
    cls: Callable[..., keras.layers.Layer],
    kwargs: dict[str, Any],
    inputs: Any,
    *,
    formats: tuple[str, ...] = ("tf_saved_model", "litert"),
    half_precision: float = 0.02,
) -> None:
    """Checks that a layer or model keeps Keras' contract.

    Args:
        cls: class of a layer, or function that builds a model with seeded weights.
        kwargs: dict. Its arguments.
        inputs: float32 array or list of them: a batch.
        formats: tuple of str. What it can be exported to.
        half_precision: float. Error of half-precision outputs, relative to the largest.
    """
    layer = cls(**kwargs)
    if not isinstance(layer, keras.Model):
        _check_config(layer)
    model = _model(layer, inputs)
    expected = _answers(model, inputs, "fixed")
    batch = len(expected[0])
    assert [(batch, *each.shape[1:]) for each in _flat(model.output)] == [
        each.shape for each in expected
    ]
    with tempfile.TemporaryDirectory() as folder:
        _check_copies(model, inputs, Path(folder) / "model.keras")
        modes = NOISE_MODES if noise_layers(model) else ("off",)
        for mode in modes:
            set_noise(model, mode, seed=7)
            if "tf_saved_model" in formats:
                _check_saved_model(model, inputs, mode, Path(folder) / mode)
            if "litert" in formats and mode != "stochastic":  # LiteRT cannot draw
                _check_litert(model, inputs, mode, Path(folder) / f"{mode}.tflite")
    _check_training(cls(**kwargs), inputs)
    expected = _answers(model, inputs, "off")
    for policy in HALF_PRECISIONS:
        keras.config.set_dtype_policy(policy)
        try:
            half = cls(**kwargs)
        finally:
            keras.config.set_dtype_policy("float32")
        model = _model(half, inputs)
        for each in _flat(model.output):
            assert each.dtype in (half.compute_dtype, "float32")
        _assert_close(_answers(model, inputs, "off"), expected, half_precision)


def _check_config(layer: keras.layers.Layer) -> None:
    config = json.loads(json.dumps(layer.get_config()))
    copy = type(layer).from_config(config)
    assert json.loads(json.dumps(copy.get_config())) == config


def _model(layer: keras.layers.Layer, inputs: Any) -> keras.Model:
    """A functional model of a layer; on the way, its declared shape is checked."""
    if isinstance(layer, keras.Model):
        return layer
    symbols = keras.tree.map_structure(lambda x: keras.Input(x.shape[1:]), inputs)
    outputs = layer(symbols)
    shapes = keras.tree.map_structure(lambda x: tuple(x.shape), symbols)
    declared = layer.compute_output_shape(shapes)
    declared = declared if isinstance(declared, list) else [declared]
    assert [*map(tuple, declared)] == [tuple(each.shape) for each in _flat(outputs)]
    return keras.Model(symbols, outputs)


def _check_copies(model: keras.Model, inputs: Any, file: Path) -> None:
    """A file keeps weights and noise; a clone with the weights answers the same."""
    expected = _answers(model, inputs, "fixed")
    model.save(file)
    loaded = keras.models.load_model(file)
    _assert_close(_arrays(loaded(inputs, training=False)), expected)
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    _assert_close(_answers(clone, inputs, "fixed"), expected)


def _check_saved_model(model: keras.Model, inputs: Any, mode: str, path: Path) -> None:
    model.export(path, format="tf_saved_model", verbose=False)
    served = tf.saved_model.load(path)
    found, again = (_arrays(served.serve(inputs)) for _ in range(2))
    if mode == "stochastic":
        assert not np.array_equal(found[0], again[0])
        return
    _assert_close(found, _answers(model, inputs, mode))
    graph = served.signatures["serving_default"].graph.as_graph_def()
    functions = graph.library.function
    nodes = [*graph.node, *(node for each in functions for node in each.node_def)]
    assert not [n.op for n in nodes if "Random" in n.op or "Bitwise" in n.op]


def _check_litert(model: keras.Model, inputs: Any, mode: str, path: Path) -> None:
    model.export(str(path), format="litert", verbose=False)
    run = Interpreter(str(path)).get_signature_runner()
    # Names end in the numbers of inputs and outputs.
    arrays = dict(zip(sorted(run.get_input_details()), _flat(inputs), strict=True))
    found = [value for _, value in sorted(run(**arrays).items())]
    _assert_close(found, _answers(model, inputs, mode), 1e-4)


def _check_training(layer: keras.layers.Layer, inputs: Any) -> None:
    """A step of `fit` changes weights, and all stay finite."""
    body = _model(layer, inputs)
    outputs = [keras.layers.Flatten()(each) for each in _flat(body.output)]
    joined = outputs[0] if len(outputs) == 1 else keras.layers.Concatenate()(outputs)
    model = keras.Model(body.input, keras.layers.Dense(1)(joined))
    model.compile(keras.optimizers.SGD(1e-3), "mae", jit_compile=False)
    before = model.get_weights()
    targets = np.ones((len(_flat(inputs)[0]), 1))
    model.train_on_batch(inputs, targets)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    assert not all(map(np.array_equal, before, model.get_weights()))


def _answers(model: keras.Model, inputs: Any, mode: str) -> list[np.ndarray]:
    set_noise(model, mode, seed=7)
    return _arrays(model(inputs, training=False))


def _arrays(outputs: Any) -> list[np.ndarray]:
    # Dictionaries are flattened by name, as exported files name their outputs.
    return [keras.ops.convert_to_numpy(each) for each in _flat(outputs)]


def _flat(nested: Any) -> list:
    return keras.tree.flatten(nested)


def _assert_close(
    found: Iterable[np.ndarray], expected: Iterable[np.ndarray], tolerance: float = 1e-5
) -> None:
    for one, other in zip(found, expected, strict=True):
        bound = tolerance * np.abs(other).max()
        np.testing.assert_allclose(one.astype("float32"), other, rtol=0, atol=bound)
