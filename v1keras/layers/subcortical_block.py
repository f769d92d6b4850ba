"""SubcorticalBlock: retina and LGN, the stage of EVNet in front of V1."""

import math

import keras
import numpy as np
from keras import ops

from v1keras.layers.gaussian_window import (
    from_maps,
    known_size,
    pool,
    require_positive,
    root,
    spec_of_size,
    to_maps,
    window_matrix,
)
from v1keras.layers.light_adaptation import contrast
from v1keras.layers.neuronal_noise import NeuronalNoise
from v1keras.layers.precision import at_least_float32
from v1keras.layers.saved_by_0_1_0 import with_seed_in_range
from v1keras.v1.distributions import COLOR_CHANNELS
from v1keras.v1.subcortical import (
    PIXELS_PER_DEGREE,
    SUBCORTICAL_CONFIGURATIONS,
    window_size,
)

# Without contrast normalisation, cells adapt to the light of what is not black.
_BLACK = 0.05

# Variance of the noise over the size of the response.
FANO_FACTOR = 0.4
_NOISE_EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="v1keras")
class SubcorticalBlock(keras.layers.Layer):
    """Cells of retina and LGN: three opponent-colour P channels and one M channel.

    Light adaptation, differences of Gaussians, contrast normalisation, gain and noise,
    with the constants of EVNet (Piper et al. 2025, "Explicitly Modeling Subcortical
    Vision with a Neuro-Inspired Front-End Improves CNN Robustness", arXiv:2506.03089),
    which are fitted to recordings from macaques. For each channel j:

    1. `a = (x - m) / (m + 1e-5)`, m the mean over height, width and colours;
    2. `d = a * kernel_j`, `kernel_j = c_j exp(-d^2 / rc^2) + s_j w exp(-d^2 / rs^2)`
       divided by the size of its sum, borders reflected;
    3. `n = d / (sqrt(g * d^2) + c50)^n`, g a Gaussian that sums to 1;
    4. `r = k_exc n`, and noise with a Fano factor of 0.4:
       `r + N(0, 1) sqrt(0.4 (|r| + 1e-5))`.

    Nothing in it is trained. Everything is computed in float32 at least.

    Args:
        configuration: str. `"standard"`: all cells and stages; `"no_p_cells"`,
            `"no_m_cells"`, `"no_light_adapt"` or `"no_contrast_norm"` lack what they
            say. Defaults to `"standard"`.
        image_size: int or None. The number of pixels that span `visual_degrees`.
            Defaults to the height of the input when the layer is built.
        visual_degrees: float. Visual angle of the image, in degrees. Defaults to
            `2.0`.
        noise_gain: float. Factor on the standard deviation of the noise; 0 for none.
            Defaults to `1.0`.
        noise: str. `"stochastic"`, `"off"` or `"fixed"`; see `NeuronalNoise`.
            Defaults to `"stochastic"`.
        seed: int. Seed of the noise, from 0 to 2**32 - 1. Defaults to `0`.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Input shape:
        (batch, height, width, 3), RGB in [0, 1]. Height and width must be known.

    Output shape:
        (batch, height, width, channels): red against green, green against red, blue
        against yellow, achromatic. 4 channels; 3 without M cells, 1 without P cells.

    Raises:
        ValueError: if the configuration is unknown, a value is not positive, or the
            input does not have three channels or a known size.

    Example:

    >>> inputs = keras.Input((64, 64, 3))
    >>> x = keras.layers.Rescaling(1 / 255)(inputs)
    >>> outputs = v1keras.layers.SubcorticalBlock("no_m_cells", noise="off")(x)
    >>> outputs.shape
    (None, 64, 64, 3)
    """

    def __init__(
        self,
        configuration: str = "standard",
        *,
        image_size: int | None = None,
        visual_degrees: float = 2.0,
        noise_gain: float = 1.0,
        noise: str = "stochastic",
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**{"trainable": False, "autocast": False, **kwargs})
        if configuration not in SUBCORTICAL_CONFIGURATIONS:
            raise ValueError(
                "`configuration` must be one of "
                f"{', '.join(SUBCORTICAL_CONFIGURATIONS)}. "
                f"Received: configuration={configuration!r}"
            )
        require_positive(image_size=image_size, visual_degrees=visual_degrees)
        self.configuration = configuration
        self.image_size = image_size
        self.visual_degrees = visual_degrees
        self.neuronal_noise = NeuronalNoise(
            noise_gain * math.sqrt(FANO_FACTOR),
            noise_scale=1.0,
            noise_level=0.0,
            epsilon=_NOISE_EPSILON,
            signed=True,
            noise=noise,
            seed=seed,
            dtype=self.dtype_policy,
            name="noise",
        )
        self.noise_gain = noise_gain
        self._stages = SUBCORTICAL_CONFIGURATIONS[configuration]

    def build(self, input_shape):
        if len(input_shape) != 4 or input_shape[-1] != COLOR_CHANNELS:
            raise ValueError(
                "The input must have shape (batch, height, width, 3). "
                f"Received: input_shape={tuple(input_shape)}"
            )
        height, width = known_size(input_shape)
        self.input_spec = spec_of_size(input_shape)
        image_size = self.image_size or height
        scale = image_size / self.visual_degrees / PIXELS_PER_DEGREE

        def windows(radius, within, normalize):
            """Matrices of a window that ends where that of another radius does."""
            half = window_size(within * scale, image_size) // 2
            return [
                window_matrix(pixels, radius * scale, half, normalize=normalize)
                for pixels in (height, width)
            ]

        channels = self._stages.channels
        fields, pools, colors, shares = [], [], [], []
        for channel in channels:
            cells = channel.cells
            center = windows(cells.center_radius, cells.surround_radius, False)
            surround = windows(cells.surround_radius, cells.surround_radius, False)
            fields += [center, surround]
            # Every row of a matrix sums to what its window does.
            sums = [rows[0].sum() * columns[0].sum() for rows, columns in fields[-2:]]
            colors += [channel.center, channel.surround]
            total = abs(
                sum(channel.center) * sums[0]
                + cells.surround_weight * sum(channel.surround) * sums[1]
            )
            shares.append([1.0 / total, cells.surround_weight / total])
            pools.append(windows(cells.pool_radius, cells.pool_radius, True))
        self._colors = np.transpose(colors)
        self._shares = np.array(shares)
        self._fields = [np.stack(axis) for axis in zip(*fields, strict=True)]
        self._pools = [np.stack(axis) for axis in zip(*pools, strict=True)]
        self.neuronal_noise.build(self.compute_output_shape(input_shape))

    def call(self, images, stream: int = 0):
        light = at_least_float32(images)
        if self._stages.light_adaptation:
            light = self._adapted(light)
        colors = ops.convert_to_tensor(self._colors, light.dtype)
        fields = pool(to_maps(ops.matmul(light, colors)), *self._fields)
        _, height, _, width = fields.shape
        fields = ops.reshape(fields, (len(self._shares), 2, height, -1, width))
        responses = ops.sum(fields * _for_maps(self._shares, light), axis=1)
        if self._stages.contrast_normalization:
            responses = self._normalized(responses)
        gains = [channel.cells.gain for channel in self._stages.channels]
        responses = responses * _for_maps(gains, light)
        return self.neuronal_noise(from_maps(responses), stream=stream)

    def _adapted(self, light):
        if self._stages.contrast_normalization:
            return contrast(light, ops.mean(light, axis=(1, 2, 3), keepdims=True))
        visible = ops.cast(light > _BLACK, light.dtype)
        number = ops.sum(visible, axis=(1, 2, 3), keepdims=True)
        total = ops.sum(light * visible, axis=(1, 2, 3), keepdims=True)
        return contrast(light, total / ops.maximum(number, 1.0), _BLACK)

    def _normalized(self, responses):
        cells = [channel.cells for channel in self._stages.channels]
        semisaturation = _for_maps([c.semisaturation for c in cells], responses)
        exponent = _for_maps([c.exponent for c in cells], responses)
        energy = root(pool(ops.square(responses), *self._pools))
        # `ops.power` takes half of the time of the block on a CPU, this a tenth.
        return responses * ops.exp(-exponent * ops.log(energy + semisaturation))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], len(self._stages.channels))

    def get_config(self):
        return {
            **super().get_config(),
            "configuration": self.configuration,
            "image_size": self.image_size,
            "visual_degrees": self.visual_degrees,
            "noise_gain": self.noise_gain,
            "noise": self.neuronal_noise.noise,
            "seed": self.neuronal_noise.seed,
        }

    @classmethod
    def from_config(cls, config):
        return super().from_config(with_seed_in_range(config))


def _for_maps(values, like):
    """Constants of each channel, as factors for maps."""
    values = np.asarray(values)[..., np.newaxis, np.newaxis, np.newaxis]
    return ops.convert_to_tensor(values, like.dtype)
