"""Digital corruptions: contrast, saturation, elastic deformation, pixels and JPEG.

Every function takes a uint8 batch (B, H, W, 3), the parameters of one severity from
`v1keras.corruptions.severities` and one random generator per image (unused where a
corruption is deterministic), and returns a uint8 batch, truncated like the original
benchmark's.
"""

import functools
from collections.abc import Sequence

import cv2
import numpy as np

from v1keras.corruptions.blur import gaussian_kernel

Generators = Sequence[np.random.Generator]


def contrast(images: np.ndarray, factor: float, generators: Generators) -> np.ndarray:
    """Shrinks the distance to the mean of each image and channel by `factor`."""
    corrupted = np.empty_like(images)
    levels = np.arange(256)[:, np.newaxis] / 255
    for image, result in zip(images, corrupted, strict=True):
        means = np.array(cv2.mean(image)[:3]) / 255
        table = np.clip((levels - means) * factor + means, 0, 1) * 255
        cv2.LUT(image, table.astype(np.uint8)[np.newaxis], dst=result)
    return corrupted


def saturate(
    images: np.ndarray, parameters: tuple[float, float], generators: Generators
) -> np.ndarray:
    """Scales and shifts the saturation (HSV) by `parameters`.

    Hue and value stay, so each channel keeps its relative distance to the largest
    one. Grey pixels have hue 0: a shift of the saturation turns them reddish.
    """
    factor, shift = parameters
    ratios = _saturation_ratios(factor, shift)
    corrupted = np.empty_like(images)
    for image, result in zip(images, corrupted, strict=True):
        value = image.max(axis=-1)
        lowest = image.min(axis=-1)
        ratio = ratios[value, lowest][..., np.newaxis]
        distance = value[..., np.newaxis] - image
        saturated = value[..., np.newaxis] - distance * ratio
        result[...] = np.maximum(saturated, 0, out=saturated)
        if shift:
            grey = value == lowest
            others = value[grey] * (1 - min(shift, 1))
            result[grey, 1:] = others[:, np.newaxis]
    return corrupted


@functools.lru_cache(maxsize=16)
def _saturation_ratios(factor: float, shift: float) -> np.ndarray:
    """New over old saturation for every value (row) and lowest channel (column)."""
    value, lowest = np.ogrid[0:256, 0:256]
    with np.errstate(divide="ignore", invalid="ignore"):
        saturation = (value - lowest) / value
        ratio = np.clip(saturation * factor + shift, 0, 1) / saturation
    return np.where(np.isfinite(ratio), ratio, 1)


def elastic_transform(
    images: np.ndarray,
    parameters: tuple[float, float, float],
    generators: Generators,
) -> np.ndarray:
    """A random affine map, then smooth random displacements.

    `parameters` are the strength of the displacements, the standard deviation of
    their smoothing and the largest displacement of the affine map's three points,
    all in pixels (Simard et al. 2003).
    """
    strength, sigma, affine = parameters
    height, width = images.shape[1:3]
    centre = np.float32([width // 2, height // 2])
    reach = min(height, width) // 3
    corners = centre + np.float32([[reach, reach], [reach, -reach], [-reach, -reach]])
    down = _reflecting_gaussian(height, sigma)
    across = _reflecting_gaussian(width, sigma).T
    columns = np.arange(width, dtype=np.float32)
    rows = np.arange(height, dtype=np.float32)[:, np.newaxis]

    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        moved = corners + generator.uniform(-affine, affine, (3, 2)).astype(np.float32)
        bent = cv2.warpAffine(
            image.astype(np.float32),
            cv2.getAffineTransform(corners, moved),
            (width, height),
            borderMode=cv2.BORDER_REFLECT_101,
        )
        noise = generator.random((2, height, width), dtype=np.float32) * 2 - 1
        shift_x, shift_y = down @ noise @ across * np.float32(strength)
        result[...] = cv2.remap(
            bent,
            columns + shift_x,
            rows + shift_y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
    return corrupted


@functools.lru_cache(maxsize=16)
def _reflecting_gaussian(size: int, sigma: float) -> np.ndarray:
    """Gaussian smoothing of `size` samples with reflecting ends, as a matrix.

    The published standard deviations reach the width of the image, where a matrix
    product is far cheaper than a convolution.
    """
    kernel = gaussian_kernel(sigma, truncate=3.0)
    radius = kernel.size // 2
    source = np.arange(size)[:, np.newaxis] + np.arange(-radius, radius + 1)
    source = source % (2 * size)
    source = np.minimum(source, 2 * size - 1 - source)
    matrix = np.zeros((size, size))
    rows = np.broadcast_to(np.arange(size)[:, np.newaxis], source.shape)
    np.add.at(matrix, (rows, source), kernel)
    return matrix.astype(np.float32)


def pixelate(images: np.ndarray, factor: float, generators: Generators) -> np.ndarray:
    """Shrinks by `factor` and enlarges again, both with a box filter."""
    height, width = images.shape[1:3]
    small_height, small_width = int(height * factor), int(width * factor)
    corrupted = np.empty_like(images)
    for image, result in zip(images, corrupted, strict=True):
        small = _box_resize(image, small_height, small_width)
        result[...] = _box_resize(small, height, width)
    return corrupted


def _box_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes a uint8 image columns first, rounded after each of the two passes."""
    image = _box_resize_rows(image.transpose(1, 0, 2), width)
    return _box_resize_rows(image.transpose(1, 0, 2), height)


def _box_resize_rows(image: np.ndarray, size: int) -> np.ndarray:
    first, count = _boxes(image.shape[0], size)
    if size >= image.shape[0]:
        # Enlarging with a box is a choice of the nearest sample.
        return image[first]
    sums = image[first].astype(np.float32)
    for number in range(1, count.max()):
        larger = np.flatnonzero(count > number)
        sums[larger] += image[first[larger] + number]
    sums *= (1 / count).astype(np.float32)[:, np.newaxis, np.newaxis]
    sums += 0.5
    return sums.astype(np.uint8)


@functools.lru_cache(maxsize=64)
def _boxes(size: int, new_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Box filter in Pillow's definition: whole samples, none of them in part.

    An output sample is the plain mean of the input samples whose centres lie in its
    box, which is never narrower than one sample.

    Returns:
        The first input sample of each output sample, and how many there are.
    """
    scale = size / new_size
    centres = (np.arange(new_size) + 0.5)[:, np.newaxis] * scale
    offset = (np.arange(size) - centres + 0.5) / max(scale, 1)
    inside = (offset > -0.5) & (offset <= 0.5)
    return inside.argmax(axis=1), inside.sum(axis=1)


def jpeg_compression(
    images: np.ndarray, quality: int, generators: Generators
) -> np.ndarray:
    """Encodes as JPEG of this quality (1..100) and decodes."""
    corrupted = np.empty_like(images)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    for image, result in zip(images, corrupted, strict=True):
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, options)
        bgr = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
        cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB, dst=result)
    return corrupted
