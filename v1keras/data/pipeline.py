"""Batches for training and evaluation.

TensorFlow is given `tf.data` datasets. JAX and PyTorch are given the same batches as
`keras.utils.PyDataset` of NumPy arrays.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from v1keras.data.augmentations import Augmentation, get_augmentation
from v1keras.data.splits import Split
from v1keras.hardware import uses_tensorflow

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from v1keras.data.mixing import Mixing

# Independent streams of random numbers are derived from one seed.
SHUFFLE_STREAM, AUGMENT_STREAM, MIXING_STREAM = 0, 1, 2


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


def batch_sizes(
    count: int, batch_size: int, *, replicas: int = 1, drop_remainder: bool = False
) -> list[int]:
    """The sizes of the batches that `count` images make.

    A distribution strategy hands out rounded-up shares of a batch, so that the last
    replicas may get nothing of a small one, and statistics over no images are not
    numbers. Where that would happen, the last batch takes one image from each of a few
    batches before it.

    Args:
        count: int. The number of images.
        batch_size: int. Images in a batch (all replicas together).
        replicas: int. Defaults to `1`.
        drop_remainder: bool. Whether a smaller last batch is left out. Defaults to
            `False`.

    Returns:
        list of int, `steps_per_epoch` of them.

    Raises:
        ValueError: if a replica would be left without images all the same.

    Example:

    >>> from v1keras.data import batch_sizes
    >>> batch_sizes(129, 64)
    [64, 64, 1]
    >>> batch_sizes(129, 64, replicas=2)
    [64, 63, 2]
    """

    def serves_all(size: int) -> bool:
        return math.ceil(size / replicas) * (replicas - 1) < size

    sizes = [batch_size] * (count // batch_size)
    last = count % batch_size
    if drop_remainder or not last:
        last = sizes.pop() if sizes else batch_size
    # With a multiple of the replicas, which is at most so far away, all are served.
    for moved in range(min(replicas, len(sizes) + 1)):
        shorter = [batch_size - 1] * moved
        whole = sizes[moved:]
        if all(map(serves_all, (*whole[:1], *shorter[:1], last + moved))):
            return [*whole, *shorter, last + moved]
    raise ValueError(
        f"`batch_size` must let all {replicas} replicas have images of each batch. "
        f"Received: batch_size={batch_size} for {count} images; try a multiple of "
        f"{replicas}"
    )


def training_batches(
    split: Split,
    *,
    batch_size: int,
    augment: str | Augmentation | None = None,
    seed: int = 0,
    drop_remainder: bool = False,
    start_epoch: int = 0,
    views: int = 0,
    mixing: Mixing | None = None,
    num_classes: int | None = None,
    teacher_logits: Sequence[np.ndarray] | None = None,
    replicas: int = 1,
    own: range | None = None,
) -> tf.data.Dataset | keras.utils.PyDataset:
    """**Endless** shuffled and augmented batches of a split.

    Every epoch shows each image once, in an order that depends on `seed` and the number
    of the epoch only, and with an augmentation that depends on `seed`, the image and
    its view: the number of the epoch, or that modulo `views`. So a training that is
    resumed with `start_epoch=k` sees what it would have seen without the break, and
    `fit` must be told where an epoch ends by `steps_per_epoch`.

    Args:
        split: `Split`.
        batch_size: int. Images in a batch (all replicas together).
        augment: str, `Augmentation` or None. A name of `AUGMENTATIONS` or an
            augmentation of your own. Defaults to `None`.
        seed: int. Not negative. Defaults to `0`.
        drop_remainder: bool. Whether a smaller last batch is left out. Defaults to
            `False`.
        start_epoch: int. The epoch that training begins with, from 0. Defaults to `0`.
        views: int. How many augmented views there are of each image; `augmented_view`
            gives them one by one. 0 for a new one in each epoch. Defaults to `0`.
        mixing: `Mixing` or None. Mixes images and their targets. Labels become
            distributions, float32 (B, num_classes). Defaults to `None`.
        num_classes: int or None. Needed for `mixing` only.
        teacher_logits: sequence of arrays (n, classes) or None. A teacher's logits for
            each view of each image; labels then come with those of the batch. Defaults
            to `None`.
        replicas: int. Replicas of the distribution strategy; see `batch_sizes`.
            Defaults to `1`.
        own: range or None. The numbers of the replicas that this process feeds: only
            their parts of each batch are read. They come one by one in turn, and images
            are mixed within a part; on JAX they come as one. By default batches are
            whole.

    Returns:
        A `tf.data.Dataset` of (float32 RGB 0..255 (B, S, S, 3), labels int32 (B,)), or
        with teacher logits of (images, (labels, float32 (B, classes))).

    Raises:
        ValueError: if an argument is out of its range.

    Example:

    >>> from v1keras.data import load_dataset
    >>> train = load_dataset("shapes:240:24").split("train")
    >>> batches = training_batches(train, batch_size=64, augment="paper")
    >>> images, labels = next(iter(batches))
    >>> images.shape, steps_per_epoch(len(train), 64)
    (TensorShape([64, 64, 64, 3]), 4)
    """
    augmentation = get_augmentation(augment)
    _check_batch_size(batch_size)
    if drop_remainder and batch_size > len(split):
        raise ValueError(
            f"`batch_size` must not exceed the {len(split)} images of the split "
            f"{split.name!r} when smaller batches are dropped. "
            f"Received: batch_size={batch_size}"
        )
    if min(seed, start_epoch, views) < 0:
        raise ValueError(
            "`seed`, `start_epoch` and `views` must be at least 0. "
            f"Received: seed={seed}, start_epoch={start_epoch}, views={views}"
        )
    if mixing is not None and num_classes is None:
        raise ValueError(
            "`num_classes` must be given with `mixing`. Received: num_classes=None"
        )
    if teacher_logits is not None:
        _check_logits(teacher_logits, len(split), views)
    return _engine().training_batches(
        split,
        batch_size=batch_size,
        drop_remainder=drop_remainder,
        augmentation=augmentation,
        seed=seed,
        start_epoch=start_epoch,
        views=views,
        mixing=mixing,
        num_classes=num_classes,
        teacher_logits=teacher_logits,
        replicas=replicas,
        own=own,
    )


def evaluation_batches(
    split: Split,
    *,
    batch_size: int,
    teacher_logits: np.ndarray | None = None,
    replicas: int = 1,
    own: range | None = None,
) -> tf.data.Dataset | keras.utils.PyDataset:
    """One pass over a split, its images as they are and in their order.

    Args:
        split: `Split`.
        batch_size: int. Images in a batch (all replicas together).
        teacher_logits: array (n, classes) or None. A teacher's logits for each image;
            labels then come with those of the batch. Defaults to `None`.
        replicas: int. Replicas of the distribution strategy; see `batch_sizes`.
            Defaults to `1`.
        own: range or None; see `training_batches`.

    Returns:
        A `tf.data.Dataset` of what `training_batches` gives.

    Raises:
        ValueError: if an argument is out of its range.

    Example:

    >>> from v1keras.data import load_dataset
    >>> test = load_dataset("shapes:24:120").split("test")
    >>> len(evaluation_batches(test, batch_size=64))
    2
    """
    _check_batch_size(batch_size)
    if teacher_logits is not None:
        _check_logits([teacher_logits], len(split), 1)
    return _engine().evaluation_batches(
        split,
        batch_size=batch_size,
        teacher_logits=teacher_logits,
        replicas=replicas,
        own=own,
    )


def augmented_view(
    split: Split,
    view: int,
    *,
    batch_size: int,
    augment: str | Augmentation | None,
    seed: int = 0,
) -> tf.data.Dataset | keras.utils.PyDataset:
    """One view of each image, as `training_batches` shows it.

    Args:
        split: `Split`.
        view: int. Its number, from 0.
        batch_size: int. Images in a batch (all replicas together).
        augment: str, `Augmentation` or None. See `training_batches`.
        seed: int. That of the training. Defaults to `0`.

    Returns:
        A `tf.data.Dataset` of (float32 RGB 0..255 (B, S, S, 3), int32 (B,)), one pass
        in the order of the split.

    Example:

    >>> from v1keras.data import load_dataset
    >>> train = load_dataset("shapes:240:24").split("train")
    >>> views = augmented_view(train, 0, batch_size=64, augment="paper")
    >>> images, indices = next(iter(views))
    >>> images.shape
    TensorShape([64, 64, 64, 3])
    """
    augmentation = get_augmentation(augment)
    _check_batch_size(batch_size)
    return _engine().augmented_view(
        split, view, batch_size=batch_size, augmentation=augmentation, seed=seed
    )


def _engine() -> ModuleType:
    name = "tensorflow_pipeline" if uses_tensorflow() else "numpy_pipeline"
    return importlib.import_module(f"v1keras.data.{name}")


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be at least 1. Received: batch_size={batch_size}"
        )


def _check_logits(logits: Sequence[np.ndarray], images: int, views: int) -> None:
    shapes = [each.shape for each in logits]
    wrong = [shape for shape in shapes if len(shape) != 2 or shape[0] != images]
    if wrong or len(shapes) != views or len(set(shapes)) > 1:
        raise ValueError(
            f"`teacher_logits` must be {views} arrays of shape ({images}, classes), one "
            f"for each view. Received: {len(shapes)} of shapes "
            f"{', '.join(map(str, sorted(set(shapes))))}"
        )
