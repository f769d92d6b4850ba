"""Adaptation of the retina to the mean light of an image."""

import keras
from keras import ops

from v1keras.layers.precision import at_least_float32

_EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="v1keras")
class LightAdaptation(keras.layers.Layer):
    """Contrast of each pixel with the mean of its image.

    `(x - m) / (m + 1e-5)`, where m is the mean over height, width and colours: an image
    that is twice as bright gives the same output. It is the first stage of EVNet (Piper
    et al. 2025, arXiv:2506.03089). Statistics are computed in float32 at least.

    Args:
        **kwargs: the arguments of every `keras.layers.Layer`.

    Input shape:
        (batch, height, width, channels), light of at least 0, usually RGB in [0, 1].

    Output shape:
        That of the input. The unit is the mean of the image; black is -1.

    Example:

    >>> images = np.random.default_rng(0).uniform(size=(1, 8, 8, 3))
    >>> layer = v1keras.layers.LightAdaptation()
    >>> bool(np.allclose(layer(images), layer(images / 2), atol=1e-3))
    True
    """

    def __init__(self, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})

    def call(self, images):
        light = at_least_float32(images)
        mean = ops.mean(light, axis=(1, 2, 3), keepdims=True)
        return ops.cast(contrast(light, mean, _EPSILON), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


def contrast(light, mean, epsilon: float = _EPSILON):
    """`(light - mean) / (mean + epsilon)`."""
    return (light - mean) / (mean + epsilon)
