"""The neuronal noise of a served model."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from v1keras.layers.neuronal_noise import noise_layers


@contextlib.contextmanager
def served_noise(model: keras.Model) -> Iterator[None]:
    """Makes functions that are traced meanwhile draw noise in a way fit for serving.

    Fixed noise becomes a weight: LiteRT cannot draw it, and a server need not draw the
    same pattern for each request. Stochastic noise comes from a random operation
    instead of a seed that is a variable, so that a served model has no state that
    concurrent requests would change; it still begins with the seed when loaded.

    Args:
        model: keras.Model. It is the same afterwards.

    Yields:
        Nothing.
    """
    draws = {"fixed": _FixedDraw, "stochastic": _StochasticDraw}
    layers = [
        layer
        for layer in noise_layers(model)
        if layer.noise in draws and layer.noise_gain > 0
    ]
    for layer in layers:
        layer.source = draws[layer.noise](layer.seed)
    try:
        yield
    finally:
        for layer in layers:
            layer.source = None


class _FixedDraw:
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


class _StochasticDraw:
    """Draws anew in each call of the traced graph."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, responses: tf.Tensor) -> tf.Tensor:
        return tf.random.normal(
            tf.shape(responses), dtype=responses.dtype, seed=self._seed
        )
