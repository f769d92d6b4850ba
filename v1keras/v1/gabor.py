"""Gabor kernels from receptive-field parameters."""

import numpy as np

from v1keras.v1.distributions import GaborParameters


def gabor_kernels(
    parameters: GaborParameters,
    *,
    image_size: int,
    visual_degrees: float,
    kernel_size: int,
    balanced: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Gabor kernels and their quadrature pairs (Jones and Palmer 1987).

    The rotated axis `rx = x cos(theta) + y sin(theta)` carries the cosine; x runs
    along the rows of the kernel and y along its columns.

    Args:
        parameters: `GaborParameters` of length n.
        image_size: int. The number of pixels that span `visual_degrees`.
        visual_degrees: float. The visual angle of the image, in degrees.
        kernel_size: int. Height and width of the kernels in pixels; odd, so that
            they have a centre.
        balanced: bool. Whether to subtract from each kernel a multiple of its
            envelope, so that it sums to 0 and does not answer to uniform light.
            Defaults to `False`.

    Returns:
        Two float64 arrays of shape (n, kernel_size, kernel_size): the kernels (q0)
        and the same ones with their phase advanced by 90 degrees (q1).

    Raises:
        ValueError: if `kernel_size` is even or a size is not positive.

    Example:

    >>> parameters = v1keras.v1.sample_gabors(8)
    >>> q0, q1 = v1keras.v1.gabor_kernels(
    ...     parameters, image_size=64, visual_degrees=2.0, kernel_size=25
    ... )
    >>> q0.shape
    (8, 25, 25)
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(
            "`kernel_size` must be a positive odd number of pixels. "
            f"Received: kernel_size={kernel_size}"
        )
    if not (image_size > 0 and visual_degrees > 0):
        raise ValueError(
            "`image_size` (pixels) and `visual_degrees` must be positive. Received: "
            f"image_size={image_size}, visual_degrees={visual_degrees}"
        )
    pixels_per_degree = image_size / visual_degrees

    def column(values):
        return values[:, np.newaxis, np.newaxis]

    frequency = column(parameters.sf / pixels_per_degree)
    sigma_x = column(parameters.nx) / frequency
    sigma_y = column(parameters.ny) / frequency
    theta = np.deg2rad(column(parameters.theta))
    phase = np.deg2rad(column(parameters.phase))

    half = kernel_size // 2
    x, y = np.mgrid[-half : half + 1, -half : half + 1]
    rx = x * np.cos(theta) + y * np.sin(theta)
    ry = -x * np.sin(theta) + y * np.cos(theta)
    envelope = np.exp(-0.5 * ((rx / sigma_x) ** 2 + (ry / sigma_y) ** 2))
    envelope /= 2.0 * np.pi * sigma_x * sigma_y
    carrier = 2.0 * np.pi * frequency * rx + phase
    q0, q1 = envelope * np.cos(carrier), envelope * np.cos(carrier + np.pi / 2.0)
    if balanced:
        light = envelope / envelope.sum(axis=(1, 2), keepdims=True)
        q0, q1 = (q - light * q.sum(axis=(1, 2), keepdims=True) for q in (q0, q1))
    return q0, q1
