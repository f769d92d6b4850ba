"""Batches for training and evaluation, as `tf.data` datasets."""

import math

import numpy as np
import tensorflow as tf

from v1keras.data.augment import AffineAugmentation, get_augmentation
from v1keras.data.datasets import Split

# Independent streams are derived from one seed.
_SHUFFLE_STREAM, _AUGMENT_STREAM = 0, 1


def steps_per_epoch(
    count: int, batch_size: int, *, drop_remainder: bool = False
) -> int:
    """The number of batches that `count` images make.

    Args:
        count: int. The number of images.
        batch_size: int.
        drop_remainder: bool. Whether a smaller last batch is left out. Defaults to
            `False`.

    Returns:
        int.
    """
    return count // batch_size if drop_remainder else math.ceil(count / batch_size)


def pipeline(
    split: Split,
    *,
    batch_size: int,
    training: bool = False,
    augment: str | AffineAugmentation | None = None,
    seed: int = 0,
    drop_remainder: bool = False,
    start_epoch: int = 0,
) -> tf.data.Dataset:
    """Batches of a split.

    For evaluation it is one pass in the order of the split. For training it is
    **endless**: every epoch shows each image once, in an order and with an augmentation
    that depend on `seed` and the number of the epoch only. So a training that is
    resumed with `start_epoch=k` sees what it would have seen without the break, and
    `fit` must be told where an epoch ends by `steps_per_epoch`.

    Args:
        split: `Split`.
        batch_size: int. Images in a batch (all replicas together).
        training: bool. Whether to shuffle and repeat. Defaults to `False`.
        augment: str, `AffineAugmentation` or None. "paper", "none" or an augmentation
            of your own; for training only. Defaults to `None`.
        seed: int. Not negative. Defaults to `0`.
        drop_remainder: bool. Whether a smaller last batch is left out. Defaults to
            `False`.
        start_epoch: int. The epoch that training begins with, from 0. Defaults to `0`.

    Returns:
        A `tf.data.Dataset` of (float32 RGB 0..255 (B, S, S, 3), int32 (B,)).

    Raises:
        ValueError: if an argument is out of its range.

    Example:

    >>> train = load_dataset("shapes").split("train")
    >>> batches = pipeline(train, batch_size=64, training=True, augment="paper")
    >>> model.fit(
    ...     batches, epochs=10, steps_per_epoch=steps_per_epoch(len(train), 64)
    ... )
    """
    augmentation = get_augmentation(augment)
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be positive. Received: batch_size={batch_size}"
        )
    if seed < 0 or start_epoch < 0:
        raise ValueError(
            "`seed` and `start_epoch` must not be negative. "
            f"Received: seed={seed}, start_epoch={start_epoch}"
        )
    if augmentation is not None and not training:
        raise ValueError(
            "`augment` is for training; evaluation shows images as they are. "
            f"Received: augment={augment!r} with training=False"
        )
    if drop_remainder and batch_size > len(split):
        raise ValueError(
            f"`batch_size` must not exceed the {len(split)} images of the split "
            f"{split.name!r} when smaller batches are dropped. "
            f"Received: batch_size={batch_size}"
        )
    if training:
        batches = _shuffled_batches(
            len(split), batch_size, seed, drop_remainder, start_epoch
        )
    else:
        order = tf.data.Dataset.range(len(split))
        batches = order.batch(batch_size, drop_remainder=drop_remainder)
        batches = batches.map(lambda indices: (indices, tf.zeros(2, tf.int32)))
    fixed_size = batch_size if drop_remainder else None

    def read(indices: tf.Tensor, batch_seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Python reads the batch, so that arrays in memory and files on disk go one
        # way, and no tensor of the whole data set ends up in the graph.
        images, labels = tf.numpy_function(
            lambda chosen: (np.asarray(split.images[chosen]), split.labels[chosen]),
            [indices],
            (tf.uint8, tf.int32),
            stateful=False,
        )
        size = split.image_size
        images = tf.cast(
            tf.ensure_shape(images, (fixed_size, size, size, 3)), tf.float32
        )
        labels = tf.ensure_shape(labels, (fixed_size,))
        if augmentation is not None:
            images = augmentation(images, batch_seed)
        return images, labels

    batches = batches.map(read, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # Replicas get parts of each batch; there are no input files to divide.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _shuffled_batches(
    count: int, batch_size: int, seed: int, drop_remainder: bool, start_epoch: int
) -> tf.data.Dataset:
    """Endless (indices, seed of the batch), epoch after epoch."""

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        shuffle_seed = _fold_in(seed, _SHUFFLE_STREAM, epoch)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), shuffle_seed
        )
        order = tf.data.Dataset.from_tensor_slices(order)
        batches = order.batch(batch_size, drop_remainder=drop_remainder)
        augment_seed = _fold_in(seed, _AUGMENT_STREAM, epoch)
        return batches.enumerate().map(
            lambda step, indices: (
                indices,
                tf.random.experimental.stateless_fold_in(augment_seed, step),
            )
        )

    return tf.data.Dataset.counter(start_epoch).flat_map(epoch_batches)


def _fold_in(seed: int, stream: int, epoch: tf.Tensor) -> tf.Tensor:
    base = tf.constant([seed, stream], tf.int64)
    return tf.random.experimental.stateless_fold_in(base, epoch)
