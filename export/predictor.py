"""What every exported format is made from: a Keras classifier as one function."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

from export.config import OUTPUTS
from v1keras.layers.neuronal_noise import noise_layers

_SEED_STRIDE = 0x2545F491  # an odd constant: the seeds of operations lie far apart


class Predictor(tf.Module):
    """A classifier's `predict` function, with its variables as TensorFlow's own.

    The Keras model itself is not tracked: the LiteRT converter only turns those
    variables into constants that it finds as TensorFlow variables, and a served
    model has no use for the rest.

    Args:
        model: keras.Model. Takes float32 pixels 0..255 (B, S, S, 3) of a fixed size
            S, gives logits (B, classes).
        outputs: sequence of str. Which of `OUTPUTS` it gives. Defaults to all of them.
    """

    def __init__(self, model: keras.Model, outputs: Sequence[str] = OUTPUTS) -> None:
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
            answer = {"logits": logits}
            if "probabilities" in outputs:
                answer["probabilities"] = tf.nn.softmax(logits)
            return {name: answer[name] for name in outputs}

        function = tf.function(
            predict,
            input_signature=[tf.TensorSpec((None, *shape[1:]), tf.float32, "images")],
            autograph=False,
        )
        with served_noise(model):
            # Kept as traced here: a `tf.function` may be traced again later.
            self.predict = function.get_concrete_function()
            # Not all of the model's: no metrics, and no seeds of noise.
            self.model_variables = self.predict.variables


@contextlib.contextmanager
def served_noise(model: keras.Model) -> Iterator[None]:
    """Makes functions that are traced meanwhile draw stochastic noise fit for serving.

    It comes from TensorFlow's random operation, which every server has: no function that
    XLA must compile, and no seed in a variable that concurrent requests would change.
    It still begins with the seed when a model is loaded.

    Args:
        model: keras.Model. It is the same afterwards.

    Yields:
        Nothing.
    """
    layers = [layer for layer in noise_layers(model) if layer.is_stochastic]
    for layer in layers:
        layer.source = _random_source(layer.seed)
    try:
        yield
    finally:
        for layer in layers:
            layer.source = None


def _random_source(seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    # Operations with equal seeds draw equal numbers, and the members of an ensemble
    # that share a layer must not.
    seeds = itertools.count(seed, _SEED_STRIDE)

    def draw(responses: tf.Tensor) -> tf.Tensor:
        shape, own_seed = tf.shape(responses), next(seeds) % 2**31
        return tf.random.normal(shape, dtype=responses.dtype, seed=own_seed)

    return draw
