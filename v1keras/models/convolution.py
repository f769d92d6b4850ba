"""Convolutions padded as in PyTorch, which train with less work and memory."""

import functools

import keras
import numpy as np
from keras import ops

from v1keras.hardware import is_tensorflow_on_cpu

# Winograd's minimal filtering F(2, 3): two neighbouring outputs of three taps by four
# products (Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks").
# Transforms of the four inputs, of the three taps, and from the products to the outputs.
_INPUTS = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_TAPS = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OUTPUTS = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
_PRODUCTS = len(_TAPS) ** 2

# On larger maps and with fewer channels the transforms cost what the products save, or
# take more memory than that is worth.
_MOST_PIXELS = 7
_FEWEST_CHANNELS = 256


@keras.saving.register_keras_serializable(package="v1keras")
class Conv2D(keras.layers.Conv2D):
    """A convolution with `kernel_size // 2` zeros on every side.

    `"same"` of `keras.layers.Conv2D` pads strided convolutions on the far side only,
    which published weights do not expect. In training, TensorFlow pads within the
    convolution here, so that no padded copy is kept for the gradient.

    The last stage of a ResNet convolves many channels on maps of a few pixels. There
    TensorFlow on a CPU reorders the weights in each of three passes and multiplies the
    zeros around the map. Where it pays (training in float32 on a CPU, 3x3, stride 1, at
    least 256 channels, at most 7x7 pixels) Winograd's algorithm is used instead: 16
    multiplications for 36, as products of matrices. Results differ by rounding.
    Inference, and so what is exported, is Keras' own.

    Args:
        filters: int. The number of output channels.
        kernel_size: int. Height and width of the kernel, odd.
        strides: int. Defaults to `1`.
        **kwargs: further arguments of `keras.layers.Conv2D`, other than those of
            padding, data format, dilation and groups.

    Input shape:
        (batch, height, width, channels).

    Output shape:
        (batch, (height - 1) // strides + 1, (width - 1) // strides + 1, filters).

    Raises:
        ValueError: if the kernel is not square with an odd size.

    Example:

    >>> layer = v1keras.models.Conv2D(16, 3, strides=2)
    >>> layer(np.ones((2, 9, 8, 4), "float32")).shape
    TensorShape([2, 5, 4, 16])
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1, **kwargs):
        super().__init__(
            filters,
            kernel_size,
            strides,
            padding="same",  # which gives the right shapes
            data_format="channels_last",
            dilation_rate=1,
            groups=1,
            **kwargs,
        )
        height, width = self.kernel_size
        if height != width or height % 2 == 0:
            raise ValueError(
                "`kernel_size` must be one odd number. "
                f"Received: kernel_size={kernel_size}"
            )

    def call(self, inputs, training=None):
        if training and self._suits_winograd(inputs):
            outputs = _winograd(inputs, self.kernel)
        elif not self._is_uneven():
            outputs = self._convolve(inputs, "same")
        elif training and keras.backend.backend() == "tensorflow":
            outputs = _strided(inputs, self.kernel, self.strides, self._pads())
        else:
            outputs = self._convolve(ops.pad(inputs, self._pads()), "valid")
        if self.use_bias:
            outputs = outputs + self.bias
        return outputs if self.activation is None else self.activation(outputs)

    def _is_uneven(self) -> bool:
        """Whether `"same"` is not enough."""
        return self.kernel_size != (1, 1) and self.strides != (1, 1)

    def _pads(self) -> list[list[int]]:
        half = self.kernel_size[0] // 2
        return [[0, 0], [half, half], [half, half], [0, 0]]

    def _convolve(self, maps, padding: str):
        return ops.conv(
            maps,
            self.kernel,
            strides=self.strides,
            padding=padding,
            data_format=self.data_format,
        )

    def _suits_winograd(self, inputs) -> bool:
        *pixels, channels = inputs.shape[1:]
        return (
            self.kernel_size == (3, 3)
            and self.strides == (1, 1)
            and None not in pixels
            and 1 < max(pixels) <= _MOST_PIXELS
            and min(channels, self.filters) >= _FEWEST_CHANNELS
            and keras.backend.standardize_dtype(inputs.dtype) == "float32"
            and is_tensorflow_on_cpu()
        )

    def get_config(self):
        config = super().get_config()
        for fixed in ("padding", "data_format", "dilation_rate", "groups"):
            del config[fixed]
        return config


def _strided(maps, kernel, strides: tuple[int, int], pads: list[list[int]]):
    """The convolution of maps with a border of zeros, with a stride.

    Nothing but its inputs is kept for the gradient, which pads them again: TensorFlow
    has fast kernels only for convolutions padded before.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def convolve(maps, kernel):
        def gradient(upstream):
            with tf.control_dependencies([upstream]):
                inputs = tf.identity(maps), kernel
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                padded = tf.pad(inputs[0], pads)
                outputs = tf.nn.conv2d(padded, kernel, strides, "VALID")
            return tape.gradient(outputs, inputs, upstream)

        return tf.nn.conv2d(maps, kernel, strides, pads), gradient

    return convolve(maps, tf.convert_to_tensor(kernel))


def _winograd(maps, kernel):
    """The 3x3 convolution of (batch, height, width, channels) with a border of zeros.

    With positions as rows, each transform is one product with a constant matrix, into
    which tiles and border are written. Between them, each of the 16 products of a tile
    is one of matrices over channels.
    """
    import tensorflow as tf

    _, height, width, channels = maps.shape
    filters = kernel.shape[-1]
    into, out_of, taps = _transforms(height, width)

    def rows_of(maps):
        return tf.reshape(tf.transpose(maps, (1, 2, 0, 3)), (height * width, -1))

    def maps_of(rows, depth):
        maps = tf.reshape(rows, (height, width, -1, depth))
        return tf.transpose(maps, (2, 0, 1, 3))

    def factors_of(maps):
        factors = tf.matmul(into, rows_of(maps))
        return tf.reshape(factors, (_PRODUCTS, -1, channels))

    def weights_of(kernel):
        weights = tf.matmul(taps, tf.reshape(kernel, (len(taps[0]), -1)))
        return tf.reshape(weights, (_PRODUCTS, channels, filters))

    def after(other, tensor):
        # Factors and weights are larger than maps and kernel. TensorFlow would make
        # those of all layers as soon as it can, and keep them for the gradient.
        with tf.control_dependencies([other]):
            return tf.identity(tensor)

    @tf.custom_gradient
    def convolve(maps, kernel):
        products = tf.matmul(factors_of(maps), weights_of(after(maps, kernel)))
        rows = tf.matmul(out_of, tf.reshape(products, (len(into), -1)))

        def gradient(upstream):
            down = tf.matmul(out_of, rows_of(upstream), transpose_a=True)
            down = tf.reshape(down, (_PRODUCTS, -1, filters))
            weights = weights_of(after(upstream, kernel))
            of_factors = tf.matmul(down, weights, transpose_b=True)
            of_factors = tf.reshape(of_factors, (len(into), -1))
            of_rows = tf.matmul(into, of_factors, transpose_a=True)
            factors = factors_of(after(of_rows, maps))
            of_weights = tf.matmul(factors, down, transpose_a=True)
            of_weights = tf.reshape(of_weights, (_PRODUCTS, -1))
            of_kernel = tf.matmul(taps, of_weights, transpose_a=True)
            return maps_of(of_rows, channels), tf.reshape(of_kernel, kernel.shape)

        return maps_of(rows, filters), gradient

    return convolve(maps, tf.convert_to_tensor(kernel))


@functools.cache
def _transforms(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices from positions to factors, products to positions, taps to weights."""
    into_rows, out_of_rows = _axis(height)
    into_columns, out_of_columns = _axis(width)
    positions = height * width
    into = np.einsum("pty,qsx->pqtsyx", into_rows, into_columns)
    out_of = np.einsum("ypt,xqs->yxpqts", out_of_rows, out_of_columns)
    return (
        into.reshape(-1, positions).astype("float32"),
        out_of.reshape(positions, -1).astype("float32"),
        np.kron(_TAPS, _TAPS).astype("float32"),
    )


def _axis(pixels: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: (4, tiles, pixels) into products, (pixels, 4, tiles) out of them."""
    tiles = -(-pixels // 2)
    into, out_of = np.zeros((4, tiles, 2 * tiles + 2)), np.zeros((2 * tiles, 4, tiles))
    for tile in range(tiles):
        into[:, tile, 2 * tile : 2 * tile + 4] = _INPUTS
        out_of[2 * tile : 2 * tile + 2, :, tile] = _OUTPUTS
    # The first input lies before the map, the last ones behind it: zeros.
    return into[:, :, 1 : pixels + 1], out_of[:pixels]
