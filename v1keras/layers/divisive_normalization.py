"""Divisive normalisation of the cells of V1 by their neighbours."""

from collections.abc import Sequence

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
class DivisiveNormalization(keras.layers.Layer):
    """Divides each response by those of the cells around it.

    `r / (semisaturation + sqrt(w * r^2))`, where the pool w is a Gaussian over
    neighbouring positions, borders reflected, and the mean over all channels or over
    those of one group (Heeger 1992, "Normalization of cell responses in cat striate
    cortex"; Carandini and Heeger 2012, "Normalization as a canonical neural
    computation"). Nothing in it is trained; everything is computed in float32 at least.

    Args:
        semisaturation: float. The size of the pooled responses at which a response is
            halved, in their units. Defaults to `0.5`, a third of what is usual in V1.
        sigma: float. Standard deviation of the Gaussian, in degrees. Defaults to
            `0.5`.
        groups: sequence of int or None. The pool of each channel, 0, 1, 2 and so on.
            Defaults to one pool of all channels.
        map_size: int or None. The number of positions that span `visual_degrees`.
            Defaults to the height of the input when the layer is built.
        visual_degrees: float. Visual angle of the map, in degrees. Defaults to `2.0`.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Input shape:
        (batch, height, width, channels), responses. All but the batch must be known.

    Output shape:
        That of the input; 1 is the root mean square of the pool.

    Raises:
        ValueError: if a value is not positive, the groups do not fit the channels, or
            the size of the input is not known.

    Example:

    >>> responses = np.random.default_rng(0).uniform(size=(1, 16, 16, 8))
    >>> layer = v1keras.layers.DivisiveNormalization(0.01)
    >>> bool(np.allclose(layer(responses), layer(10 * responses), atol=0.1))
    True
    """

    def __init__(
        self,
        semisaturation: float = 0.5,
        *,
        sigma: float = 0.5,
        groups: Sequence[int] | None = None,
        map_size: int | None = None,
        visual_degrees: float = 2.0,
        **kwargs,
    ):
        super().__init__(**{"trainable": False, "autocast": False, **kwargs})
        require_positive(
            semisaturation=semisaturation,
            sigma=sigma,
            map_size=map_size,
            visual_degrees=visual_degrees,
        )
        self.semisaturation = semisaturation
        self.sigma = sigma
        self.groups = None if groups is None else [int(group) for group in groups]
        self.map_size = map_size
        self.visual_degrees = visual_degrees

    def build(self, input_shape):
        groups = np.array(self.groups or [0] * input_shape[-1])
        number = groups.max() + 1
        if len(groups) != input_shape[-1] or set(groups) != set(range(number)):
            raise ValueError(
                "`groups` must hold the pool of each channel, numbered 0, 1, 2 and so "
                f"on. Received: {len(groups)} channels of pools {np.unique(groups)}, "
                f"input_shape={tuple(input_shape)}"
            )
        matrices = gaussian_matrices(
            input_shape,
            sigma=self.sigma,
            image_size=self.map_size,
            visual_degrees=self.visual_degrees,
        )
        self.input_spec = spec_of_size(input_shape)
        self._windows = [np.stack([each] * number) for each in matrices]
        self._member = (groups[:, np.newaxis] == np.arange(number)).astype(float)
        self._means = self._member / self._member.sum(axis=0)

    def call(self, responses):
        responses = at_least_float32(responses)
        means = ops.convert_to_tensor(self._means, responses.dtype)
        energies = to_maps(ops.matmul(ops.square(responses), means))
        divisors = self.semisaturation + root(from_maps(pool(energies, *self._windows)))
        if self._member.shape[1] > 1:
            # One product; gathering channels takes several times as long on a CPU.
            spread = ops.convert_to_tensor(self._member.T, responses.dtype)
            divisors = ops.matmul(divisors, spread)
        # Not times the inverse of the smaller map: LiteRT gets that wrong.
        return ops.cast(responses / divisors, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "semisaturation": self.semisaturation,
            "sigma": self.sigma,
            "groups": self.groups,
            "map_size": self.map_size,
            "visual_degrees": self.visual_degrees,
        }
