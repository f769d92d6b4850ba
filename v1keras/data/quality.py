"""How noisy, blurred, flat and compressed images are, by themselves (no reference)."""

import cv2
import numpy as np

QUALITIES = ("noise", "sharpness", "contrast", "blockiness")
"""The columns of `measure_quality`."""

_BLOCK = 8  # pixels, of JPEG
# The second difference along both axes: blind to edges and slopes (Immerkaer 1996).
_NOISE_KERNEL = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float64)


def measure_quality(images: np.ndarray) -> np.ndarray:
    """Estimates what a camera or a file format has done to images, from luma.

    - `noise`: standard deviation of white noise, in grey levels (Immerkaer 1996). Fine
      texture counts as noise.
    - `sharpness`: variance of the Laplacian, in squared grey levels (Pech-Pacheco et
      al. 2000). Blur lowers it; noise and empty scenes mislead it.
    - `contrast`: root mean square contrast, the standard deviation of luma in [0, 1]
      (Peli 1990).
    - `blockiness`: steps between neighbours on the grid of JPEG's blocks relative to
      steps elsewhere; about 1 without blocks (after Wang, Sheikh and Bovik 2002). The
      grid may begin anywhere; it is lost where an image was scaled since.

    Args:
        images: uint8 RGB array (N, H, W, 3), at least 16 pixels high and wide.

    Returns:
        float64 array (N, 4), in the order of `QUALITIES`.

    Raises:
        ValueError: if images are smaller.

    Example:

    >>> from v1keras.data.quality import measure_quality
    >>> measure_quality(np.full((1, 32, 32, 3), 90, np.uint8)).round(6).tolist()
    [[0.0, 0.0, 0.0, 1.0]]
    """
    images = np.asarray(images)
    if images.ndim != 4 or min(images.shape[1:3]) < 2 * _BLOCK:
        raise ValueError(
            f"`images` must be (N, H, W, 3) with at least {2 * _BLOCK} pixels a side. "
            f"Received: images.shape={images.shape}"
        )
    return np.array([_measure(image) for image in images]).reshape(-1, len(QUALITIES))


def _measure(image: np.ndarray) -> list[float]:
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
    # Only where kernels lie within the image.
    inner = (slice(1, -1), slice(1, -1))
    difference = cv2.filter2D(luma, -1, _NOISE_KERNEL)[inner]
    noise = np.sqrt(np.pi / 2) / 6 * np.abs(difference).mean()
    sharpness = cv2.Laplacian(luma, cv2.CV_64F)[inner].var()
    blockiness = np.mean([_block_steps(luma), _block_steps(luma.T)])
    return [noise, sharpness, luma.std() / 255.0, blockiness]


def _block_steps(luma: np.ndarray) -> float:
    """Mean step between rows at the strongest phase of the grid over all others."""
    steps = np.abs(np.diff(luma, axis=0)).mean(axis=1)
    phases = np.array([steps[phase::_BLOCK].mean() for phase in range(_BLOCK)])
    others = (phases.sum() - phases.max()) / (_BLOCK - 1)
    # One grey level more: a flat image has no steps to compare.
    return (phases.max() + 1.0) / (others + 1.0)
