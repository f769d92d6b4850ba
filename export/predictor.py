"""What every exported format is made from: a Keras classifier as one function."""

import contextlib
from collections.abc import Iterator

import keras
import tensorflow as tf

from v1keras.layers.neuronal_noise import noise_layers


class Predictor(tf.Module):
    """A classifier's `predict` function, with its variables as TensorFlow's own.

    The Keras model itself is not tracked: the LiteRT converter only turns those
    variables into constants that it finds as TensorFlow variables, and a served
    model has no use for the rest.

    Args:
        model: keras.Model. Takes float32 pixels 0..255 (B, S, S, 3) of a fixed size
            S, gives logits (B, classes).
    """

    def __init__(self, model: keras.Model) -> None:
        super().__init__(name="predictor")
        shape = model.input_shape
        if len(shape) != 4 or shape[1] is None or shape[1] != shape[2] or shape[3] != 3:
            raise ValueError(
                "`model` must take square RGB images of a fixed size. "
                f"Received: model.input_shape={shape}"
            )
        self.image_size = shape[1]
        self.num_classes = model.output_shape[-1]

        def predict(images: tf.Tensor) -> dict[str, tf.Tensor]:
            # A model of mixed precision answers in 16 bits.
            logits = tf.cast(model(images, training=False), tf.float32)
            return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

        function = tf.function(
            predict,
            input_signature=[tf.TensorSpec((None, *shape[1:]), tf.float32, "images")],
            autograph=False,
        )
        with _served_noise(model):
            # Kept as traced here: a `tf.function` may be traced again later.
            self.predict = function.get_concrete_function()
            # Not all of the model's: no metrics, and no seeds of noise.
            self.model_variables = self.predict.variables


@contextlib.contextmanager
def _served_noise(model: keras.Model) -> Iterator[None]:
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
