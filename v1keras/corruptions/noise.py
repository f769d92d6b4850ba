"""Noise corruptions: Gaussian, shot, impulse and speckle noise.

Every function takes a uint8 batch (B, H, W, 3), the parameter of one severity from
`v1keras.corruptions.severities` and one random generator per image, and returns a
uint8 batch. Like the original benchmark, results are clipped and truncated (not
rounded) to whole grey levels.
"""

import functools
from collections.abc import Sequence

import numpy as np

Generators = Sequence[np.random.Generator]


def gaussian_noise(
    images: np.ndarray, scale: float, generators: Generators
) -> np.ndarray:
    """Adds normal noise; `scale` is its standard deviation, relative to 255."""
    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        noise = generator.standard_normal(image.shape, dtype=np.float32)
        noise *= np.float32(scale * 255)
        noise += image
        result[...] = np.clip(noise, 0, 255, out=noise)
    return corrupted


def speckle_noise(
    images: np.ndarray, scale: float, generators: Generators
) -> np.ndarray:
    """Multiplies by 1 + normal noise; `scale` is the standard deviation."""
    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        factor = generator.standard_normal(image.shape, dtype=np.float32)
        factor *= np.float32(scale)
        factor += 1
        factor *= image
        result[...] = np.clip(factor, 0, 255, out=factor)
    return corrupted


def impulse_noise(
    images: np.ndarray, amount: float, generators: Generators
) -> np.ndarray:
    """Sets a part `amount` of the values (not pixels) to 0 or 255, half each."""
    corrupted = images.copy()
    for result, generator in zip(corrupted, generators, strict=True):
        draw = generator.random(result.shape, dtype=np.float32)
        result[draw < amount] = 255
        result[draw < amount / 2] = 0
    return corrupted


def shot_noise(images: np.ndarray, rate: float, generators: Generators) -> np.ndarray:
    """Replaces values by Poisson counts; `rate` is the mean count of white.

    The grey level is `count / rate`, clipped at white. Counts are drawn by the alias
    method (Walker 1977): one uniform draw and two table look-ups a value.
    """
    probability, alias = _poisson_alias_tables(rate)
    columns = probability.shape[1]
    # All counts at or above `rate` are white, so there are rate + 1 outcomes.
    levels = np.minimum(np.arange(columns) / rate, 1) * 255
    levels = levels.astype(np.uint8)
    corrupted = np.empty_like(images)
    for image, result, generator in zip(images, corrupted, generators, strict=True):
        draw = generator.random(image.shape, dtype=np.float32)
        draw *= columns
        column = draw.astype(np.int32)
        # A 24-bit draw just below one can be rounded up by the product.
        np.minimum(column, columns - 1, out=column)
        draw -= column
        cell = image.astype(np.int32)
        cell *= columns
        cell += column
        kept = draw < probability.take(cell)
        result[...] = levels.take(np.where(kept, column, alias.take(cell)))
    return corrupted


@functools.lru_cache(maxsize=16)
def _poisson_alias_tables(rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Alias tables of min(Poisson(rate * level / 255), rate) for all 256 levels.

    Returns:
        A tuple `(probability, alias)`, both (256, rate + 1): in a uniformly drawn
        column, the column itself has this probability, else `alias` is the outcome.
    """
    from scipy import stats

    columns = int(np.ceil(rate)) + 1
    means = np.arange(256)[:, np.newaxis] / 255 * rate
    mass = stats.poisson.pmf(np.arange(columns), means)
    mass[:, -1] = stats.poisson.sf(columns - 2, means[:, 0])
    mass *= columns / mass.sum(axis=1, keepdims=True)

    probability = np.ones((256, columns), np.float32)
    alias = np.tile(np.arange(columns, dtype=np.int32), (256, 1))
    rows = np.arange(256)
    filled = np.zeros((256, columns), bool)
    # Robin Hood: the fullest column gives the emptiest one what it lacks.
    for _ in range(columns - 1):
        low = np.where(filled, np.inf, mass).argmin(axis=1)
        high = np.where(filled, -np.inf, mass).argmax(axis=1)
        probability[rows, low] = mass[rows, low]
        alias[rows, low] = high
        mass[rows, high] -= 1 - mass[rows, low]
        filled[rows, low] = True
    return probability, alias
