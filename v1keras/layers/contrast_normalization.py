"""Local contrast normalisation of images."""

import keras
import numpy as np
from keras import ops

from v1keras.layers.gaussian_window import (
    from_maps,
    gaussian_matrices,
    pool,
    require_positive,
    root,
    spec_of_size,
    to_maps,
)
from v1keras.layers.precision import at_least_float32


@keras.saving.register_keras_serializable(package="v1keras")
class ContrastNormalization(keras.layers.Layer):
    """Removes the local mean of each channel and divides by its local contrast.

    `d = x - g * x`, `y = d / (sqrt(g * d^2) + epsilon)`, with a Gaussian g that sums to
    1 and reflected borders (Jarrett, Kavukcuoglu, Ranzato and LeCun 2009, "What is the
    best multi-stage architecture for object recognition?"; Carandini and Heeger 2012,
    "Normalization as a canonical neural computation"). It keeps more of low contrasts,
    and amplifies noise more, than the `SubcorticalBlock`. Nothing in it is trained;
    everything is computed in float32 at least.

    Args:
        sigma: float. Standard deviation of the Gaussian, in degrees. Defaults to
            `0.1875`, 6 pixels at 32 pixels per degree.
        epsilon: float. Contrast, in units of the input, below which differences are no
            longer enlarged. Defaults to `0.045`.
        image_size: int or None. The number of pixels that span `visual_degrees`.
            Defaults to the height of the input when the layer is built.
        visual_degrees: float. Visual angle of the image, in degrees. Defaults to
            `2.0`.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Input shape:
        (batch, height, width, channels), usually RGB in [-1, 1]. Height, width and
        channels must be known.

    Output shape:
        That of the input, in units of the local contrast.

    Raises:
        ValueError: if a value is not positive or the size of the input is not known.

    Example:

    >>> images = np.random.default_rng(0).uniform(-1, 1, size=(1, 32, 32, 3))
    >>> layer = v1keras.layers.ContrastNormalization()
    >>> bool(np.std(layer(images / 4)) > 0.7 * np.std(layer(images)))
    True
    """

    def __init__(
        self,
        sigma: float = 0.1875,
        *,
        epsilon: float = 0.045,
        image_size: int | None = None,
        visual_degrees: float = 2.0,
        **kwargs,
    ):
        super().__init__(**{"trainable": False, "autocast": False, **kwargs})
        require_positive(
            sigma=sigma,
            epsilon=epsilon,
            image_size=image_size,
            visual_degrees=visual_degrees,
        )
        self.sigma = sigma
        self.epsilon = epsilon
        self.image_size = image_size
        self.visual_degrees = visual_degrees

    def build(self, input_shape):
        matrices = gaussian_matrices(
            input_shape,
            sigma=self.sigma,
            image_size=self.image_size,
            visual_degrees=self.visual_degrees,
        )
        self.input_spec = spec_of_size(input_shape)
        self._windows = [np.stack([each] * input_shape[-1]) for each in matrices]

    def call(self, images):
        maps = to_maps(at_least_float32(images))
        difference = maps - pool(maps, *self._windows)
        contrast = root(pool(ops.square(difference), *self._windows))
        normalized = from_maps(difference / (contrast + self.epsilon))
        return ops.cast(normalized, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "sigma": self.sigma,
            "epsilon": self.epsilon,
            "image_size": self.image_size,
            "visual_degrees": self.visual_degrees,
        }
