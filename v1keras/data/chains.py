"""What augmentations by mixed chains of transformations share."""

from collections.abc import Sequence

import tensorflow as tf

_LENGTH_STREAM, _WEIGHT_STREAM, _SHARE_STREAM = 2000, 2001, 2002


def image_seeds(unit: tf.Tensor) -> tf.Tensor:
    """Seeds of further draws from the first two random numbers of each image.

    Args:
        unit: float32 tensor (B, at least 2). Uniform on [0, 1).

    Returns:
        int32 tensor (B, 2), the bits of those numbers.
    """
    return tf.bitcast(tf.cast(unit[:, :2], tf.float32), tf.int32)


def uniform(seeds: tf.Tensor, count: int, stream: int) -> tf.Tensor:
    """Uniform draws (B, count) on [0, 1), those of an image by its seed."""
    return _draws(tf.random.stateless_uniform, seeds, count, 2 * stream)


def normal(seeds: tf.Tensor, count: int, stream: int) -> tf.Tensor:
    """Standard normal draws (B, count), those of an image by its seed.

    They are independent of the uniform draws of the same stream.
    """
    return _draws(tf.random.stateless_normal, seeds, count, 2 * stream + 1)


def _draws(generator, seeds: tf.Tensor, count: int, stream: int) -> tf.Tensor:
    offset = tf.constant([0, stream])
    return tf.map_fn(
        lambda seed: generator((count,), seed + offset),
        seeds,
        # A group of images may be empty: its draws have a shape all the same.
        fn_output_signature=tf.TensorSpec((count,), tf.float32),
    )


def chain_lengths(seeds: tf.Tensor, width: int, depth: int) -> tf.Tensor:
    """How many transformations each chain has: int32 (B, width), 1 to `depth`."""
    unit = uniform(seeds, width, _LENGTH_STREAM)
    return 1 + tf.cast(unit * depth, tf.int32)


def mix_chains(
    images: tf.Tensor, chains: Sequence[tf.Tensor], seeds: tf.Tensor
) -> tf.Tensor:
    """Mixes the results of chains, and the mixture with the images themselves.

    The weights of the chains are uniform on the simplex (Dirichlet with parameters 1),
    the share of the mixture is uniform on [0, 1] (Hendrycks et al. 2020, "AugMix",
    arXiv 1912.02781).

    Args:
        images: float32 tensor (B, H, W, C).
        chains: sequence of tensors of that shape.
        seeds: int32 tensor (B, 2).

    Returns:
        Tensor of that shape.
    """
    # Exponential variates, normalised, are uniform on the simplex.
    weights = -tf.math.log(1.0 - uniform(seeds, len(chains), _WEIGHT_STREAM))
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    share = uniform(seeds, 1, _SHARE_STREAM)
    weights = (share * weights)[:, :, None, None, None]
    mixture = tf.add_n([weights[:, n] * chain for n, chain in enumerate(chains)])
    return (1.0 - share)[:, :, None, None] * images + mixture
