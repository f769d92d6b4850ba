"""PRIME: random mixtures of spectral, spatial and colour primitives."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf

from v1keras.data.chains import chain_lengths, image_seeds, mix_chains, normal, uniform

_GREY_LEVELS = 256
# The fewest modes of a displacement: the logarithm of one is zero.
_FEWEST_MODES = 2
# Draws of the primitives have the number of their place in the chains.
_CHOICE_STREAM = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrimeAugmentation:
    """Mixtures of maximum-entropy primitives, drawn for each image.

    Modas et al. 2022, "PRIME: A Few Primitives Can Boost Robustness to Common
    Corruptions" (ECCV, arXiv 2112.13547). Each image goes through `width` chains of one
    to `depth` primitives: a random filter, a random smooth displacement of its pixels
    (Petrini et al. 2021) or a random smooth map of its grey levels. The chains are
    mixed by random weights, and the mixture with the image itself. None of the
    primitives is a corruption of the benchmark. The defaults are those published for
    ImageNet; the consistency loss of the paper is not part of it.

    Args:
        width: int. The number of chains. Defaults to `3`.
        depth: int. The most primitives in a chain. Defaults to `3`.
        filter_size: int. Height and width of the random filters, in pixels, odd.
            Defaults to `3`.
        filter_strength: float. Greatest standard deviation of a filter's weights around
            the filter that changes nothing. Defaults to `4.0`.
        color_frequencies: int. The most half-periods of a colour map over the range of
            grey levels. Defaults to `500`.
        color_bandwidth: int. How many neighbouring frequencies make one colour map.
            Defaults to `20`.
        color_strength: float. Greatest variance of a colour map's coefficients, where
            grey levels lie in [0, 1]. Defaults to `0.05`.

    Raises:
        ValueError: if a value is out of range.

    Example:

    >>> augment = v1keras.data.PrimeAugmentation(width=2)
    >>> augment.apply(np.zeros((8, 32, 32, 3), "float32"), np.ones((8, 5))).shape
    TensorShape([8, 32, 32, 3])
    """

    DRAWS: ClassVar[int] = 2
    """How many random numbers one image takes; the rest derives from them."""

    width: int = 3
    depth: int = 3
    filter_size: int = 3
    filter_strength: float = 4.0
    color_frequencies: int = 500
    color_bandwidth: int = 20
    color_strength: float = 0.05

    def __post_init__(self) -> None:
        for name in ("width", "depth", "color_bandwidth"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"`{name}` must be at least 1. Received: "
                    f"{name}={getattr(self, name)}"
                )
        if self.filter_size < 1 or self.filter_size % 2 == 0:
            raise ValueError(
                "`filter_size` must be a positive odd number. "
                f"Received: filter_size={self.filter_size}"
            )
        if self.color_frequencies < self.color_bandwidth:
            raise ValueError(
                "`color_frequencies` must be at least `color_bandwidth`. Received: "
                f"color_frequencies={self.color_frequencies}, "
                f"color_bandwidth={self.color_bandwidth}"
            )
        if min(self.filter_strength, self.color_strength) < 0:
            raise ValueError(
                "`filter_strength` and `color_strength` must be at least 0. Received: "
                f"filter_strength={self.filter_strength}, "
                f"color_strength={self.color_strength}"
            )

    def apply(self, images: tf.Tensor, unit: tf.Tensor) -> tf.Tensor:
        """Augments a batch by given draws, those of an image in each row.

        Args:
            images: float32 tensor (B, H, W, 3), 0..255, of known height and width.
            unit: float32 tensor (B, at least `DRAWS`). Uniform on [0, 1).

        Returns:
            float32 tensor (B, H, W, 3), 0..255.
        """
        seeds = image_seeds(unit)
        images = images / 255.0
        primitives = (self._filtered, self._displaced, self._recolored)
        lengths = chain_lengths(seeds, self.width, self.depth)
        choices = uniform(seeds, self.width * self.depth, _CHOICE_STREAM)
        choices = tf.cast(choices * len(primitives), tf.int32)
        chains = []
        for chain in range(self.width):
            result = images
            for step in range(self.depth):
                place = chain * self.depth + step
                active = step < lengths[:, chain]
                chosen = tf.where(active, choices[:, place], len(primitives))
                result = _apply_chosen(primitives, chosen, result, seeds, place)
            chains.append(result)
        return 255.0 * mix_chains(images, chains, seeds)

    def _filtered(self, images, seeds, place: int):
        """Random filters, one for each image."""
        size = self.filter_size
        draws = normal(seeds, size**2, place)
        strength = self.filter_strength * uniform(seeds, 1, place)
        kernels = tf.reshape(strength * draws, (-1, size, size))
        kernels += np.pad([[1.0]], size // 2).astype(np.float32)
        half = size // 2
        padded = tf.pad(images, [[0, 0], [half, half], [half, half], [0, 0]])
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        filtered = tf.add_n(
            [
                kernels[:, y, x, None, None, None]
                * padded[:, y : y + height, x : x + width]
                for y in range(size)
                for x in range(size)
            ]
        )
        return tf.clip_by_value(filtered, 0.0, 1.0)

    def _recolored(self, images, seeds, place: int):
        """Random smooth maps of grey levels, one for each image and colour."""
        unit = uniform(seeds, 3, place)
        # The highest frequency is drawn first, the band below it.
        highest = 1.0 + tf.floor(unit[:, 0] * self.color_frequencies)
        lowest = 1.0 + tf.floor(unit[:, 1] * highest)
        frequencies = lowest[:, None] + tf.range(self.color_bandwidth, dtype=tf.float32)
        used = tf.cast(frequencies <= highest[:, None], tf.float32)
        levels = tf.linspace(0.0, 1.0, _GREY_LEVELS)
        waves = tf.sin(math.pi * frequencies[:, :, None] * levels)
        draws = tf.reshape(
            normal(seeds, 3 * self.color_bandwidth, place),
            (-1, 3, self.color_bandwidth),
        )
        deviation = tf.sqrt(self.color_strength * unit[:, 2, None, None])
        maps = levels + tf.matmul(deviation * draws * used[:, None, :], waves)
        maps = tf.reshape(tf.clip_by_value(maps, 0.0, 1.0), (-1, 3 * _GREY_LEVELS))
        index = tf.cast(tf.round(images * (_GREY_LEVELS - 1)), tf.int32)
        index += _GREY_LEVELS * tf.range(3)
        flat = tf.gather(
            maps, tf.reshape(index, (tf.shape(images)[0], -1)), axis=1, batch_dims=1
        )
        return tf.reshape(flat, tf.shape(images))

    def _displaced(self, images, seeds, place: int):
        """Random smooth displacements of the pixels, one for each image.

        Their strength lies between a typical displacement of half a pixel and the
        strongest that folds no part of the image over another.
        """
        height, width = images.shape[1:3]
        side = max(height, width)
        # With more modes, even displacements of half a pixel fold the image.
        most = max(int(2 * side / math.pi), _FEWEST_MODES)
        unit = uniform(seeds, 2, place)
        modes = _FEWEST_MODES + tf.floor(unit[:, 0] * (most - _FEWEST_MODES + 1))
        log = tf.math.log(modes)
        weakest = 1.0 / (math.pi * side**2 * log)
        strongest = tf.maximum(4.0 / (math.pi**3 * modes**2 * log), weakest)
        temperature = weakest + unit[:, 1] * (strongest - weakest)

        number = np.arange(1, most + 1, dtype=np.float32)
        radius = np.hypot(number[:, np.newaxis], number)
        kept = tf.cast(radius < modes[:, None, None] + 0.5, tf.float32)
        amplitudes = tf.sqrt(temperature)[:, None, None] * kept / radius
        draws = tf.reshape(normal(seeds, 2 * most**2, place), (-1, 2, most, most))
        rows, columns = (
            np.sin(np.pi * np.linspace(0, 1, pixels)[:, np.newaxis] * number).astype(
                np.float32
            )
            for pixels in (height, width)
        )
        field = tf.einsum(
            "yi,bdij,xj->byxd", rows, draws * amplitudes[:, None], columns
        )
        return _sampled_at(images, side * field)


def _apply_chosen(
    primitives: Sequence[Callable], chosen: tf.Tensor, images, seeds, place: int
) -> tf.Tensor:
    """Applies to each image the primitive of its number, or none beyond them.

    Each primitive computes its own images only.
    """
    order = tf.argsort(chosen, stable=True)
    counts = tf.math.bincount(
        chosen, minlength=len(primitives) + 1, maxlength=len(primitives) + 1
    )
    groups = [
        (tf.gather(images, index), tf.gather(seeds, index))
        for index in tf.split(order, counts, num=len(primitives) + 1)
    ]
    results = [f(*group, place) for f, group in zip(primitives, groups, strict=False)]
    results.append(groups[-1][0])
    return tf.gather(tf.concat(results, axis=0), tf.argsort(order))


def _sampled_at(images: tf.Tensor, displacement: tf.Tensor) -> tf.Tensor:
    """Images at displaced pixels (rows, columns), bilinearly, borders repeated."""
    shape = tf.shape(images)
    count, height, width = shape[0], shape[1], shape[2]

    def placed(moved, pixels):
        limit = tf.cast(pixels - 1, tf.float32)
        place = tf.clip_by_value(moved, 0.0, limit)
        first = tf.clip_by_value(tf.floor(place), 0.0, tf.maximum(limit - 1.0, 0.0))
        near = tf.cast(first, tf.int32)
        return near, tf.minimum(near + 1, pixels - 1), (place - first)[..., None]

    lines = tf.range(height, dtype=tf.float32)[:, None]
    rows, next_rows, down = placed(lines - displacement[..., 0], height)
    lines = tf.range(width, dtype=tf.float32)
    columns, next_columns, right = placed(lines - displacement[..., 1], width)
    flat = tf.reshape(images, (count, height * width, -1))

    def pixels(y, x):
        place = tf.reshape(y * width + x, (count, height * width))
        return tf.reshape(tf.gather(flat, place, batch_dims=1), shape)

    upper = pixels(rows, columns)
    upper += right * (pixels(rows, next_columns) - upper)
    lower = pixels(next_rows, columns)
    lower += right * (pixels(next_rows, next_columns) - lower)
    return upper + down * (lower - upper)
