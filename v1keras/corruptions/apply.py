"""`corrupt`: one corruption of a batch of images, reproducible image by image."""

import operator
import os
import zlib
from collections.abc import Sequence

import numpy as np

from v1keras.corruptions import ice
from v1keras.corruptions.registry import CORRUPTIONS, canonical_name
from v1keras.corruptions.severities import check_scale, check_severities

MIN_SIZE = 32
# Between the two published sizes, 64 and 224 px, nearer to the smaller in ratio.
TINY_UP_TO = 100


def default_scale(height: int, width: int) -> str:
    """The severity table for images of this size in pixels.

    Returns:
        str. `"tiny"` if no side is above 100 px, else `"imagenet"`.
    """
    return "tiny" if max(height, width) <= TINY_UP_TO else "imagenet"


def corrupt(
    images: np.ndarray,
    name: str,
    severity: int,
    *,
    seed: int,
    scale: str | None = None,
    index: Sequence[int] | np.ndarray | None = None,
    frost_textures: str | os.PathLike | None = None,
) -> np.ndarray:
    """Corrupts a batch of images as the ImageNet-C family of benchmarks does.

    The result for an image depends on the image, `seed`, its `index`, the corruption
    and the severity only: not on the batch, its order or the number of workers.
    Images are 8-bit in the published benchmark, so float images are rounded first
    and results are whole grey levels (truncated, as published).

    Args:
        images: array (B, H, W, 3), uint8 or float, RGB in 0..255, at least 32 px.
        name: str. A key of `CORRUPTIONS`, or another source's name for one.
        severity: int. 1 (weakest) to 5.
        seed: int. Non-negative seed of the whole benchmark.
        scale: str. The severity table: `"imagenet"` (made for 224 px) or `"tiny"`
            (for 64 px). Defaults to `None`: tiny up to 100 px, else imagenet.
        index: sequence of int, B non-negative numbers that identify the images.
            Defaults to `None`: their positions 0..B-1.
        frost_textures: str or path. A folder of photographs of ice for `frost`.
            Defaults to `None`: textures that are generated here.

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: `images` are neither uint8 nor float, or a number is no integer.
        ValueError: A shape, name, severity, seed, scale or index does not fit.

    Example:

    >>> images = np.full((2, 64, 64, 3), 128, np.uint8)
    >>> corrupt(images, "fog", 3, seed=0).shape
    (2, 64, 64, 3)

    Reference:

    - [Hendrycks & Dietterich, 2019](https://arxiv.org/abs/1903.12261)
    """
    images = np.asarray(images)
    pixels = _validated_pixels(images)
    corruption = CORRUPTIONS[canonical_name(name)]
    severity = _integer(severity, "severity")
    check_severities([severity], "severity")
    height, width = pixels.shape[1:3]
    if scale is None:
        scale = default_scale(height, width)
    check_scale(scale)
    seed = _integer(seed, "seed")
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0. Received: seed={seed}")
    identifiers = _validated_index(index, len(pixels))

    arguments = {}
    if corruption.name == "frost":
        arguments["textures"] = _textures(scale, frost_textures, height, width)
    corrupted = corruption.function(
        pixels,
        corruption.parameters(severity, scale),
        # To make a generator takes longer than some of the deterministic corruptions.
        [
            image_generator(seed, identifier, corruption.name, severity)
            for identifier in (identifiers if corruption.random else ())
        ],
        **arguments,
    )
    return corrupted.astype(images.dtype, copy=False)


def image_generator(
    seed: int, index: int, name: str, severity: int
) -> np.random.Generator:
    """The random numbers of one image: a stream of their own for every cell."""
    entropy = (seed, index, zlib.crc32(name.encode()), severity)
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(entropy)))


def _validated_pixels(images: np.ndarray) -> np.ndarray:
    """The images as uint8, after all checks of shape, dtype and range."""
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(
            "`images` must be a batch of RGB images (B, H, W, 3). "
            f"Received: images.shape={images.shape}"
        )
    if min(images.shape[1:3]) < MIN_SIZE:
        raise ValueError(
            f"`images` must be at least {MIN_SIZE} x {MIN_SIZE} pixels. "
            f"Received: images.shape={images.shape}"
        )
    if images.dtype == np.uint8:
        return np.ascontiguousarray(images)
    # The letter V covers the 8- and 16-bit floats of accelerators (bfloat16).
    if images.dtype.kind not in "fV":
        raise TypeError(
            "`images` must be uint8 or float, in 0..255. "
            f"Received: images.dtype={images.dtype}"
        )
    values = images.astype(np.float32)
    # Written so that NaN fails as well.
    if values.size and not (values.min() >= 0 and values.max() <= 255):
        raise ValueError(
            "`images` must lie in 0..255. Received: images with values from "
            f"{values.min()} to {values.max()}"
        )
    return np.rint(values).astype(np.uint8)


def _validated_index(index: Sequence[int] | np.ndarray | None, count: int) -> list[int]:
    if index is None:
        return list(range(count))
    array = np.asarray(index)
    if array.shape != (count,) or (count and array.dtype.kind not in "iu"):
        raise ValueError(
            "`index` must be one integer for each of the "
            f"{count} images. Received: index={index!r}"
        )
    if count and array.min() < 0:
        raise ValueError(f"`index` must be at least 0. Received: index={index!r}")
    return array.tolist()


def _integer(value: int, name: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(
            f"`{name}` must be an integer. Received: {name}={value!r}"
        ) from None


def _textures(
    scale: str, folder: str | os.PathLike | None, height: int, width: int
) -> list[np.ndarray]:
    if folder is None:
        textures = ice.ice_textures(scale)
    else:
        textures = ice.load_textures(os.fspath(folder), scale)
    return [ice.covering(texture, height, width) for texture in textures]
