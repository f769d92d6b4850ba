"""Textures of ice for the frost corruption, made here or read from a folder.

The published benchmark mixes images with photographs of frosted glass. We may not
distribute these, so textures are generated: crumpled noise whose grey levels and
colours are those that were measured on the photographs, and whose power in each octave
was fitted to their gradients and local contrast.
"""

import dataclasses
import functools
from pathlib import Path

import cv2
import numpy as np

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")
_SHAPE = (512, 768)
# Photographs of ice are shrunk by this factor for images of 64 px, as published.
_SHRINK = {"imagenet": 1.0, "tiny": 0.3}


@dataclasses.dataclass(frozen=True)
class _Ice:
    """What one kind of ice looks like.

    Attributes:
        mean: grey level of red, green and blue.
        deviation: standard deviation of red, green and blue, in grey levels.
        amplitudes: root of the relative power in each octave of spatial frequency,
            from below 1/256 up to above 1/2 cycles per pixel.
        quantiles: of the luminance in standard deviations, at `_LEVELS`.
        tints: for red, green and blue, by which angle (degrees) the channel turns
            from the luminance to a second, smooth field.
    """

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    amplitudes: tuple[float, ...]
    quantiles: tuple[float, ...]
    tints: tuple[float, float, float] = (0.0, 0.0, 0.0)


_LEVELS = (0, 0.5, 5, 20, 35, 50, 65, 80, 95, 99.5, 100)
_WHITE = _Ice(
    mean=(200.8, 205.4, 214.5),
    deviation=(21.4, 22.1, 22.6),
    amplitudes=(0.528, 0.215, 0.198, 0.261, 0.347, 0.290, 0.300, 0.280, 0.058),
    quantiles=(-5, -3.49, -1.86, -0.75, -0.22, 0.16, 0.48, 0.84, 1.34, 1.86, 2.1),
)
# Two of the five published photographs are one and the same.
_KINDS = (
    _Ice(
        mean=(77.7, 149.1, 165.7),
        deviation=(26.9, 16.5, 15.3),
        amplitudes=(0.682, 0.385, 0.230, 0.223, 0.167, 0.222, 0.333, 0.405, 0.100),
        quantiles=(-3, -1.98, -1.49, -0.88, -0.47, -0.1, 0.31, 0.83, 1.81, 2.88, 4),
        tints=(-33.0, 2.0, 23.0),
    ),
    _WHITE,
    _WHITE,
    _Ice(
        mean=(137.6, 152.8, 165.2),
        deviation=(28.5, 28.5, 29.9),
        amplitudes=(0.454, 0.151, 0.130, 0.204, 0.270, 0.254, 0.339, 0.283, 0.063),
        quantiles=(-5, -2.78, -1.66, -0.77, -0.34, 0, 0.35, 0.74, 1.62, 3.18, 4),
    ),
    _Ice(
        mean=(112.4, 123.4, 134.8),
        deviation=(44.4, 43.3, 41.7),
        amplitudes=(0.533, 0.181, 0.232, 0.319, 0.322, 0.294, 0.304, 0.283, 0.130),
        quantiles=(-2.5, -1.9, -1.47, -0.88, -0.48, -0.1, 0.31, 0.82, 1.85, 2.86, 3.4),
    ),
)


@functools.lru_cache(maxsize=2)
def ice_textures(scale: str) -> tuple[np.ndarray, ...]:
    """Our own textures of ice, the same in every process.

    Args:
        scale: str. `"imagenet"`, or `"tiny"` for the same ice at 0.3 of the size.

    Returns:
        Tuple of five RGB arrays, uint8.
    """
    return tuple(
        _shrunk(_texture(kind, number), scale) for number, kind in enumerate(_KINDS)
    )


def _shrunk(texture: np.ndarray, scale: str) -> np.ndarray:
    factor = _SHRINK[scale]
    return cv2.resize(texture, (0, 0), fx=factor, fy=factor)


@functools.lru_cache(maxsize=len(_KINDS))
def _texture(kind: _Ice, number: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(number))
    octaves = _octaves()
    noise = np.fft.rfft2(generator.standard_normal(_SHAPE))

    # Ridges at all scales have the phases of crumpled edges ...
    crumpled = np.zeros(_SHAPE)
    for octave in range(2, 8):
        band = np.fft.irfft2(noise * (octaves == octave), _SHAPE)
        crumpled -= np.abs(band / band.std()) / 2 ** (octave / 2)
    # ... and get the power of the kind of ice, octave by octave.
    spectrum = np.fft.rfft2(crumpled)
    spectrum[0, 0] = 0
    shaped = np.zeros(_SHAPE)
    for octave, amplitude in enumerate(kind.amplitudes):
        band = np.fft.irfft2(spectrum * (octaves == octave), _SHAPE)
        shaped += amplitude * band / max(band.std(), 1e-12)
    luminance = np.interp(shaped, np.percentile(shaped, _LEVELS), kind.quantiles)
    smooth = np.fft.irfft2(noise * (octaves == 1), _SHAPE)
    smooth /= smooth.std()

    tints = np.deg2rad(kind.tints)
    channels = luminance[..., np.newaxis] * np.cos(tints)
    channels += smooth[..., np.newaxis] * np.sin(tints)
    texture = kind.mean + channels * kind.deviation
    return np.clip(np.rint(texture), 0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=1)
def _octaves() -> np.ndarray:
    """The octave 0..8 of every spatial frequency of a texture's spectrum."""
    height, width = _SHAPE
    rows = np.fft.fftfreq(height)[:, np.newaxis]
    frequency = np.hypot(rows, np.fft.rfftfreq(width))
    return np.digitize(frequency, 2.0 ** np.arange(-8, 0))


@functools.lru_cache(maxsize=4)
def load_textures(folder: str, scale: str) -> tuple[np.ndarray, ...]:
    """Reads all images of a folder as textures.

    Args:
        folder: str. A folder of PNG, JPEG or BMP files.
        scale: str. `"imagenet"`, or `"tiny"` to shrink them to 0.3 of their size.

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
            "`frost_textures` must be a folder with PNG, JPEG or BMP images. "
            f"Received: frost_textures={folder}"
        )
    textures = []
    for path in paths:
        try:
            texture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        except cv2.error:  # as of a damaged header
            texture = None
        if texture is None:
            raise ValueError(
                "`frost_textures` must hold readable images. "
                f"Received: frost_textures={path}"
            )
        textures.append(_shrunk(cv2.cvtColor(texture, cv2.COLOR_BGR2RGB), scale))
    return tuple(textures)


def covering(texture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Repeats a texture, mirrored, where it is smaller than the image."""
    short = (max(height - texture.shape[0], 0), max(width - texture.shape[1], 0))
    if not any(short):
        return texture
    return np.pad(texture, ((0, short[0]), (0, short[1]), (0, 0)), mode="symmetric")
