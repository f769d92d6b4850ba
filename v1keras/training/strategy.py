"""Where a model is trained: on one device or on all GPUs."""

import contextlib
import functools
from collections.abc import Iterator

import keras
import tensorflow as tf


def get_strategy(name: str) -> tf.distribute.Strategy:
    """The distribution strategy of a name.

    Args:
        name: str. `"none"`, `"mirrored"` (all GPUs, or all logical devices of a
            machine without one) or `"auto"` (mirrored where there are several GPUs).

    Returns:
        `tf.distribute.Strategy`.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    return tf.distribute.get_strategy()


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    # One per process: TensorFlow numbers the collective operations of each strategy
    # from the same start, and mixes up those of two strategies on the same devices.
    return tf.distribute.MirroredStrategy(devices)


@contextlib.contextmanager
def precision(mixed: bool) -> Iterator[None]:
    """Layers made within compute in bfloat16 if `mixed`.

    bfloat16 has the range of float32, so that no loss has to be scaled.
    """
    before = keras.config.dtype_policy()
    if mixed:
        keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
