"""The neuronal noise of an exported model."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from v1keras.layers.neuronal_noise import noise_layers


@contextlib.contextmanager
def baked_noise(model: keras.Model) -> Iterator[None]:
    """Makes fixed noise a weight of the functions that are traced meanwhile.

    A model with `noise="fixed"` draws its pattern anew in each call, from the same
    seed. LiteRT has no random numbers, and a server need not draw them either.

    Args:
        model: keras.Model.

    Yields:
        Nothing.
    """
    layers = [
        layer
        for layer in noise_layers(model)
        if layer.noise == "fixed" and layer.noise_gain > 0
    ]
    for layer in layers:
        layer._draw = _Pattern(layer.seed)
    try:
        yield
    finally:
        for layer in layers:
            del layer._draw


class _Pattern:
    """Draws once, outside the traced graph, which then refers to the variable."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._variable: tf.Variable | None = None

    def __call__(self, responses: tf.Tensor) -> tf.Tensor:
        if self._variable is None:
            shape = (1, *responses.shape[1:])
            with tf.init_scope():
                pattern = keras.random.normal(
                    shape, dtype=responses.dtype, seed=self._seed
                )
                self._variable = tf.Variable(
                    pattern, trainable=False, name="fixed_noise"
                )
        return tf.convert_to_tensor(self._variable)
