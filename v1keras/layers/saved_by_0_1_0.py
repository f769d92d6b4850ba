"""What models saved by version 0.1.0 need besides the layers of today."""

from typing import Any

import keras
from keras import ops

from v1keras.scalars import LARGEST_SEED


@keras.saving.register_keras_serializable(package="v1keras")
class Conv2D(keras.layers.Conv2D):
    """A convolution with `kernel_size // 2` zeros on every side; see `backbone`."""

    def __init__(self, filters, kernel_size, strides=1, **kwargs):
        fixed = {"padding": "valid", "data_format": "channels_last"}
        super().__init__(filters, kernel_size, strides, **{**kwargs, **fixed})

    def call(self, inputs):
        pads = [(size // 2, size // 2) for size in self.kernel_size]
        return super().call(ops.pad(inputs, [(0, 0), *pads, (0, 0)]))

    def compute_output_shape(self, input_shape):
        batch, *pixels, channels = input_shape
        padded = (
            None if size is None else size + 2 * (kernel // 2)
            for size, kernel in zip(pixels, self.kernel_size, strict=True)
        )
        return super().compute_output_shape((batch, *padded, channels))


def with_seed_in_range(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a layer with noise, of whose seed 32 bits count.

    Version 0.1.0 took any integer, and drew noise by these bits of it.
    """
    return {**config, "seed": config.get("seed", 0) % (LARGEST_SEED + 1)}
