"""Weather corruptions: snow, frost, fog, brightness and spatter.

Every function takes a uint8 batch (B, H, W, 3), the parameters of one severity from
`v1keras.corruptions.severities` and one random generator per image (none where a
corruption is deterministic), and returns a uint8 batch, truncated like the original
benchmark's.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from v1keras.corruptions.blur import clipped_zoom, motion_filter, smooth

Generators = Sequence[np.random.Generator]


def snow(
    images: np.ndarray,
    parameters: tuple[float, float, float, float, int, float, float],
    generators: Generators,
) -> np.ndarray:
    """Whitens the image and adds falling flakes, once upright and once turned.

    `parameters` are mean, standard deviation, enlargement and threshold of the
    noise from which the flakes are cut, radius and standard deviation of their
    motion blur in pixels, and the weight of the unwhitened image.
    """
    mean, deviation, zoom, threshold, radius, sigma, weight = parameters
    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        flakes = generator.standard_normal(image.shape[:2], dtype=np.float32)
        flakes *= np.float32(deviation)
        flakes += np.float32(mean)
        flakes = clipped_zoom(flakes, zoom)
        flakes[flakes < threshold] = 0
        flakes = (np.clip(flakes, 0, 1) * 255).astype(np.uint8)
        flakes = motion_filter(flakes, radius, sigma, generator.uniform(-135, -45))
        flakes = flakes.astype(np.float32)
        flakes += flakes[::-1, ::-1].copy()

        image = image.astype(np.float32)
        white = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        white *= 1.5
        white += 0.5 * 255
        snowy = np.maximum(image, white[..., np.newaxis])
        snowy *= 1 - weight
        image *= weight
        snowy += image
        snowy += flakes[..., np.newaxis]
        result[...] = np.minimum(snowy, 255, out=snowy)
    return corrupted


def frost(
    images: np.ndarray,
    parameters: tuple[float, float],
    generators: Generators,
    textures: Sequence[np.ndarray],
) -> np.ndarray:
    """Mixes the image with a random part of a texture of ice.

    `parameters` are the weights of the image and of the ice. The published textures
    are photographs; `textures` are ours (`v1keras.corruptions.ice`) or the user's.
    """
    image_weight, ice_weight = parameters
    height, width = images.shape[1:3]
    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        texture = textures[generator.integers(len(textures))]
        top = generator.integers(texture.shape[0] - height + 1)
        left = generator.integers(texture.shape[1] - width + 1)
        ice = texture[top : top + height, left : left + width]
        frosted = image * np.float32(image_weight) + ice * np.float32(ice_weight)
        result[...] = np.minimum(frosted, 255, out=frosted)
    return corrupted


def fog(
    images: np.ndarray, parameters: tuple[float, float], generators: Generators
) -> np.ndarray:
    """Adds a plasma fractal and rescales to the brightest value of the image.

    `parameters` are the strength of the fog and the factor by which its roughness
    falls from one scale to the next.
    """
    strength, decay = parameters
    corrupted = np.empty_like(images)
    height, width = images.shape[1:3]
    plasma = _plasma_fractals(max(height, width), decay, generators)
    plasma = plasma[:, :height, :width, np.newaxis]
    for image, cloud, result in zip(images, plasma, corrupted, strict=True):
        brightest = image.max() / 255
        foggy = image + cloud * np.float32(strength * 255)
        foggy *= np.float32(brightest / (brightest + strength))
        result[...] = np.minimum(foggy, 255, out=foggy)
    return corrupted


def _plasma_fractals(size: int, decay: float, generators: Generators) -> np.ndarray:
    """Height maps of the diamond-square algorithm, one for each generator.

    The maps are periodic; at each scale the centres of squares and then those of
    diamonds become the mean of their four neighbours plus uniform noise, whose
    amplitude is the square of a number that is divided by `decay` at each scale.

    Returns:
        Array (B, N, N) in 0..1, float32; N is the power of two at or above `size`.
    """
    size = 1 << (size - 1).bit_length()
    maps = np.zeros((len(generators), size, size), np.float32)
    # Three of the four points of each square are new at its scale.
    noise = np.empty((len(generators), size * size - 1), np.float32)
    for row, generator in zip(noise, generators, strict=True):
        generator.random(out=row, dtype=np.float32)
    noise *= 2
    noise -= 1

    used = 0
    step, wobble = size, 100.0
    while step >= 2:
        half = step // 2
        count = size // step
        amplitude = np.float32(wobble**2)
        corners = maps[:, ::step, ::step]
        shape = (3, len(generators), count, count)
        area = count * count
        wobbles = noise[:, used : used + 3 * area].reshape(-1, 3, count, count)
        used += 3 * area
        wobbles = np.moveaxis(wobbles, 1, 0).reshape(shape) * amplitude

        beside = corners + np.roll(corners, -1, axis=1)
        squares = (beside + np.roll(beside, -1, axis=2)) / 4 + wobbles[0]
        maps[:, half::step, half::step] = squares
        across = corners + np.roll(corners, -1, axis=2)
        across += squares + np.roll(squares, 1, axis=1)
        maps[:, ::step, half::step] = across / 4 + wobbles[1]
        down = corners + np.roll(corners, -1, axis=1)
        down += squares + np.roll(squares, 1, axis=2)
        maps[:, half::step, ::step] = down / 4 + wobbles[2]
        step, wobble = half, wobble / decay
    maps -= maps.min(axis=(1, 2), keepdims=True)
    maps /= maps.max(axis=(1, 2), keepdims=True)
    return maps


def brightness(images: np.ndarray, shift: float, generators: Generators) -> np.ndarray:
    """Adds `shift` (relative to 255) to the value in HSV; hue and saturation stay."""
    levels = np.arange(256) / 255
    brighter = np.clip(levels + shift, 0, 1) * 255
    ratios = brighter / np.maximum(np.arange(256), 1)
    corrupted = np.empty_like(images)
    for image, result in zip(images, corrupted, strict=True):
        value = image.max(axis=-1)
        scaled = image * ratios[value][..., np.newaxis]
        scaled[value == 0] = brighter[0]
        result[...] = scaled
    return corrupted


def spatter(
    images: np.ndarray,
    parameters: tuple[float, float, float, float, float, int],
    generators: Generators,
) -> np.ndarray:
    """Splashes of water or mud on the lens.

    `parameters` are mean, standard deviation, smoothing (in pixels) and threshold of
    the noise from which the drops are cut, the strength of the water (or the
    smoothing of the mud, in pixels), and 0 for water or 1 for mud.
    """
    mean, deviation, sigma, threshold, strength, is_mud = parameters
    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        liquid = generator.standard_normal(image.shape[:2], dtype=np.float32)
        liquid = smooth(liquid * np.float32(deviation) + np.float32(mean), sigma)
        liquid[liquid < threshold] = 0
        if is_mud:
            result[...] = _mud(image, liquid > threshold, strength)
        else:
            result[...] = _water(image, liquid, strength)
    return corrupted


_WATER = np.float32([175, 238, 238])
_MUD = np.float32([63, 42, 20])


def _water(image: np.ndarray, liquid: np.ndarray, strength: float) -> np.ndarray:
    """Adds pale turquoise drops that are lit from one side."""
    liquid = (liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    distance = cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8)
    distance = cv2.equalizeHist(distance)
    relief = np.float32([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = cv2.blur(cv2.filter2D(distance, cv2.CV_8U, relief), (3, 3))
    drops = liquid.astype(np.float32) * lit
    drops *= strength / max(drops.max(), 1.0)
    return np.minimum(image + drops[..., np.newaxis] * _WATER, 255)


def _mud(image: np.ndarray, liquid: np.ndarray, sigma: float) -> np.ndarray:
    """Covers the image with brown."""
    cover = smooth(liquid.astype(np.float32), sigma)
    cover[cover < 0.8] = 0
    cover = cover[..., np.newaxis]
    return np.minimum(image * (1 - cover) + cover * _MUD, 255)
