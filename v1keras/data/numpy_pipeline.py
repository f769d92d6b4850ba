"""Batches as NumPy arrays, made by threads: for JAX and PyTorch, without TensorFlow.

They are those of `v1keras.data.tensorflow_pipeline`, up to rounding.
"""

import functools
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import keras
import numpy as np

from v1keras.data import philox
from v1keras.data.augment import AffineAugmentation
from v1keras.data.augmentations import Augmentation
from v1keras.data.pipeline import AUGMENT_STREAM, SHUFFLE_STREAM, batch_sizes
from v1keras.data.splits import Split
from v1keras.hardware import require_tensorflow

# Batches that are made ahead, at most: each may be large.
_AHEAD = 8


class NumpyBatches(keras.utils.PyDataset):
    """Numbered batches, which threads make ahead of their use.

    A batch depends on its number alone, so that Keras may begin anew. Threads are
    enough: reading, decoding and NumPy release Python's lock.

    Args:
        make: callable from the number of a batch to the batch.
        count: int or None. How many there are; `None` for an endless sequence.
    """

    def __init__(self, make: Callable[[int], tuple], count: int | None) -> None:
        super().__init__()
        self._make, self._count = make, count
        self._ahead = min(os.cpu_count() or 1, _AHEAD)
        self._pool = ThreadPoolExecutor(self._ahead)
        self._pending: dict[int, Future] = {}

    @property
    def num_batches(self) -> int | None:
        """What Keras takes as the length."""
        return self._count

    def __len__(self) -> int:
        if self._count is None:
            raise TypeError("An endless sequence of batches has no length.")
        return self._count

    def __iter__(self) -> Iterator[tuple]:
        numbers = itertools.count() if self._count is None else range(self._count)
        return map(self.__getitem__, numbers)

    def __getitem__(self, number: int) -> tuple:
        end = number + self._ahead + 1
        wanted = range(number, end if self._count is None else min(end, self._count))
        for other in set(self._pending) - set(wanted):
            self._pending.pop(other).cancel()
        for each in wanted:
            if each not in self._pending:
                self._pending[each] = self._pool.submit(self._make, each)
        return self._pending.pop(number).result()


def training_batches(
    split: Split,
    *,
    batch_size: int,
    drop_remainder: bool,
    augmentation: Augmentation | None,
    seed: int,
    start_epoch: int,
    views: int,
    mixing: Any,
    num_classes: int | None,
    teacher_logits: Sequence[np.ndarray] | None,
    replicas: int,
    own: range | None,
) -> NumpyBatches:
    """See `v1keras.data.training_batches`, which has checked the arguments."""
    sizes = batch_sizes(len(split), batch_size, drop_remainder=drop_remainder)
    if mixing is not None:
        require_tensorflow("`mixup` or `cutmix`")
    bounds = _bounds(sizes)
    # Epochs meet where batches are made ahead.
    orders = _locked(
        functools.lru_cache(2)(
            lambda epoch: philox.shuffled(
                len(split), _fold_in(seed, SHUFFLE_STREAM, epoch)
            )
        )
    )
    draws_of = _locked(
        functools.lru_cache(2)(lambda view: _view_draws(len(split), seed, view))
    )

    def make(number: int) -> tuple:
        epochs, step = divmod(number, len(bounds))
        epoch = start_epoch + epochs
        view = epoch % views if views else epoch
        order = orders(epoch)
        indices = _filled(order[slice(*bounds[step])], order, replicas)
        indices = _share(indices, replicas, own)
        images, labels = _read(split, indices)
        if augmentation is not None:
            images = augmentation.apply(images, draws_of(view)[indices])
        if teacher_logits is None:
            return images, labels
        return images, (labels, _logits_of(teacher_logits[view], indices))

    return NumpyBatches(make, None)


def evaluation_batches(
    split: Split,
    *,
    batch_size: int,
    teacher_logits: np.ndarray | None,
    replicas: int,
    own: range | None,
) -> NumpyBatches:
    """See `v1keras.data.evaluation_batches`, which has checked the arguments.

    Where replicas could not share a batch, images of weight 0 fill it up. The other
    weights make up for them, because Keras divides by the number of all images.
    """
    sizes = batch_sizes(len(split), batch_size)
    bounds, order = _bounds(sizes), np.arange(len(split))
    filled = sum(size + -size % replicas for size in sizes)
    weight = filled / len(split)

    def make(number: int) -> tuple:
        indices = _filled(order[slice(*bounds[number])], order, replicas)
        weights = np.zeros(len(indices), np.float32)
        weights[: sizes[number]] = weight
        indices, weights = (_share(each, replicas, own) for each in (indices, weights))
        images, labels = _read(split, indices)
        targets = labels
        if teacher_logits is not None:
            targets = labels, _logits_of(teacher_logits, indices)
        if weight == 1:
            return images, targets
        return images, targets, weights

    return NumpyBatches(make, len(sizes))


def augmented_view(
    split: Split,
    view: int,
    *,
    batch_size: int,
    augmentation: Augmentation | None,
    seed: int,
) -> NumpyBatches:
    """See `v1keras.data.augmented_view`, which has checked the arguments."""
    draws = _view_draws(len(split), seed, view)

    def make(number: int) -> tuple:
        begin = number * batch_size
        indices = np.arange(begin, min(begin + batch_size, len(split)))
        images, labels = _read(split, indices)
        if augmentation is not None:
            images = augmentation.apply(images, draws[indices])
        return images, labels

    return NumpyBatches(make, -(-len(split) // batch_size))


def _bounds(sizes: list[int]) -> list[tuple[int, int]]:
    ends = np.cumsum(sizes)
    return list(zip((ends - sizes).tolist(), ends.tolist(), strict=True))


def _filled(indices: np.ndarray, order: np.ndarray, replicas: int) -> np.ndarray:
    """The indices and as many others as replicas need for equal shares."""
    return np.concatenate([indices, np.resize(order, -len(indices) % replicas)])


def _share(filled: np.ndarray, replicas: int, own: range | None) -> np.ndarray:
    """What the replicas that this process feeds get of a batch."""
    if own is None:
        return filled
    size = len(filled) // replicas
    return filled[own.start * size : own.stop * size]


def _locked(function: Callable) -> Callable:
    """A function that one thread calls at a time, so that all take one's result."""
    lock = threading.Lock()

    def call(argument: int) -> np.ndarray:
        with lock:
            return function(argument)

    return call


def _read(split: Split, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    images = np.asarray(split.images[indices])
    return images.astype(np.float32), split.labels[indices]


def _logits_of(logits: np.ndarray, indices: np.ndarray) -> np.ndarray:
    return logits[indices].astype(np.float32)


def _view_draws(count: int, seed: int, view: int) -> np.ndarray:
    """The draws of augmentation of all images: the same for each view's number."""
    shape = (count, AffineAugmentation.DRAWS)
    return philox.uniform(_fold_in(seed, AUGMENT_STREAM, view), shape)


def _fold_in(seed: int, stream: int, number: int) -> philox.Seed:
    return philox.fold_in((seed, stream), number)
