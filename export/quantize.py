"""Whole numbers of 8 bits for a LiteRT model, with a V1 front-end that stays exact.

The energies of complex cells span several orders of magnitude: kept as 8-bit numbers,
most of them become 0 and with them the square roots. The front-end therefore computes
in float32, with kernels that are stored in 8 bits, and what follows computes with
8-bit numbers. The layers behind the pooling do too little work to be worth it.
"""

import contextlib
import importlib.util
import io
import re
import warnings
from collections.abc import Iterable, Sequence

import keras
import numpy as np

from export.litert_metadata import repack
from v1keras.layers import (
    ContrastNormalization,
    GaborFilterBank,
    LightAdaptation,
    NeuronalNoise,
)

_SIGNATURE = "serving_default"
# Of these, the recipe makes operations on 8-bit numbers; all others stay float32.
_INTEGER_OPERATIONS = (
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "ADD",
    "PAD",
    "PADV2",
    "MAX_POOL_2D",
    "RELU",
)
# Of these, the weights are stored in 8 bits where they do not compute in 8 bits.
_WEIGHTED_OPERATIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_BITS = 8


def require_quantizer() -> None:
    """Raises a `ValueError` that names the package if it is not installed."""
    if importlib.util.find_spec("ai_edge_quantizer") is None:
        raise ValueError(
            "int8 needs the package ai-edge-quantizer: pip install 'v1keras[int8]'"
        )


def quantize_int8(
    flatbuffer: bytes, images: np.ndarray, *, exact_layers: Sequence[str] = ()
) -> bytes:
    """Stores all weights in 8 bits and computes with 8-bit numbers where it is safe.

    Weights have one scale for each output channel. Activations have one scale for
    each tensor, from the smallest to the largest value on `images`. Inputs and
    outputs stay float32.

    Args:
        flatbuffer: bytes. A float32 model with the signature `serving_default` and
            its input `images`.
        images: array (N, H, W, 3), 0..255. Training images, for the ranges.
        exact_layers: sequence of str. Names of Keras layers whose activations stay
            float32. Defaults to `()`.

    Returns:
        The smaller model, as bytes.

    Raises:
        ValueError: if `ai-edge-quantizer` is not installed.
    """
    require_quantizer()
    # An extra: not everyone who exports wants whole numbers.
    from ai_edge_quantizer import Quantizer
    from ai_edge_quantizer.calibrator import Calibrator

    recipe = _recipe(exact_layers)
    samples = ({"images": image[np.newaxis].astype(np.float32)} for image in images)
    # It draws progress bars and warns of the memory that calibration takes.
    with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        # Not `Quantizer.calibrate`: that takes moving averages of the ranges, which
        # cut off what only few images reach.
        calibrator = Calibrator(flatbuffer, qsv_update_func=_widest)
        calibrator.calibrate({_SIGNATURE: list(samples)}, recipe)
        quantizer = Quantizer(bytearray(flatbuffer), recipe.get_quantization_recipe())
        result = quantizer.quantize(
            calibrator.get_model_qsvs(), enable_progress_report=False
        )
    return repack(bytes(result.quantized_model))


def exact_layers(model: keras.Model) -> tuple[str, ...]:
    """The layers of a model that must not compute with 8-bit numbers.

    Args:
        model: keras.Model.

    Returns:
        Tuple of str: the names of all layers, models aside, that are or hold a Gabor
        filter bank, neuronal noise or a stage that normalises, and of the scaling of
        pixels before them.
    """
    return tuple(
        dict.fromkeys(
            layer.name
            for layer in model._flatten_layers(include_self=False, recursive=True)
            if isinstance(layer, keras.layers.Rescaling)
            or (not isinstance(layer, keras.Model) and _is_front_end(layer))
        )
    )


_FRONT_END = GaborFilterBank, NeuronalNoise, LightAdaptation, ContrastNormalization


def _is_front_end(layer: keras.layers.Layer) -> bool:
    return any(
        isinstance(inner, _FRONT_END)
        for inner in layer._flatten_layers(include_self=True, recursive=True)
    )


def _recipe(exact_layers: Iterable[str]):
    """The recipe; where several of its rules fit an operation, the last one counts."""
    from ai_edge_quantizer.qtyping import TFLOperationName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    recipe = RecipeManager()
    for name in _INTEGER_OPERATIONS:
        recipe.add_static_config(
            ".*",
            TFLOperationName(name),
            activation_num_bits=_BITS,
            weight_num_bits=_BITS,
        )
    recipe.add_weight_only_config(".*", TFLOperationName.FULLY_CONNECTED, _BITS)
    for layer in exact_layers:
        # Operations are named by the layers around them; Keras numbers the names.
        scope = rf"(^|/){re.escape(layer)}(_\d+)?(/|$)"
        for name in set(_INTEGER_OPERATIONS) - set(_WEIGHTED_OPERATIONS):
            recipe.add_quantization_config(
                scope, TFLOperationName(name), algorithm_key="no_quantize"
            )
        for name in _WEIGHTED_OPERATIONS:
            recipe.add_weight_only_config(scope, TFLOperationName(name), _BITS)
    return recipe


def _widest(known: dict, new: dict) -> dict:
    """The range that holds both ranges of a tensor."""
    if not known:
        return new
    return {
        "min": np.minimum(known["min"], new["min"]),
        "max": np.maximum(known["max"], new["max"]),
    }
