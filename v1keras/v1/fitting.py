"""Receptive-field parameters from Gabor kernels: the inverse of `gabor_kernels`."""

import numpy as np

from v1keras.v1.distributions import GaborParameters
from v1keras.v1.gabor import gabor_kernels

# Pixels below this share of the highest envelope are left out.
_NEGLIGIBLE = 1e-8

# Largest difference of a fitted kernel, as a share of the kernel's highest envelope.
# Kernels in float32 leave 1e-6.
_TOLERANCE = 1e-4


def fit_gabors(
    q0: np.ndarray, q1: np.ndarray, *, image_size: int, visual_degrees: float
) -> GaborParameters:
    """Finds the Gabor parameters of quadrature pairs of kernels.

    `q0 - i q1` is the envelope times `exp(i (2 pi f rx + phase))`: its size gives the
    widths, its angle frequency, orientation and phase, without any search.

    Args:
        q0: array of shape (n, channels, size, size). Each kernel looks at one of the
            channels of the input, and is 0 in the others.
        q1: array of the same shape. The same kernels with their phase advanced by 90
            degrees; they may look at other channels.
        image_size: int. The number of pixels that span `visual_degrees`.
        visual_degrees: float. The visual angle of the image, in degrees.

    Returns:
        `GaborParameters` of length n.

    Raises:
        ValueError: if they are no such pairs of Gabor kernels.

    Example:

    >>> gabors = v1keras.v1.sample_gabors(4, input_channels=1)
    >>> geometry = {"image_size": 64, "visual_degrees": 2.0}
    >>> pairs = v1keras.v1.gabor_kernels(gabors, kernel_size=25, **geometry)
    >>> q0, q1 = (kernels[:, np.newaxis] for kernels in pairs)
    >>> fitted = v1keras.v1.fit_gabors(q0, q1, **geometry)
    >>> bool(np.allclose(fitted.sf, gabors.sf))
    True
    """
    if q0.ndim != 4 or q0.shape != q1.shape or q0.shape[2] != q0.shape[3]:
        raise ValueError(
            "`q0` and `q1` must have the same shape (n, channels, size, size). "
            f"Received: shapes {q0.shape} and {q1.shape}"
        )
    channels = [np.abs(q).sum(axis=(2, 3)).argmax(axis=1) for q in (q0, q1)]
    every = np.arange(len(q0))
    even, odd = (
        q[every, channel].astype(float)
        for q, channel in zip((q0, q1), channels, strict=True)
    )
    size = q0.shape[-1]
    with np.errstate(invalid="ignore"):  # other kernels than Gabor's give NaN
        fits = np.array([_fit(pair) for pair in even - 1j * odd])
    fits[:, 0] *= image_size / visual_degrees
    known = np.isfinite(fits).all(axis=1) & (fits[:, [0, 3, 4]] > 0).all(axis=1)
    if known.all():
        names = ("sf", "theta", "phase", "nx", "ny")
        gabors = GaborParameters(
            **dict(zip(names, fits.T, strict=True)),
            channel_q0=channels[0],
            channel_q1=channels[1],
        )
        pairs = gabor_kernels(
            gabors,
            image_size=image_size,
            visual_degrees=visual_degrees,
            kernel_size=size,
        )
        envelope = np.sqrt(pairs[0] ** 2 + pairs[1] ** 2).max(axis=(1, 2))
        for q, channel, fitted in zip((q0, q1), channels, pairs, strict=True):
            rest = np.array(q, float)
            rest[every, channel] -= fitted
            known &= np.abs(rest).max(axis=(1, 2, 3)) <= _TOLERANCE * envelope
    if not known.all():
        raise ValueError(
            "`q0` and `q1` must be Gabor kernels in quadrature, each on one channel. "
            f"Received: {np.sum(~known)} of {len(q0)} that are not, first number "
            f"{np.argmin(known)}"
        )
    return gabors


def _fit(pair: np.ndarray) -> tuple[float, float, float, float, float]:
    """sf in cycles per pixel, theta and phase in degrees, nx and ny in cycles."""
    if not (np.isfinite(pair).all() and pair.any()):
        return (np.nan,) * 5
    half = len(pair) // 2
    x, y = np.mgrid[-half : half + 1, -half : half + 1]
    envelope = np.abs(pair)
    # The angle between neighbours tells the frequency, and the rest is linear in it.
    step_x = np.angle(np.sum(pair[1:] * pair[:-1].conj()))
    step_y = np.angle(np.sum(pair[:, 1:] * pair[:, :-1].conj()))
    still = pair * np.exp(-1j * (step_x * x + step_y * y))
    start = np.angle(np.sum(still))
    rest = np.angle(still * np.exp(-1j * start))
    terms = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3).astype(float)
    weights = envelope.ravel()
    (dx, dy, shift), *_ = np.linalg.lstsq(
        terms * weights[:, np.newaxis], rest.ravel() * weights
    )
    step_x, step_y = step_x + dx, step_y + dy
    frequency = np.hypot(step_x, step_y) / (2 * np.pi)
    theta = np.arctan2(step_y, step_x)
    rx = x * np.cos(theta) + y * np.sin(theta)
    ry = -x * np.sin(theta) + y * np.cos(theta)
    seen = envelope > _NEGLIGIBLE * envelope.max()
    terms = np.stack([rx**2, ry**2, np.ones_like(rx)], axis=-1)[seen]
    (wx, wy, _), *_ = np.linalg.lstsq(terms, -2 * np.log(envelope[seen]))
    return (
        frequency,
        np.degrees(theta) % 360,
        np.degrees(start + shift) % 360,
        frequency / np.sqrt(wx),
        frequency / np.sqrt(wy),
    )
