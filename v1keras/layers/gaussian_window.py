"""Weighted sums over Gaussian neighbourhoods, as two products with matrices.

A two-dimensional Gaussian is separable, and correlating all columns of a map with a
window, borders reflected, is one product with a band matrix. On maps of this size that
is about ten times faster than a depthwise convolution on a CPU, and no less exact.
"""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


def window_matrix(
    pixels: int, radius: float, half: int, *, normalize: bool = True
) -> np.ndarray:
    """The matrix that correlates `pixels` values with a Gaussian window.

    Args:
        pixels: int. The number of values.
        radius: float. Of `exp(-d^2 / radius^2)`, in pixels.
        half: int. How far the window reaches on either side, in pixels; cut to what
            reflected borders allow.
        normalize: bool. Whether the window sums to 1. Defaults to `True`.

    Returns:
        float64 array of shape (pixels, pixels).
    """
    half = min(half, pixels - 1)
    offsets = np.arange(-half, half + 1)
    window = np.exp(-((offsets / radius) ** 2))
    if normalize:
        window /= window.sum()
    place = np.arange(pixels)[:, np.newaxis]
    # Reflected without repeating the border: -1 is 1, and `pixels` is `pixels - 2`.
    source = pixels - 1 - np.abs(pixels - 1 - np.abs(place + offsets))
    matrix = np.zeros((pixels, pixels))
    np.add.at(matrix, (place, source), window)
    return matrix


def known_size(input_shape) -> tuple[int, int]:
    """Height and width of an input.

    Raises:
        ValueError: if it has another number of axes or one of the two is not known.
    """
    if len(input_shape) != 4 or None in input_shape[1:]:
        raise ValueError(
            "The input must have shape (batch, height, width, channels), all but the "
            f"batch known. Received: input_shape={tuple(input_shape)}"
        )
    return tuple(input_shape[1:3])


def gaussian_matrices(
    input_shape, *, sigma: float, image_size: int | None, visual_degrees: float
) -> list[np.ndarray]:
    """The two matrices of a Gaussian that sums to 1 and ends at three sigma.

    Args:
        input_shape: tuple, (batch, height, width, channels).
        sigma: float. Standard deviation, in degrees.
        image_size: int or None. The number of pixels that span `visual_degrees`; None
            for the height.
        visual_degrees: float. Visual angle, in degrees.

    Returns:
        List of two arrays, (height, height) and (width, width).
    """
    sizes = known_size(input_shape)
    sigma *= (image_size or sizes[0]) / visual_degrees
    half = math.ceil(3.0 * sigma)
    return [window_matrix(size, math.sqrt(2.0) * sigma, half) for size in sizes]


def spec_of_size(input_shape: Sequence[int | None]) -> keras.layers.InputSpec:
    """What a layer takes whose matrices are those of one size of images."""
    sizes = dict(enumerate(input_shape[1:], start=1))
    return keras.layers.InputSpec(ndim=4, axes=sizes)


def require_positive(**values: float | None) -> None:
    """Refuses values that are not positive, NaN among them; None passes.

    Raises:
        ValueError: if there is one; it names it.
    """
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {name}={value}")


def to_maps(images):
    """(batch, height, width, channels) as (channels, height, batch, width)."""
    return ops.transpose(images, (3, 1, 0, 2))


def from_maps(maps):
    """(channels, height, batch, width) as (batch, height, width, channels)."""
    return ops.transpose(maps, (2, 1, 3, 0))


def pool(maps, rows: np.ndarray, columns: np.ndarray):
    """Weighted sums over the neighbourhood of each position.

    Args:
        maps: tensor (channels, height, batch, width); see `to_maps`. In this order both
            products are plain ones, without transposing in between. (TensorFlow's
            product that broadcasts over a batch has crashed on a CPU.)
        rows: array (channels, height, height); see `window_matrix`.
        columns: array (channels, width, width).

    Returns:
        Tensor of the shape of `maps`.
    """
    channels, height, _ = rows.shape
    width = columns.shape[-1]
    rows = ops.convert_to_tensor(rows, maps.dtype)
    columns = ops.convert_to_tensor(np.swapaxes(columns, 1, 2), maps.dtype)
    maps = ops.matmul(rows, ops.reshape(maps, (channels, height, -1)))
    maps = ops.matmul(ops.reshape(maps, (channels, -1, width)), columns)
    return ops.reshape(maps, (channels, height, -1, width))


def root(values):
    """Square root of values of at least 0, with a finite derivative at 0."""
    return ops.sqrt(ops.maximum(values, 1e-12))
