"""A Keras classifier as a LiteRT (TensorFlow Lite) model."""

import contextlib
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from export.config import OUTPUTS, QUANTIZATIONS
from export.predictor import Predictor
from export.quantize import exact_layers, quantize_int8
from v1keras.layers import GaborFilterBank

# Largest relative size of unfolded kernels. 28 pixels for 25 (stride 4) take two thirds of
# the time of a whole model, 32 for 25 (stride 8) take more than before.
_UNFOLDED_SIZE = 1.2


def convert_to_litert(
    model: keras.Model,
    *,
    quantize: str = "none",
    calibration_images: np.ndarray | None = None,
    outputs: Sequence[str] = OUTPUTS,
) -> bytes:
    """Converts a classifier to a LiteRT flatbuffer of built-in operations.

    The result has one signature, `serving_default`: `images`, float32 pixels 0..255
    (B, H, W, 3), to `outputs`, float32 (B, classes). B is 1 until the input is resized.

    Args:
        model: keras.Model. Takes float32 pixels 0..255 (B, H, W, 3), gives logits.
        quantize: str. `"none"`; `"dynamic"`, 8-bit weights; `"float16"`, 16-bit
            weights; `"int8"`, 8-bit weights, and 8-bit activations outside of the V1
            front-end and the last layer. Defaults to `"none"`.
        calibration_images: array (N, H, W, 3), 0..255, or None. Training images
            that `"int8"` takes its ranges from; needed only there.
        outputs: sequence of str. `"logits"`, `"probabilities"`; some readers take one
            output only. Defaults to both.

    Returns:
        The model, as bytes.

    Raises:
        ValueError: if the model needs operations that LiteRT does not have, or a
            package for `"int8"` is not installed.
    """
    if quantize not in QUANTIZATIONS:
        raise ValueError(
            f"`quantize` must be one of {', '.join(QUANTIZATIONS)}. "
            f"Received: quantize={quantize}"
        )
    if quantize == "int8" and (
        calibration_images is None or not len(calibration_images)
    ):
        raise ValueError(
            "`calibration_images` must hold images when quantize=int8. "
            f"Received: calibration_images={calibration_images}"
        )
    with _unfolded(model):
        predictor = Predictor(model, outputs)
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [predictor.predict], predictor
    )
    # Only these: without the Flex delegate a model runs on every device.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if quantize in ("dynamic", "float16"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        flatbuffer = converter.convert()
    except Exception as error:
        # The converter raises several unrelated classes; all of them say first what
        # is missing and then list the graph.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ValueError(
            "the model cannot be converted to LiteRT's built-in operations "
            f"({type(error).__name__}: {reason})"
        ) from error
    if quantize != "int8":
        return flatbuffer
    return quantize_int8(
        flatbuffer, calibration_images, exact_layers=exact_layers(model)
    )


@contextlib.contextmanager
def _unfolded(model: keras.Model) -> Iterator[None]:
    """Gives filter banks that are traced meanwhile the form that XNNPACK likes.

    XNNPACK, LiteRT's default on processors, is slow at convolutions of one channel.
    Unfolded, a bank computes with whole strides instead of its kernel's size, which
    must not cost more than it brings.
    """
    banks = [
        layer
        for layer in model._flatten_layers(include_self=True, recursive=True)
        if isinstance(layer, GaborFilterBank)
        and -(-layer.kernel_size // layer.stride) * layer.stride
        <= _UNFOLDED_SIZE * layer.kernel_size
    ]
    for bank in banks:
        bank.unfold = True
    try:
        yield
    finally:
        for bank in banks:
            bank.unfold = None
