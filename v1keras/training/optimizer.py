"""The paper's optimiser and its learning-rate schedules."""

import keras

from v1keras.training.config import TrainConfig

_STEP_FACTOR = 0.1


@keras.saving.register_keras_serializable(package="v1keras")
class L2SGD(keras.optimizers.SGD):
    """SGD whose weight decay is part of the gradient.

    Keras decays weights apart from the gradient. The paper's training, like all of
    PyTorch's SGD, adds `l2 * weight` to the gradient, so that the momentum holds the
    decay too.

    Args:
        learning_rate: float or schedule. Defaults to `0.1`.
        l2: float. Factor of the decay, on all trainable weights. Defaults to `0.0`.
        **kwargs: the arguments of `keras.optimizers.SGD`.

    Example:

    >>> optimizer = v1keras.training.L2SGD(0.1, l2=5e-4, momentum=0.9)
    """

    def __init__(self, learning_rate=0.1, l2: float = 0.0, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.l2 = l2

    def update_step(self, gradient, variable, learning_rate):
        if keras.backend.backend() == "tensorflow" and self.momentum:
            self._update_in_place(gradient, variable, learning_rate)
        else:
            decay = keras.ops.cast(self.l2, gradient.dtype)
            weights = keras.ops.cast(variable, gradient.dtype)
            super().update_step(gradient + decay * weights, variable, learning_rate)

    def _update_in_place(self, gradient, variable, learning_rate):
        # Keras' own update makes new tensors for weights and momentum, and TensorFlow
        # computes their products with constants as soon as a step begins and holds
        # them until the gradient comes: several times the weights in memory.
        import tensorflow as tf

        velocity = self.momentums[self._get_variable_index(variable)]
        with tf.control_dependencies([gradient]):
            decay = self.l2 * tf.convert_to_tensor(variable)
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=velocity.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype) + decay,
            momentum=self.momentum,
            use_nesterov=self.nesterov,
        )

    def get_config(self):
        return {**super().get_config(), "l2": self.l2}


def make_optimizer(
    config: TrainConfig, steps_per_epoch: int, replicas: int = 1
) -> keras.optimizers.Optimizer:
    """The optimiser of a configuration.

    The plateau schedule is a callback, `make_plateau`, since it depends on the
    validation loss.

    Args:
        config: `TrainConfig`.
        steps_per_epoch: int.
        replicas: int. How many have gradients of their own. Defaults to `1`.

    Raises:
        ValueError: if Keras computes what is wanted wrongly on several replicas.
    """
    scales = config.mixed_precision and config.compute_dtype == "float16"
    if replicas > 1 and (scales or config.clip_norm is not None):
        # It clips the gradients of each one before they are added, and looks for an
        # overflow in those of the first only.
        raise ValueError(
            "`clip_norm` and `compute_dtype` float16 must be left out on several "
            f"replicas. Received: clip_norm={config.clip_norm}, "
            f"compute_dtype={config.compute_dtype} on {replicas} replicas"
        )
    rate = config.learning_rate
    if config.schedule == "cosine":
        warmup = round(config.warmup_epochs * steps_per_epoch)
        total = config.epochs * steps_per_epoch
        rate = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup else rate,
            decay_steps=max(1, total - warmup),
            warmup_target=rate if warmup else None,
            warmup_steps=warmup,
        )
    elif config.schedule == "step":
        starts = range(config.step_epochs, config.epochs, config.step_epochs)
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(
            # A boundary is the last step of the rate before it.
            [start * steps_per_epoch - 1 for start in starts],
            [rate * _STEP_FACTOR**step for step in range(len(starts) + 1)],
        )
    averages = {"use_ema": True, "ema_momentum": config.weight_ema}
    optimizer = L2SGD(
        rate,
        l2=config.weight_decay,
        momentum=config.momentum,
        global_clipnorm=config.clip_norm,
        **(averages if config.weight_ema else {}),
    )
    return keras.optimizers.LossScaleOptimizer(optimizer) if scales else optimizer


def make_plateau(config: TrainConfig) -> list[keras.callbacks.Callback]:
    """The callback of the plateau schedule, or none."""
    if config.schedule != "plateau":
        return []
    return [
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss", factor=_STEP_FACTOR, patience=config.patience
        )
    ]


def make_averages(config: TrainConfig) -> list[keras.callbacks.SwapEMAWeights]:
    """The callback that validates the moving average of the weights, or none."""
    return [keras.callbacks.SwapEMAWeights()] if config.weight_ema else []
