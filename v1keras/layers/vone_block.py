"""VOneBlock: a model of primary visual cortex as a Keras layer."""

import dataclasses
import math
from collections.abc import Sequence
from itertools import chain, pairwise

import keras
import numpy as np
from keras import ops

from v1keras.layers.divisive_normalization import DivisiveNormalization
from v1keras.layers.gabor_filter_bank import GaborFilterBank
from v1keras.layers.neuronal_noise import NeuronalNoise
from v1keras.layers.saved_by_0_1_0 import with_seed_in_range
from v1keras.v1 import GaborParameters, Variant, get_variant, similar_cells

CHANNEL_ORDERS = ("sampled", "color")

# Baidya et al. 2021, where a variant has none of its own.
_KERNEL_SIZE = 25
_K_EXC = 23.5

# Variance of the noise where there is no response, of variants with a Fano factor.
_FANO_EPSILON = 1e-5

# Energies below this count as it, so that no derivative of the square root is
# infinite; half precision has no smaller useful number.
_ENERGY_FLOOR = {"float16": 1e-7}
_DEFAULT_ENERGY_FLOOR = 1e-12


@keras.saving.register_keras_serializable(package="v1keras")
class VOneBlock(keras.layers.Layer):
    """Simple and complex cells of V1 with neuronal noise.

    A fixed Gabor filter bank with quadrature pairs, `relu(q0)` for simple cells,
    `sqrt(q0^2 + q1^2) / sqrt(2)` for complex ones, and noise whose variance is
    proportional to the mean (Dapello, Marques et al., "Simulating a Primary Visual
    Cortex at the Front of CNNs Improves Robustness to Image Perturbations", NeurIPS
    2020). Nothing in it is trained. Variants may balance the Gabor filters, inhibit
    simple cells by their opposite phase (push-pull, Azzopardi et al. 2014) and normalise
    the cells' responses; stages before V1 are layers of their own.

    Args:
        variant: str or `v1keras.v1.Variant`. Which model of V1; it fills what is
            not given. Defaults to `"standard"`.
        image_size: int or None. The number of pixels that span `visual_degrees`.
            Defaults to the height of the input when the layer is built, and must be
            given when that is unknown then.
        visual_degrees: float. Visual angle of the image, in degrees. Defaults to
            `2.0`.
        kernel_size: int or None. Height and width of the kernels in pixels, odd.
            Defaults to the variant's, or 25.
        stride: int. Stride in pixels. Defaults to `2`.
        k_exc: float or None. Gain of all cells. Defaults to the variant's, or 23.5.
        noise_scale: float. From responses to spikes; not used by variants with a
            `fano_factor`, nor is `noise_level`. Defaults to `0.286`.
        noise_level: float. Spontaneous activity, in spikes. Defaults to `0.071`.
        gabors: `v1keras.v1.GaborParameters` or None. Explicit parameters, simple
            cells first, instead of the variant's.
        simple_channels: int or None. The number of simple cells. Defaults to the
            variant's.
        complex_channels: int or None. The number of complex cells. Defaults to the
            variant's.
        noise: str. `"stochastic"`, `"off"` or `"fixed"`; see `NeuronalNoise`.
            Defaults to `"stochastic"`.
        rectify_noise: bool. Whether negative noisy responses become 0, as in the
            NeurIPS 2020 models. Defaults to `False`.
        channel_order: str. `"sampled"` keeps the order of the parameters; `"color"`
            sorts each kind of cell by its colours, which saves reordering the maps:
            for models trained from scratch. Defaults to `"sampled"`.
        seed: int. Seed of the noise, from 0 to 2**32 - 1. Defaults to `0`.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Call arguments:
        images: tensor (batch, height, width, 3), floats, RGB in [-1, 1], or the
            channels of the variant's subcortical stage.
        stream: int. Of the noise; see `NeuronalNoise`. Defaults to `0`.

    Output shape:
        (batch, (height - 1) // stride + 1, (width - 1) // stride + 1,
        simple_channels + complex_channels), simple cells first.

    Raises:
        ValueError: if the variant has no V1, or numbers of cells and parameters
            disagree, or a value is out of range.

    Example:

    >>> inputs = keras.Input((64, 64, 3))
    >>> x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    >>> x = v1keras.layers.VOneBlock("sf_low")(x)
    >>> outputs = keras.layers.GlobalAveragePooling2D()(x)
    >>> model = keras.Model(inputs, outputs)
    >>> model.output_shape
    (None, 512)
    """

    def __init__(
        self,
        variant: str | Variant | dict = "standard",
        *,
        image_size: int | None = None,
        visual_degrees: float = 2.0,
        kernel_size: int | None = None,
        stride: int = 2,
        k_exc: float | None = None,
        noise_scale: float = 0.286,
        noise_level: float = 0.071,
        gabors: GaborParameters | dict | None = None,
        simple_channels: int | None = None,
        complex_channels: int | None = None,
        noise: str = "stochastic",
        rectify_noise: bool = False,
        channel_order: str = "sampled",
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**{"trainable": False, **kwargs})
        variant = Variant(**variant) if isinstance(variant, dict) else variant
        variant = get_variant(variant)
        if not variant.v1:
            raise ValueError(
                "`variant` must be one with a V1 front-end. "
                f"Received: variant={variant.name!r}"
            )
        if channel_order not in CHANNEL_ORDERS:
            raise ValueError(
                f"`channel_order` must be one of {', '.join(CHANNEL_ORDERS)}. "
                f"Received: channel_order={channel_order!r}"
            )
        given = {
            "simple_channels": simple_channels,
            "complex_channels": complex_channels,
            "gabors": gabors,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if given:
            variant = dataclasses.replace(variant, **given)
        kernel_size = _first_given(kernel_size, variant.kernel_size, _KERNEL_SIZE)
        k_exc = _first_given(k_exc, variant.k_exc, _K_EXC)
        self.variant = variant
        self.image_size = image_size
        self.visual_degrees = visual_degrees
        self.kernel_size = kernel_size
        self.stride = stride
        self.k_exc = k_exc
        self.channel_order = channel_order

        # Of all cells, whether sampled or given.
        self.parameters = parameters = variant.sample()
        index = np.arange(variant.channels)
        simple, complex_ = np.split(index, [variant.simple_channels])
        pairs = parameters.select(complex_).quadrature()
        self.bank = GaborFilterBank(
            parameters.append(pairs),
            image_size=image_size,
            visual_degrees=visual_degrees,
            kernel_size=kernel_size,
            stride=stride,
            gain=np.repeat(
                [k_exc, k_exc / math.sqrt(2.0)], [simple.size, 2 * complex_.size]
            ),
            input_channels=variant.input_channels,
            balanced=variant.balanced,
            dtype=self.dtype_policy,
            name="gabor_filter_bank",
        )
        q0, q1 = parameters.channel_q0, parameters.channel_q1
        self._parts = _parts(q0[simple], q0[complex_], q1[complex_])
        # Where the pair of a complex cell looks at another colour, q1 has to be
        # put into the order of q0.
        q0_order = np.argsort(q0[complex_], kind="stable")
        q1_place = np.argsort(np.argsort(q1[complex_], kind="stable"))
        shared = np.array_equal(q0[complex_], q1[complex_])
        self._q1_order = None if shared else q1_place[q0_order]
        by_color = np.concatenate(
            [
                cells[np.argsort(q0[cells], kind="stable")]
                for cells in (simple, complex_)
            ]
        )
        # Which cell each output channel is.
        self.cell_of_channel = by_color if channel_order == "color" else index
        self._order = order_of(by_color, self.cell_of_channel)
        self.divisive_normalization = None
        if variant.divisive_normalization != "none":
            pools = None
            if variant.divisive_normalization == "similar":
                pools = similar_cells(parameters.select(self.cell_of_channel))
            self.divisive_normalization = DivisiveNormalization(
                variant.divisive_semisaturation,
                sigma=variant.divisive_sigma,
                groups=pools,
                map_size=image_size and (image_size - 1) // stride + 1,
                visual_degrees=visual_degrees,
                dtype=self.dtype_policy,
                name="divisive_normalization",
            )
        self.noise_scale = noise_scale
        self.noise_level = noise_level
        constants = {"noise_scale": noise_scale, "noise_level": noise_level}
        noise_gain = variant.noise_gain
        if variant.fano_factor is not None:
            noise_gain *= math.sqrt(variant.fano_factor)
            epsilon = _FANO_EPSILON / variant.fano_factor
            constants = {"noise_scale": 1.0, "noise_level": 0.0, "epsilon": epsilon}
        self.neuronal_noise = NeuronalNoise(
            noise_gain,
            **constants,
            noise=noise,
            rectify=rectify_noise,
            seed=seed,
            dtype=self.dtype_policy,
            name="noise",
        )

    def build(self, input_shape):
        self.bank.build(input_shape)
        self.input_spec = self.bank.input_spec
        output_shape = self.compute_output_shape(input_shape)
        if self.divisive_normalization is not None:
            self.divisive_normalization.build(output_shape)
        self.neuronal_noise.build(output_shape)

    def call(self, images, stream: int = 0):
        responses = iter(self.bank.responses_of(images, [*chain(*self._parts)]))
        simple, even, odd = ([next(responses) for _ in part] for part in self._parts)
        if self._q1_order is not None:
            even, odd = (ops.concatenate(phase, axis=-1) for phase in (even, odd))
            even, odd = [even], [ops.take(odd, self._q1_order, axis=-1)]
        pairs = list(zip(even, odd, strict=True))
        cells = respond(simple, pairs, self._order, push_pull=self.variant.push_pull)
        if self.divisive_normalization is not None:
            cells = self.divisive_normalization(cells)
        return self.neuronal_noise(cells, stream=stream)

    def compute_output_shape(self, input_shape):
        shape = self.bank.compute_output_shape(input_shape)
        return (*shape[:-1], self.variant.channels)

    def get_config(self):
        noise = self.neuronal_noise
        return {
            **super().get_config(),
            "variant": self.variant.to_dict(),
            "image_size": self.image_size,
            "visual_degrees": self.visual_degrees,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "k_exc": self.k_exc,
            "noise_scale": self.noise_scale,
            "noise_level": self.noise_level,
            "noise": noise.noise,
            "rectify_noise": noise.rectify,
            "channel_order": self.channel_order,
            "seed": noise.seed,
        }

    @classmethod
    def from_config(cls, config):
        return super().from_config(with_seed_in_range(config))


def respond(
    simple: list,
    pairs: list,
    order,
    *,
    energy_gain: float = 1.0,
    push_pull: float = 0.0,
):
    """Noiseless responses of simple and complex cells.

    Args:
        simple: list of tensors (batch, height, width, n), responses of the filters of
            simple cells.
        pairs: list of pairs of such tensors, those of quadrature pairs.
        order: int array or None. Which of all cells each channel is; None keeps them
            as they come.
        energy_gain: float. Factor on complex cells. Defaults to `1.0`.
        push_pull: float. Factor on the inhibition of simple cells by the opposite
            phase around them. Defaults to `0.0`.

    Returns:
        Tensor (batch, height, width, cells).
    """
    cells = [_simple(responses, push_pull) for responses in simple]
    for even, odd in pairs:
        dtype = keras.backend.standardize_dtype(even.dtype)
        floor = _ENERGY_FLOOR.get(dtype, _DEFAULT_ENERGY_FLOOR)
        amplitude = ops.sqrt(ops.maximum(ops.square(even) + ops.square(odd), floor))
        cells.append(amplitude if energy_gain == 1 else amplitude * energy_gain)
    cells = ops.concatenate(cells, axis=-1)
    return cells if order is None else ops.take(cells, np.asarray(order), axis=-1)


def _simple(responses, push_pull: float):
    push = ops.relu(responses)
    if push_pull == 0:
        return push
    # The opposite phase needs no filter of its own: it is the negative part.
    pull = ops.average_pool(
        push - responses, 3, strides=1, padding="same", data_format="channels_last"
    )
    return push - push_pull * pull


def _parts(*kinds: np.ndarray) -> list[list[tuple[int, int, int]]]:
    """Where a bank has the filters of each kind: (colour, begin, end) for each colour.

    Args:
        *kinds: int arrays, the colours of the filters of each kind, in the order in
            which the bank was given them.
    """
    parts = [[] for _ in kinds]
    for color in np.unique(np.concatenate(kinds)):
        ends = np.cumsum([0, *(np.sum(kind == color) for kind in kinds)]).tolist()
        for part, (begin, end) in zip(parts, pairwise(ends), strict=True):
            if begin < end:
                part.append((int(color), begin, end))
    return parts


def order_of(given: Sequence, wanted: Sequence) -> np.ndarray | None:
    """Where each of `wanted` stands in `given`; None if they are equal."""
    place = {cell: index for index, cell in enumerate(given)}
    order = np.array([place[cell] for cell in wanted])
    return None if np.array_equal(order, np.arange(len(order))) else order


def _first_given(*values):
    return next((value for value in values if value is not None), None)
