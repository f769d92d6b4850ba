"""Images on which the members of an ensemble disagree."""

import keras
from keras import ops

from v1keras.layers import MeanLogits
from v1keras.layers.neuronal_noise import ReplicaSeedGenerator


class DisagreementSeeker:
    """Moves images to where the answer of a member changes most in a random direction.

    An image x becomes `x + size * sqrt(D) * max_c(q_c) * g / |g|`, within [0, 255], with
    `g = grad_x(w . q)`, `q = softmax(z(x) / T)`, D the number of its values, and
    w uniform in [-1, 1] for each class (Nam et al. 2021, "ConfODS"; Tashiro et al. 2020
    for directions of the output). What is a sure answer of one member is one on which
    others need not agree. The logits z are those of one member, drawn for each image; the
    paper draws one for a batch.

    Args:
        teacher: functional `keras.Model` of logits. If it ends with `MeanLogits`, its
            members are what that averages; otherwise it is the only one.
        size: float. Root mean square of the change in pixels of [0, 255], for a member
            that is quite sure. Published: 1.
        temperature: float. T.
        seed: int. Seed of directions and members. Defaults to `0`.
    """

    def __init__(
        self, teacher: keras.Model, size: float, temperature: float, seed: int = 0
    ):
        self._members = _members(teacher)
        self._size = size
        self._temperature = temperature
        self.seed_generator = ReplicaSeedGenerator(seed, name="disagreement_seed")

    def __call__(self, images):
        """The moved images, float32, of the shape of `images`."""
        images = ops.cast(images, "float32")
        count, (members, classes) = ops.shape(images)[0], self._members.output.shape[1:]
        asked = keras.random.randint((count,), 0, members, seed=self.seed_generator)
        asked = ops.one_hot(asked, members, dtype="float32")[..., None]
        direction = keras.random.uniform(
            (count, classes), -1.0, 1.0, seed=self.seed_generator
        )

        def along(images):
            logits = ops.sum(asked * self._members(images, training=False), axis=1)
            q = ops.softmax(logits / self._temperature, axis=-1)
            return ops.sum(direction * q), ops.max(q, axis=-1)

        gradient, confidence = _gradient(along, images)
        axes = tuple(range(1, len(images.shape)))
        # Of a flat answer there is no direction: the image stays.
        square = ops.mean(ops.square(gradient), axis=axes, keepdims=True)
        step = self._size * ops.reshape(confidence, ops.shape(square))
        change = ops.divide_no_nan(step * gradient, ops.sqrt(square))
        return ops.stop_gradient(ops.clip(images + change, 0.0, 255.0))


def _members(teacher: keras.Model) -> keras.Model:
    """A model of the logits of all members, (batch, members, classes)."""
    logits = [teacher.outputs[0]]
    for layer in teacher.layers:
        if isinstance(layer, MeanLogits) and layer.output is logits[0]:
            logits = keras.tree.flatten(layer.input)
            break
    stacked = ops.stack([ops.cast(each, "float32") for each in logits], axis=1)
    return keras.Model(teacher.inputs[0], stacked)


def _gradient(function, images) -> tuple:
    """The gradient of the first result of a function, and the second."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            value, other = function(images)
        return tape.gradient(value, images), other
    if backend == "jax":
        import jax

        return jax.grad(function, has_aux=True)(images)
    import torch

    with torch.enable_grad():
        images = images.detach().requires_grad_()
        value, other = function(images)
        (gradient,) = torch.autograd.grad(value, images)
    return gradient, other.detach()
