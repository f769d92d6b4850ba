"""Which backend and device compute, which `keras.ops` does not say."""

import contextlib

import keras


def is_tensorflow_on_cpu() -> bool:
    """Whether TensorFlow computes, on a machine without a GPU that it could use."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return not tf.config.list_logical_devices("GPU")


def in_compiled_step(tensor) -> bool:
    """Whether `fit`, `evaluate` or `predict` is being compiled.

    Args:
        tensor: an input of the layer that is called.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        if tf.executing_eagerly():
            return False
        # Keras runs its steps on the replicas of a strategy, even if there is only one.
        # A new graph knows of no strategy: its context is that of all other functions.
        with tf.Graph().as_default():
            outside = tf.distribute.get_replica_context()
        return tf.distribute.get_replica_context() not in (outside, None)
    if backend == "jax":
        import jax

        return isinstance(tensor, jax.core.Tracer)
    return False  # PyTorch's compiler compiles anew by itself


def outside_of_graphs() -> contextlib.AbstractContextManager:
    """A context in which TensorFlow computes eagerly, even in a traced function."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()
