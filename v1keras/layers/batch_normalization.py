"""Batch normalisation that trains in one kernel where there is one."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="v1keras")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, trained by TensorFlow's fused kernel.

    Keras composes mean, variance and scaling of single operations, each a pass over the
    whole map: a tenth of the training step of a ResNet on a CPU. Where the backend is
    TensorFlow, maps (batch, height, width, channels) are normalised in one kernel here.
    There the moving variance is the unbiased one, as in PyTorch, by which the published
    models were trained, and an empty batch changes nothing. Inference and everything
    else are Keras' own.

    The replicas of a strategy normalise by the statistics of their own images, as in
    Keras, but share one moving mean and variance: the mean of what each replica would
    make of them. So validation sees the model that is saved.

    Args:
        **kwargs: the arguments of `keras.layers.BatchNormalization`.

    Example:

    >>> layer = v1keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)
    >>> layer(np.ones((2, 4, 4, 3), "float32"), training=True).shape
    TensorShape([2, 4, 4, 3])
    """

    def add_weight(self, *args, **kwargs):
        # Left to Keras, each replica would move a copy of its own, and files would
        # hold the first one's. Trainable weights change by gradients alone.
        return super().add_weight(*args, **{"aggregation": "mean", **kwargs})

    def call(self, inputs, training=None, mask=None):
        if not training or mask is not None or not self._has_kernel(inputs):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs,
            ops.cast(self.gamma, "float32"),
            ops.cast(self.beta, "float32"),
            epsilon=self.epsilon,
        )
        # A replica may be left without images of the last batch, whose statistics the
        # kernel gives as NaN: they change nothing.
        has_images = ops.size(inputs) > 0
        for moving, batch in (
            (self.moving_mean, mean),
            (self.moving_variance, variance),
        ):
            updated = moving * self.momentum + batch * (1.0 - self.momentum)
            moving.assign(ops.where(has_images, updated, moving))
        return outputs

    def _has_kernel(self, inputs) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            # The kernel knows no float64, nor statistics of 16 bits.
            and self.variable_dtype == "float32"
            and self.trainable
            and self.center
            and self.scale
            and not self.synchronized
        )
