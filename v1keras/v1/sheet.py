"""Gabor filters as a picture."""

import numpy as np

from v1keras.v1.gabor import gabor_kernels
from v1keras.v1.variants import Variant

_ROWS, _COLUMNS, _GAP = 4, 8, 2


def filter_sheet(
    variant: Variant,
    *,
    image_size: int,
    visual_degrees: float,
    kernel_size: int,
    scale: int = 2,
) -> np.ndarray:
    """A sheet of a variant's receptive fields, the first ones in their order.

    Grey is zero. Each kernel is scaled to its own maximum and tinted by the colour
    channel that it looks at.

    Args:
        variant: `v1keras.v1.Variant` with a V1 front-end.
        image_size: int. Pixels that span `visual_degrees`.
        visual_degrees: float. In degrees.
        kernel_size: int. In pixels.
        scale: int. Screen pixels per pixel of a kernel. Defaults to `2`.

    Returns:
        uint8 array of shape (height, width, 3), RGB.

    Example:

    >>> sheet = v1keras.v1.filter_sheet(
    ...     v1keras.v1.get_variant("sf_low"),
    ...     image_size=64,
    ...     visual_degrees=2.0,
    ...     kernel_size=25,
    ... )
    """
    parameters = variant.sample()
    count = min(_ROWS * _COLUMNS, len(parameters))
    # Spread over simple and complex cells alike.
    shown = np.linspace(0, len(parameters) - 1, count).astype(int)
    kernels, _ = gabor_kernels(
        parameters.select(shown),
        image_size=image_size,
        visual_degrees=visual_degrees,
        kernel_size=kernel_size,
        balanced=variant.balanced,
    )
    cell = kernel_size * scale + _GAP
    rows = -(-count // _COLUMNS)
    sheet = np.full((rows * cell + _GAP, _COLUMNS * cell + _GAP, 3), 255, np.uint8)
    for index, kernel in enumerate(kernels):
        values = kernel / np.abs(kernel).max()
        tint = np.full(3, 0.55)
        channel = parameters.channel_q0[shown[index]]
        # M cells of a subcortical stage see no colour.
        colored = variant.input_channels >= 3 and channel < 3
        tint[channel if colored else slice(None)] = 1.0
        pixels = np.round(128 + 127 * values[..., np.newaxis] * tint).astype(np.uint8)
        pixels = pixels.repeat(scale, axis=0).repeat(scale, axis=1)
        top = _GAP + index // _COLUMNS * cell
        left = _GAP + index % _COLUMNS * cell
        sheet[top : top + cell - _GAP, left : left + cell - _GAP] = pixels
    return sheet
