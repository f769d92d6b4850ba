"""A fixed bank of Gabor filters, each on one channel of its input."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from v1keras.v1 import GaborParameters, gabor_kernels
from v1keras.v1.distributions import COLOR_CHANNELS

_HALF_PRECISIONS = ("bfloat16", "float16")

# From this many filters on, a convolution of their own is cheaper than cutting their
# responses out of those of all filters of a colour.
_WIDE = 40


@keras.saving.register_keras_serializable(package="v1keras")
class GaborFilterBank(keras.layers.Layer):
    """Linear responses of Gabor receptive fields.

    Every filter sees one colour channel, so the bank is three convolutions with
    one input channel each: a third of the work of one convolution over RGB. The
    kernels are non-trainable weights. Padding is `kernel_size // 2` zeros on every
    side, as in the published VOneNets (TensorFlow's `"same"` pads unevenly for
    strides above 1 and would shift the map).

    Args:
        gabors: `GaborParameters` of length n.
        image_size: int or None. The number of pixels that span `visual_degrees`.
            Defaults to the height of the input when the layer is built.
        visual_degrees: float. Visual angle of the image, in degrees. Defaults to
            `2.0`.
        kernel_size: int. Height and width of the kernels in pixels, odd. Defaults
            to `25`.
        stride: int. Stride of the filters in pixels. Defaults to `2`.
        gain: float or sequence of n floats. Factor on the responses, folded into
            the kernels. Defaults to `1.0`.
        input_channels: int. The number of channels of the input. Defaults to `3`.
        balanced: bool. Whether every kernel sums to 0; see
            `v1keras.v1.gabor_kernels`. Defaults to `False`.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Input shape:
        (batch, height, width, input_channels), usually RGB in [-1, 1].

    Output shape:
        (batch, (height - 1) // stride + 1, (width - 1) // stride + 1, n).

    Raises:
        ValueError: if the stride is not positive, the input is no float or does not
            have `input_channels`, or `image_size` is neither given nor known when
            built.

    Example:

    >>> gabors = v1keras.v1.sample_gabors(16, seed=0)
    >>> bank = v1keras.layers.GaborFilterBank(gabors)
    >>> bank(np.zeros((1, 64, 64, 3), "float32")).shape
    TensorShape([1, 32, 32, 16])
    """

    def __init__(
        self,
        gabors: GaborParameters | dict,
        *,
        image_size: int | None = None,
        visual_degrees: float = 2.0,
        kernel_size: int = 25,
        stride: int = 2,
        gain: float | Sequence[float] = 1.0,
        input_channels: int = COLOR_CHANNELS,
        balanced: bool = False,
        **kwargs,
    ):
        super().__init__(**{"trainable": False, **kwargs})
        if stride < 1:
            raise ValueError(f"`stride` must be at least 1. Received: stride={stride}")
        if isinstance(gabors, dict):
            gabors = GaborParameters(**gabors)
        if gabors.channel_q0.max() >= input_channels:
            raise ValueError(
                "`gabors` must look at channels below `input_channels`. Received: "
                f"channel {gabors.channel_q0.max()}, input_channels={input_channels}"
            )
        self.gabors = gabors
        self.image_size = image_size
        self.visual_degrees = visual_degrees
        self.kernel_size = kernel_size
        self.stride = stride
        self.gain = gain
        self.input_channels = input_channels
        self.balanced = balanced
        # Whether the pixels of one stride become channels. `None`: where Keras computes
        # faster so; the export knows other runtimes.
        self.unfold = None
        self._filters_of_color = [
            (int(color), np.flatnonzero(gabors.channel_q0 == color))
            for color in np.unique(gabors.channel_q0)
        ]
        by_color = np.concatenate([filters for _, filters in self._filters_of_color])
        in_order = np.array_equal(by_color, np.arange(len(gabors)))
        self._order = None if in_order else np.argsort(by_color)

    def build(self, input_shape):
        if len(input_shape) != 4 or input_shape[-1] != self.input_channels:
            raise ValueError(
                "The input must have shape (batch, height, width, "
                f"{self.input_channels}). Received: input_shape={tuple(input_shape)}"
            )
        # Of other channels some would be left out without a word.
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={-1: input_shape[-1]})
        image_size = input_shape[1] if self.image_size is None else self.image_size
        if image_size is None:
            raise ValueError(
                "`image_size` must be given when the height of the input is unknown. "
                f"Received: image_size=None, input_shape={tuple(input_shape)}"
            )
        kernels, _ = gabor_kernels(
            self.gabors,
            image_size=image_size,
            visual_degrees=self.visual_degrees,
            kernel_size=self.kernel_size,
            balanced=self.balanced,
        )
        kernels = np.moveaxis(kernels, 0, -1) * np.asarray(self.gain)
        # A list: SavedModel takes no dictionary whose keys are numbers.
        self._kernels = [
            self._add_kernel(color, kernels[:, :, np.newaxis, filters])
            for color, filters in self._filters_of_color
        ]

    def _add_kernel(self, color: int, value: np.ndarray):
        return self.add_weight(
            name=f"kernel_{self._channel_name(color)}",
            shape=value.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(
                value.astype("float32"), dtype
            ),
            trainable=False,
        )

    def _channel_name(self, channel: int) -> str:
        return "rgb"[channel] if self.input_channels == COLOR_CHANNELS else str(channel)

    def call(self, images):
        whole = [(color, 0, filters.size) for color, filters in self._filters_of_color]
        responses = ops.concatenate(self.responses_of(images, whole), axis=-1)
        if self._order is None:
            return responses
        return ops.take(responses, self._order, axis=-1)

    def responses_of(self, images, parts: Sequence[tuple[int, int, int]]) -> list:
        """Responses of some of the filters, each part apart.

        Putting all channels in order costs a pass over the whole map, and so does
        cutting it; a layer that does not need that takes what it needs from here.

        Args:
            images: tensor (batch, height, width, 3).
            parts: sequence of (colour, begin, end), where 0 is the first filter of a
                colour, 1 the second, and so on.

        Returns:
            List of tensors (batch, height, width, end - begin).
        """
        dtype = keras.backend.standardize_dtype(images.dtype)
        if "float" not in dtype:
            raise ValueError(
                "The input must be floats in [-1, 1]; "
                "`keras.layers.Rescaling(1 / 127.5, offset=-1)` makes them of pixels. "
                f"Received: dtype={dtype}"
            )
        half = self.kernel_size // 2
        colors = [color for color, _ in self._filters_of_color]
        kernels = dict(zip(colors, self._kernels, strict=True))
        # Half-precision units multiply pairs of channels, of which a colour has none.
        unfold = dtype in _HALF_PRECISIONS if self.unfold is None else self.unfold
        if unfold and 1 < self.stride <= half:
            maps, kernels, stride = *self._unfolded(images, kernels, half), 1
        else:
            padded = ops.pad(images, [[0, 0], [half, half], [half, half], [0, 0]])
            maps, stride = {c: padded[..., c : c + 1] for c in colors}, self.stride
        if min(end - begin for _, begin, end in parts) >= _WIDE:
            return [
                _convolve(maps[color], kernels[color][..., begin:end], stride)
                for color, begin, end in parts
            ]
        responses = {c: _convolve(maps[c], kernels[c], stride) for c in kernels}
        return [responses[color][..., begin:end] for color, begin, end in parts]

    def _unfolded(self, images, kernels: dict, half: int) -> tuple[dict, dict]:
        """Maps and kernels whose channels are the pixels of one stride."""
        stride = self.stride
        blocks = -(-self.kernel_size // stride)
        pads = []
        for pixels in ops.shape(images)[1:3]:
            needed = (self._steps(pixels) + blocks - 1) * stride
            pads.append([half, needed - pixels - half])
        padded = ops.pad(images, [[0, 0], *pads, [0, 0]])
        _, height, width, _ = ops.shape(padded)
        shape = (-1, height // stride, stride, width // stride, stride)
        maps = {
            color: ops.reshape(
                ops.transpose(ops.reshape(padded[..., color], shape), (0, 1, 3, 2, 4)),
                (-1, height // stride, width // stride, stride**2),
            )
            for color in kernels
        }
        missing = blocks * stride - self.kernel_size
        kernels = {
            color: ops.reshape(
                ops.transpose(
                    ops.reshape(
                        ops.pad(kernel, [[0, missing], [0, missing], [0, 0], [0, 0]]),
                        (blocks, stride, blocks, stride, -1),
                    ),
                    (0, 2, 1, 3, 4),
                ),
                (blocks, blocks, stride**2, -1),
            )
            for color, kernel in kernels.items()
        }
        return maps, kernels

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return (batch, self._steps(height), self._steps(width), len(self.gabors))

    def _steps(self, pixels: int | None) -> int | None:
        return None if pixels is None else (pixels - 1) // self.stride + 1

    def get_config(self):
        return {
            **super().get_config(),
            "gabors": self.gabors.to_dict(),
            "image_size": self.image_size,
            "visual_degrees": self.visual_degrees,
            "kernel_size": self.kernel_size,
            "stride": self.stride,
            "gain": np.asarray(self.gain).tolist(),
            "input_channels": self.input_channels,
            "balanced": self.balanced,
        }


def _convolve(images, kernel, stride: int):
    return ops.conv(
        images,
        kernel,
        strides=stride,
        padding="valid",
        data_format="channels_last",
    )
