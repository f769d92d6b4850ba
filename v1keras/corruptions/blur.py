"""Blur corruptions: Gaussian, defocus, glass, motion and zoom blur.

Every function takes a uint8 batch (B, H, W, 3), the parameters of one severity from
`v1keras.corruptions.severities` and one random generator per image (none where a
corruption is deterministic), and returns a uint8 batch, truncated like the original
benchmark's.
"""

import functools
from collections.abc import Sequence

import cv2
import numpy as np

Generators = Sequence[np.random.Generator]


def gaussian_kernel(sigma: float, truncate: float = 4.0) -> np.ndarray:
    """A normalised 1-D Gaussian, cut at `truncate` standard deviations.

    Args:
        sigma: float. Standard deviation in pixels; 0 gives the identity.
        truncate: float. Where to cut, in standard deviations. Defaults to `4.0`.

    Returns:
        Array (2 * radius + 1,), float64.
    """
    radius = int(truncate * sigma + 0.5)
    if not radius:
        return np.ones(1)
    positions = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (positions / sigma) ** 2)
    return weights / weights.sum()


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blurs a float32 image (H, W) or (H, W, C), repeating the pixels of the edge."""
    kernel = gaussian_kernel(sigma)
    if kernel.size == 1:
        return image
    return cv2.sepFilter2D(
        image, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE
    )


def clipped_zoom(
    image: np.ndarray, factor: float, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Enlarges the centre of a float32 image (H, W) or (H, W, C) to the same size.

    The centre `ceil(size / factor)` pixels are enlarged to `round(size * factor)`
    with linear interpolation whose corner pixels stay corner pixels, and the middle
    is cut out.
    """
    steps, starts = [], []
    for size in image.shape[:2]:
        crop = int(np.ceil(size / factor))
        enlarged = round(crop * factor)
        step = (crop - 1) / (enlarged - 1)
        steps.append(step)
        starts.append((size - crop) // 2 + (enlarged - size) // 2 * step)
    to_source = np.array([[steps[1], 0, starts[1]], [0, steps[0], starts[0]]])
    return cv2.warpAffine(
        image,
        to_source,
        image.shape[1::-1],
        dst=out,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def motion_kernel(radius: int, sigma: float, angle: float) -> np.ndarray:
    """The 2-D kernel of ImageMagick's motion blur.

    A one-sided Gaussian of `2 * radius + 1` samples, `exp(-i^2 / (2 sigma^2))`
    normalised, whose i-th sample lies `i` pixels along the angle, at the whole
    pixel `ceil(i cos - 0.5), ceil(i sin - 0.5)`.

    Args:
        radius: int. Half the number of samples, in pixels.
        sigma: float. Standard deviation in pixels.
        angle: float. Direction in degrees; 0 is to the right, 90 is down.

    Returns:
        Array (2 * n + 1, 2 * n + 1), float32, for `cv2.filter2D` (correlation).

    Example:

    >>> motion_kernel(10, 1.0, 0.0).sum().round(3)
    np.float32(1.0)
    """
    steps = np.arange(2 * radius + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    weights /= weights.sum()
    # Far samples of a narrow Gaussian are below a thousandth of a grey level.
    steps = steps[weights > 1e-7]
    direction = np.deg2rad(angle)
    columns = np.ceil(steps * np.cos(direction) - 0.5).astype(int)
    rows = np.ceil(steps * np.sin(direction) - 0.5).astype(int)
    reach = max(np.abs(columns).max(), np.abs(rows).max())
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    np.add.at(kernel, (reach + rows, reach + columns), weights[steps])
    return kernel


def motion_filter(
    image: np.ndarray, radius: int, sigma: float, angle: float
) -> np.ndarray:
    """Motion-blurs a uint8 image (H, W) or (H, W, C); truncated, edges repeated."""
    kernel = motion_kernel(radius, sigma, angle)
    blurred = cv2.filter2D(image, cv2.CV_32F, kernel, borderType=cv2.BORDER_REPLICATE)
    # ImageMagick rounds to 16 bits (257 steps a grey level), then truncates to 8.
    blurred += 0.5 / 257
    return blurred.astype(np.uint8)


def gaussian_blur(
    images: np.ndarray, sigma: float, generators: Generators
) -> np.ndarray:
    """Gaussian blur; `sigma` is the standard deviation in pixels."""
    corrupted = np.empty_like(images)
    for image, result in zip(images, corrupted, strict=True):
        result[...] = smooth(image.astype(np.float32), sigma)
    return corrupted


def defocus_blur(
    images: np.ndarray, parameters: tuple[float, float], generators: Generators
) -> np.ndarray:
    """Blur with a disk; `parameters` are its radius and its own blur in pixels."""
    kernel = _disk(*parameters)
    corrupted = np.empty_like(images)
    for image, result in zip(images, corrupted, strict=True):
        blurred = cv2.filter2D(image, cv2.CV_32F, kernel)
        result[...] = np.clip(blurred, 0, 255, out=blurred)
    return corrupted


@functools.lru_cache(maxsize=32)
def _disk(radius: float, alias_blur: float) -> np.ndarray:
    if radius <= 8:
        positions, size = np.arange(-8, 9), (3, 3)
    else:
        positions, size = np.arange(-radius, radius + 1), (5, 5)
    inside = positions**2 + positions[:, np.newaxis] ** 2 <= radius**2
    disk = inside.astype(np.float32)
    disk = cv2.GaussianBlur(disk / disk.sum(), ksize=size, sigmaX=alias_blur)
    # A narrow blur leaves weights down to 1e-44, far below the rounding of the others.
    # To multiply by such denormal numbers takes many times as long.
    disk[disk < 1e-12] = 0
    filled = np.abs(positions[np.any(disk > 0, axis=0)]).max()
    margin = int(positions.size // 2 - filled)
    return disk[margin : disk.shape[0] - margin, margin : disk.shape[1] - margin]


def glass_blur(
    images: np.ndarray,
    parameters: tuple[float, int, int],
    generators: Generators,
) -> np.ndarray:
    """Blur, local shuffling of pixels, blur.

    `parameters` are the blur's standard deviation in pixels, the largest displacement
    in pixels and the number of passes. In each pass the pixels are visited from the
    bottom right to the top left and each becomes a copy of a random near one, which may
    itself have been replaced before: the published code is meant to swap two pixels,
    but its assignment copies.
    """
    sigma, reach, passes = parameters
    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        blurred = smooth(image.astype(np.float32), sigma).astype(np.uint8)
        height, width = image.shape[:2]
        sources = np.arange(height * width, dtype=np.int32)
        for _ in range(passes):
            sources = sources[_copied_from(height, width, reach, generator)]
        shuffled = blurred.reshape(-1, 3)[sources].reshape(image.shape)
        result[...] = smooth(shuffled.astype(np.float32), sigma)
    return corrupted


def _copied_from(
    height: int, width: int, reach: int, generator: np.random.Generator
) -> np.ndarray:
    """Which pixel each one is a copy of after one pass of sequential copies.

    A pixel that copies one visited before it continues that one's chain of copies;
    any other copies an original. So the copies form a forest, whose roots are found
    for all pixels at once by pointer doubling, in log(length of the longest chain)
    steps instead of one step a pixel.

    Returns:
        Array (height * width,), int32: flat indices of original pixels.
    """
    inner = (height - 2 * reach, width - 2 * reach)
    rows, columns = generator.integers(
        -reach, reach, size=(2, *inner), dtype=np.int8
    ).astype(np.int32)
    rows += np.arange(reach + 1, height - reach + 1, dtype=np.int32)[:, np.newaxis]
    columns += np.arange(reach + 1, width - reach + 1, dtype=np.int32)
    area = height * width
    pixels = np.arange(area, dtype=np.int32).reshape(height, width)
    visited = (
        slice(reach + 1, height - reach + 1),
        slice(reach + 1, width - reach + 1),
    )
    targets = rows * width + columns
    # Visited earlier means further on in the raster, and in the visited region.
    chained = (
        (targets > pixels[visited])
        & (rows > reach)
        & (rows <= height - reach)
        & (columns > reach)
        & (columns <= width - reach)
    )
    # Originals are numbered from `area` on and end a chain.
    follow = pixels + area
    follow[visited] = np.where(chained, targets, targets + area)
    follow = follow.ravel()
    open_chains = np.flatnonzero(follow < area)
    while open_chains.size:
        targets = follow[follow[open_chains]]
        follow[open_chains] = targets
        open_chains = open_chains[targets < area]
    return follow - area


def motion_blur(
    images: np.ndarray, parameters: tuple[int, float], generators: Generators
) -> np.ndarray:
    """Blur along a random direction within 45 degrees of the horizontal.

    `parameters` are the radius and the standard deviation in pixels.
    """
    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        result[...] = motion_filter(image, *parameters, generator.uniform(-45, 45))
    return corrupted


def zoom_blur(
    images: np.ndarray, zooms: tuple[float, ...], generators: Generators
) -> np.ndarray:
    """The mean of the image and its enlargements by the factors `zooms`."""
    corrupted = np.empty_like(images)
    for image, result in zip(images, corrupted, strict=True):
        image = image.astype(np.float32)
        total = image.copy()
        enlarged = np.empty_like(image)
        for zoom in zooms:
            total += clipped_zoom(image, zoom, out=enlarged)
        total /= len(zooms) + 1
        result[...] = total
    return corrupted
