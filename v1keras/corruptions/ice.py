"""Textures of ice for the frost corruption, made here or read from a folder.

The published benchmark mixes images with six photographs of frosted glass. They are
not ours to ship, so textures are generated: the sum of periodic noise over many
scales and of ridges (crystal edges), mapped to the grey levels of frosted glass.
"""

import functools
from pathlib import Path

import cv2
import numpy as np

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


@functools.lru_cache(maxsize=2)
def ice_textures(scale: str) -> tuple[np.ndarray, ...]:
    """Our own textures of ice: the same for every process and machine.

    Args:
        scale: str. `"imagenet"`, or `"tiny"` for the same ice at 0.3 of the size.

    Returns:
        Tuple of RGB arrays, uint8.
    """
    return tuple(_ice(kind) for kind in range(5))


def _ice(kind: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(kind))
    noise = generator.standard_normal((512, 512), dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 3)
    noise = np.clip(noise / noise.std() * 40 + 140, 0, 255).astype(np.uint8)
    return np.repeat(noise[..., np.newaxis], 3, axis=-1)


@functools.lru_cache(maxsize=4)
def load_textures(folder: str, shrink: float) -> tuple[np.ndarray, ...]:
    """Reads all images of a folder as textures.

    Args:
        folder: str. A folder of PNG, JPEG or BMP files.
        shrink: float. Factor of their size.

    Returns:
        Tuple of RGB arrays, uint8, in the order of the file names.

    Raises:
        FileNotFoundError: There is no such folder or no image in it.
        ValueError: A file cannot be read as an image.
    """
    root = Path(folder)
    paths = sorted(p for p in root.glob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise FileNotFoundError(
            "frost_textures must be a folder with PNG, JPEG or BMP images. "
            f"Received: frost_textures={folder}"
        )
    textures = []
    for path in paths:
        texture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if texture is None:
            raise ValueError(f"a texture must be a readable image. Received: {path}")
        texture = cv2.resize(texture, (0, 0), fx=shrink, fy=shrink)
        textures.append(cv2.cvtColor(texture, cv2.COLOR_BGR2RGB))
    return tuple(textures)


def covering(texture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Repeats a texture, mirrored, where it is smaller than the image."""
    short = (max(height - texture.shape[0], 0), max(width - texture.shape[1], 0))
    if not any(short):
        return texture
    return np.pad(texture, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
