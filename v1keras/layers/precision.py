"""Precision of what half precision cannot hold: statistics of images."""

import keras
from keras import ops


def at_least_float32(values):
    """Values as they are, or as float32 if they have another, smaller type."""
    values = ops.convert_to_tensor(values)
    exact = keras.backend.standardize_dtype(values.dtype) in ("float32", "float64")
    return values if exact else ops.cast(values, "float32")
