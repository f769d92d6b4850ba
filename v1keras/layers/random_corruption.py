"""A preprocessing layer that shows the corruptions of `v1keras.corruptions`."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from v1keras.corruptions.apply import corrupt
from v1keras.corruptions.registry import BENCHMARK, SEVERITIES, canonical_name
from v1keras.corruptions.severities import check_scale, check_severities
from v1keras.scalars import as_integer


@keras.saving.register_keras_serializable(package="v1keras")
class RandomCorruption(keras.layers.Layer):
    """Corrupts each image with a random one of several corruptions.

    With one corruption and one severity it is a fixed corruption. The layer computes
    in NumPy on the CPU: it is meant for demonstrations and input pipelines, where it
    runs in parallel calls of `tf.data`, and it has no gradient. It corrupts in
    inference as well. To score a model, use `v1keras.evaluate`; training on these
    corruptions would spoil the benchmark.

    Args:
        corruptions: str or sequence of str. Keys of `CORRUPTIONS`. Defaults to
            `None`, the 15 of the benchmark.
        severities: int or sequence of int. In 1..5. Defaults to all five.
        seed: int. Non-negative. Defaults to `0`.
        scale: str. The severity table, `"imagenet"` or `"tiny"`. Defaults to `None`:
            by the size of the images.
        **kwargs: Arguments of `keras.layers.Layer`.

    Call arguments:
        images: tensor (B, H, W, 3) or (H, W, 3), uint8 or float, 0..255.
        index: integer tensor (B,) or scalar that identifies the images. With it, the
            result for an image depends on the seed and its index only. Defaults to
            `None`: the images are numbered in the order of the calls.

    Raises:
        ValueError: A name, a severity, the seed or the scale does not exist.

    Example:

    >>> layer = v1keras.layers.RandomCorruption("fog", severities=3)
    >>> layer(np.zeros((2, 64, 64, 3), "uint8")).shape
    TensorShape([2, 64, 64, 3])
    """

    def __init__(
        self,
        corruptions: str | Sequence[str] | None = None,
        severities: int | Sequence[int] = SEVERITIES,
        seed: int = 0,
        scale: str | None = None,
        **kwargs: Any,
    ) -> None:
        names = BENCHMARK if corruptions is None else corruptions
        names = (names,) if isinstance(names, str) else names
        names = tuple(canonical_name(name) for name in names)
        check_severities(np.ravel(severities))
        levels = tuple(int(level) for level in np.ravel(severities))
        if not names:
            raise ValueError(
                "`corruptions` must name at least one. "
                f"Received: corruptions={corruptions!r}"
            )
        seed = as_integer(seed, "seed")
        if seed < 0:
            raise ValueError(f"`seed` must be at least 0. Received: seed={seed}")
        check_scale(scale)

        # The dtype of the images is kept, whatever the policy of the model.
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        self.supports_jit = False
        self.corruptions = names
        self.severities = levels
        self.seed = seed
        self.scale = scale
        self._cells = tuple(itertools.product(names, levels))
        self._numbers = itertools.count()

    def call(self, images: Any, index: Any = None) -> Any:
        if not _is_symbolic(images):
            pixels = keras.ops.convert_to_numpy(images)
            numbers = None if index is None else keras.ops.convert_to_numpy(index)
            corrupted = self._corrupt(pixels, numbers)
            return keras.ops.convert_to_tensor(corrupted, dtype=corrupted.dtype.name)

        import tensorflow as tf

        if index is None:
            corrupted = tf.numpy_function(
                self._corrupt, [images], images.dtype, stateful=True
            )
        else:
            corrupted = tf.numpy_function(
                self._corrupt, [images, index], images.dtype, stateful=False
            )
        corrupted.set_shape(images.shape)
        return corrupted

    def _corrupt(self, images: np.ndarray, index: Any = None) -> np.ndarray:
        batch = images if images.ndim == 4 else images[np.newaxis]
        if index is None:
            index = [next(self._numbers) for _ in batch]
        index = np.reshape(index, -1)
        if len(index) != len(batch):
            raise ValueError(
                f"`index` must be one integer for each of the {len(batch)} images. "
                f"Received: index={index}"
            )
        # A stream apart from those of the corruptions, which have two more keys.
        chosen = np.array(
            [
                np.random.default_rng((self.seed, int(i))).integers(len(self._cells))
                for i in index
            ],
            dtype=int,
        )
        result = np.empty_like(batch)
        for number in np.unique(chosen):
            name, severity = self._cells[number]
            selected = chosen == number
            result[selected] = corrupt(
                batch[selected],
                name,
                severity,
                seed=self.seed,
                scale=self.scale,
                index=index[selected],
            )
        return result.reshape(images.shape)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "corruptions": list(self.corruptions),
            "severities": list(self.severities),
            "seed": self.seed,
            "scale": self.scale,
        }


def _is_symbolic(images: Any) -> bool:
    """Whether `images` is a tensor of a TensorFlow graph (tf.data, tf.function)."""
    return type(images).__name__ == "SymbolicTensor"
