"""Batches as `tf.data` datasets, for TensorFlow."""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from v1keras.data.augment import AffineAugmentation
from v1keras.data.augmentations import Augmentation
from v1keras.data.mixing import Mixing
from v1keras.data.pipeline import (
    AUGMENT_STREAM,
    MIXING_STREAM,
    SHUFFLE_STREAM,
    batch_sizes,
)
from v1keras.data.splits import Split


def training_batches(
    split: Split,
    *,
    batch_size: int,
    drop_remainder: bool,
    augmentation: Augmentation | None,
    seed: int,
    start_epoch: int,
    views: int,
    mixing: Mixing | None,
    num_classes: int | None,
    teacher_logits: Sequence[np.ndarray] | None,
    replicas: int,
    own: range | None,
) -> tf.data.Dataset:
    """See `v1keras.data.training_batches`, which has checked the arguments."""
    sizes = batch_sizes(
        len(split), batch_size, replicas=replicas, drop_remainder=drop_remainder
    )
    is_fixed = drop_remainder and own is None
    read = _reader(split, batch_size if is_fixed else None)

    def show(indices, draws, mixing_seed, view):
        images, labels = read(indices)
        if augmentation is not None:
            images = augmentation.apply(images, draws)
        if mixing is not None:
            labels = tf.one_hot(labels, num_classes)
        targets = (labels,)
        if teacher_logits is not None:
            targets = (labels, _logits_of(teacher_logits, view, indices))
        if mixing is not None:
            images, targets = mixing(images, targets, mixing_seed)
        return images, targets if teacher_logits is not None else targets[0]

    parts = _parts(sizes, replicas, own)
    batches = _shuffled_batches(parts, len(split), seed, start_epoch, views)
    return _prefetched(batches, show)


def evaluation_batches(
    split: Split,
    *,
    batch_size: int,
    teacher_logits: np.ndarray | None,
    replicas: int,
    own: range | None,
) -> tf.data.Dataset:
    """See `v1keras.data.evaluation_batches`, which has checked the arguments."""
    sizes = batch_sizes(len(split), batch_size, replicas=replicas)
    read = _reader(split, None)

    def show(indices):
        images, labels = read(indices)
        if teacher_logits is None:
            return images, labels
        return images, (labels, _logits_of([teacher_logits], 0, indices))

    begins, ends, _ = _parts(sizes, replicas, own)
    order = tf.range(len(split), dtype=tf.int64)
    bounds = tf.data.Dataset.from_tensor_slices((begins, ends))
    return _prefetched(bounds.map(lambda begin, end: order[begin:end]), show)


def augmented_view(
    split: Split,
    view: int,
    *,
    batch_size: int,
    augmentation: Augmentation | None,
    seed: int,
) -> tf.data.Dataset:
    """See `v1keras.data.augmented_view`, which has checked the arguments."""
    draws = _view_draws(len(split), seed, tf.constant(view, tf.int64))
    order = tf.data.Dataset.from_tensor_slices((tf.range(len(split)), draws))
    read = _reader(split, None)

    def show(indices, draws):
        images, labels = read(indices)
        if augmentation is not None:
            images = augmentation.apply(images, draws)
        return images, labels

    return _prefetched(order.batch(batch_size), show)


def _reader(
    split: Split, fixed_size: int | None
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]:
    """A function from indices to float32 images and int32 labels."""
    size = split.image_size

    def read(indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # Python reads the batch, so that arrays in memory and files on disk go one
        # way, and no tensor of the whole data set ends up in the graph.
        images, labels = tf.numpy_function(
            lambda chosen: (np.asarray(split.images[chosen]), split.labels[chosen]),
            [indices],
            (tf.uint8, tf.int32),
            stateful=False,
        )
        images = tf.ensure_shape(images, (fixed_size, size, size, 3))
        return tf.cast(images, tf.float32), tf.ensure_shape(labels, (fixed_size,))

    return read


def _logits_of(
    logits: Sequence[np.ndarray], view: tf.Tensor, indices: tf.Tensor
) -> tf.Tensor:
    chosen = tf.numpy_function(
        lambda view, indices: logits[view][indices].astype(np.float32),
        [view, indices],
        tf.float32,
        stateful=False,
    )
    return tf.ensure_shape(chosen, (indices.shape[0], logits[0].shape[1]))


def _prefetched(batches: tf.data.Dataset, show: Callable) -> tf.data.Dataset:
    batches = batches.map(show, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    # Replicas get parts of each batch; there are no input files to divide.
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _parts(
    sizes: list[int], replicas: int, own: range | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where batches, or the parts of some replicas, begin and end, and their numbers."""
    ends = np.cumsum(sizes)
    begins = ends - sizes
    if own is None:
        return begins, ends, np.arange(len(sizes))
    shares = -(np.array(sizes) // -replicas)[:, None]  # rounded up; see `batch_sizes`
    firsts = begins[:, None] + shares * np.array(own)
    lasts = np.minimum(firsts + shares, ends[:, None])
    numbers = np.arange(len(sizes))[:, None] * replicas + np.array(own)
    return firsts.ravel(), lasts.ravel(), numbers.ravel()


def _shuffled_batches(
    parts: tuple[np.ndarray, ...], count: int, seed: int, start_epoch: int, views: int
) -> tf.data.Dataset:
    """Endless (indices, draws of augmentation, seed of mixing, view) of batches."""

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        view = epoch % views if views else epoch
        shuffle_seed = _fold_in(seed, SHUFFLE_STREAM, epoch)
        order = tf.random.experimental.stateless_shuffle(
            tf.range(count, dtype=tf.int64), shuffle_seed
        )
        draws = tf.gather(_view_draws(count, seed, view), order)
        mixing_seed = _fold_in(seed, MIXING_STREAM, epoch)
        return tf.data.Dataset.from_tensor_slices(parts).map(
            lambda begin, end, number: (
                order[begin:end],
                draws[begin:end],
                tf.random.experimental.stateless_fold_in(mixing_seed, number),
                view,
            )
        )

    return tf.data.Dataset.counter(start_epoch).flat_map(epoch_batches)


def _view_draws(count: int, seed: int, view: tf.Tensor) -> tf.Tensor:
    """The draws of augmentation of all images: the same for each view's number."""
    return tf.random.stateless_uniform(
        (count, AffineAugmentation.DRAWS), _fold_in(seed, AUGMENT_STREAM, view)
    )


def _fold_in(seed: int, stream: int, epoch: tf.Tensor) -> tf.Tensor:
    base = tf.constant([seed, stream], tf.int64)
    return tf.random.experimental.stateless_fold_in(base, epoch)
