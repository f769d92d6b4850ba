"""Where the faster ways that are written for one kind of hardware hold."""

import keras


def is_tensorflow_on_cpu() -> bool:
    """Whether TensorFlow computes, on a machine without a GPU that it could use."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")
