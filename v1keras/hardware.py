"""Which backend and device compute, which `keras.ops` does not say."""

import contextlib

import keras


def uses_tensorflow() -> bool:
    """Whether TensorFlow computes, and not another of Keras' back-ends."""
    return keras.backend.backend() == "tensorflow"


def require_tensorflow(what: str) -> None:
    """Refuses what only TensorFlow can do, where another back-end computes.

    Args:
        what: str. Such as `"--strategy=tpu"`.

    Raises:
        ValueError: unless TensorFlow computes; it says that `what` needs it.
    """
    if not uses_tensorflow():
        raise ValueError(
            f"{what} needs TensorFlow; leave it out, or set KERAS_BACKEND=tensorflow. "
            f"Received: Keras on {keras.backend.backend()}"
        )


def is_tensorflow_on_cpu() -> bool:
    """Whether TensorFlow computes, on a machine without a GPU that it could use."""
    if not uses_tensorflow():
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
    if not uses_tensorflow():
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()
