"""Losses and metrics of classifiers and their distillation."""

import keras
from keras import ops


def as_distribution(labels, classes: int):
    """Labels as distributions over the classes, float32 (batch, classes).

    Args:
        labels: indices, (batch,) or (batch, 1), or already distributions.
        classes: int. The number of classes.

    Returns:
        Tensor.
    """
    if len(labels.shape) == 2 and labels.shape[-1] == classes:
        return ops.cast(labels, "float32")
    return ops.one_hot(ops.reshape(labels, (-1,)), classes, dtype="float32")


@keras.saving.register_keras_serializable(package="v1keras")
class LabelLoss(keras.losses.Loss):
    """Cross-entropy of logits and labels, in float32.

    Args:
        reduction: str. As in every Keras loss.
        name: str. The name of the loss.

    Call arguments:
        y_true: labels, indices (batch,) or, for mixed images, distributions over the
            classes (batch, classes).
        y_pred: logits, (batch, classes).

    Example:

    >>> loss = v1keras.models.LabelLoss()
    >>> logits = np.array([[0.0, 0.0]])
    >>> float(loss(np.array([1]), logits)) == float(loss(np.array([[0, 1]]), logits))
    True
    """

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "label_loss",
        **kwargs,
    ):
        super().__init__(
            name=name, reduction=reduction, **{"dtype": "float32", **kwargs}
        )

    def call(self, y_true, y_pred):
        labels = as_distribution(y_true, y_pred.shape[-1])
        return -ops.sum(labels * ops.log_softmax(y_pred, axis=-1), axis=-1)


@keras.saving.register_keras_serializable(package="v1keras")
class LabelAccuracy(keras.metrics.MeanMetricWrapper):
    """How often the best class is the label's; of a distribution, its largest.

    Args:
        name: str. The name of the metric. Defaults to `"accuracy"`.
        dtype: str or None. As in every Keras metric.
    """

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(fn=_same_best_class, name=name, dtype=dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def _same_best_class(y_true, y_pred):
    labels = as_distribution(y_true, y_pred.shape[-1])
    same = ops.argmax(labels, axis=-1) == ops.argmax(y_pred, axis=-1)
    return ops.cast(same, "float32")


@keras.saving.register_keras_serializable(package="v1keras")
class SoftTargetLoss(keras.losses.Loss):
    """Kullback-Leibler divergence from softened teacher to softened student.

    `scale * sum_c p_c (log p_c - log q_c)` with `p = softmax(teacher / T)` and
    `q = softmax(student / T)`, in float32 (Hinton, Vinyals and Dean 2015). Their
    `scale = T^2` keeps the size of the gradient independent of T.

    Args:
        temperature: float. T, above 0. Defaults to `4.0`.
        scale: float or None. Factor on the divergence; None for `T^2`.
        teacher_scale: float. Factor on the teacher's logits, before they are softened.
            Defaults to `1.0`.
        reduction: str. As in every Keras loss.
        name: str. The name of the loss.

    Call arguments:
        y_true: teacher's logits, (batch, classes).
        y_pred: student's logits, (batch, classes).

    Raises:
        ValueError: if `temperature` is not positive.

    Example:

    >>> loss = v1keras.models.SoftTargetLoss(temperature=2.0)
    >>> float(loss(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0]])))
    0.0
    """

    def __init__(
        self,
        temperature: float = 4.0,
        scale: float | None = None,
        teacher_scale: float = 1.0,
        reduction: str = "sum_over_batch_size",
        name: str = "soft_target_loss",
        **kwargs,
    ):
        super().__init__(
            name=name, reduction=reduction, **{"dtype": "float32", **kwargs}
        )
        if temperature <= 0:
            raise ValueError(
                f"`temperature` must be positive. Received: temperature={temperature}"
            )
        self.temperature = temperature
        self.scale = scale
        self.teacher_scale = teacher_scale

    def call(self, y_true, y_pred):
        teacher = y_true * (self.teacher_scale / self.temperature)
        log_teacher = ops.log_softmax(teacher, axis=-1)
        log_student = ops.log_softmax(y_pred / self.temperature, axis=-1)
        divergence = ops.sum(
            ops.exp(log_teacher) * (log_teacher - log_student), axis=-1
        )
        scale = self.temperature**2 if self.scale is None else self.scale
        return scale * divergence

    def get_config(self):
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "scale": self.scale,
            "teacher_scale": self.teacher_scale,
        }


@keras.saving.register_keras_serializable(package="v1keras")
class FeatureLoss(keras.losses.Loss):
    """Squared distance of two feature maps relative to the first, in float32.

    `sum (teacher - student)^2 / sum teacher^2` over all features of an image: 1 for a
    student whose features are zero, whatever the scale of the teacher's.

    Args:
        reduction: str. As in every Keras loss.
        name: str. The name of the loss.

    Call arguments:
        y_true: teacher's features, (batch, ...).
        y_pred: student's features, of the same shape.

    Example:

    >>> loss = v1keras.models.FeatureLoss()
    >>> float(loss(np.array([[3.0, 4.0]]), np.array([[3.0, -1.0]])))
    1.0
    """

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "feature_loss",
        **kwargs,
    ):
        super().__init__(
            name=name, reduction=reduction, **{"dtype": "float32", **kwargs}
        )

    def call(self, y_true, y_pred):
        axes = tuple(range(1, len(y_true.shape)))
        distance = ops.sum(ops.square(y_true - y_pred), axis=axes)
        return distance / (ops.sum(ops.square(y_true), axis=axes) + 1e-7)
