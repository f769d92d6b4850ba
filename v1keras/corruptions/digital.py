"""Digital corruptions: contrast, saturation, elastic deformation, pixels and JPEG.

Every function takes a uint8 batch (B, H, W, 3), the parameters of one severity from
`v1keras.corruptions.severities` and one random generator per image (none where a
corruption is deterministic), and returns a uint8 batch, truncated like the original
benchmark's.
"""

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image
from scipy import fft

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
        shift_x, shift_y = _smooth_reflecting(noise, sigma) * np.float32(strength)
        result[...] = cv2.remap(
            bent,
            columns + shift_x,
            rows + shift_y,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT,
        )
    return corrupted


def _smooth_reflecting(fields: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing of float32 fields (n, H, W), reflected at the edges.

    The published standard deviations reach the width of the image. A cosine
    transform costs the same for all of them, and its edges are these reflections.
    """
    down = _transfer(fields.shape[1], sigma)[:, np.newaxis]
    across = _transfer(fields.shape[2], sigma)
    spectrum = fft.dctn(fields, axes=(1, 2), overwrite_x=True)
    spectrum *= down * across
    return fft.idctn(spectrum, axes=(1, 2), overwrite_x=True)


@functools.lru_cache(maxsize=32)
def _transfer(size: int, sigma: float) -> np.ndarray:
    """What a Gaussian, cut at 3 sigma, makes of each of `size` cosines; float32."""
    kernel = gaussian_kernel(sigma, truncate=3.0)
    positions = np.arange(kernel.size) - kernel.size // 2
    phases = np.pi / size * np.outer(np.arange(size), positions)
    return (np.cos(phases) @ kernel).astype(np.float32)


def pixelate(images: np.ndarray, factor: float, generators: Generators) -> np.ndarray:
    """Shrinks by `factor` with Pillow's box filter and repeats the pixels."""
    height, width = images.shape[1:3]
    small = (int(width * factor), int(height * factor))
    # Pillow's box filter repeats pixels when it enlarges, these ones.
    columns, rows = (
        ((np.arange(size) + 0.5) * (few / size)).astype(np.intp)
        for size, few in zip((width, height), small, strict=True)
    )
    corrupted = np.empty_like(images)
    for image, result in zip(images, corrupted, strict=True):
        shrunk = Image.fromarray(image).resize(small, Image.Resampling.BOX)
        wide = np.asarray(shrunk).take(columns, axis=1)
        # With a mode, the rows are written to the result directly.
        np.take(wide, rows, axis=0, out=result, mode="clip")
    return corrupted


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
