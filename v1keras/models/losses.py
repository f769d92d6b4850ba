"""Losses and metrics of classifiers and their distillation."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops


def as_distribution(labels, classes: int):
    """Labels as distributions over the classes, float32 (batch, classes).

    Args:
        labels: indices, (batch,) or (batch, 1), or already distributions.
        classes: int. The number of classes.

    Returns:
        Tensor. That of an index out of range is NaN.

    Raises:
        ValueError: if labels have another shape.
    """
    if _are_distributions(labels, classes):
        return ops.cast(labels, "float32")
    index = _indices(labels, classes)
    one_hot = ops.one_hot(index, classes, dtype="float32")
    return ops.where(index[:, None] >= 0, one_hot, float("nan"))


def _best_class(labels, classes: int):
    """Labels as indices, int32 (batch,): of a distribution, that of its largest class."""
    if _are_distributions(labels, classes):
        return ops.cast(ops.argmax(labels, axis=-1), "int32")
    return _indices(labels, classes)


def _are_distributions(labels, classes: int) -> bool:
    """Whether labels are distributions over the classes, and not indices."""
    rank, last = len(labels.shape), labels.shape[-1] if len(labels.shape) else 1
    if rank > 2 or (rank == 2 and last not in (1, classes, None)):
        raise ValueError(
            "Labels must be indices, (batch,) or (batch, 1), or distributions, "
            f"(batch, {classes}). Received: labels of shape {tuple(labels.shape)}"
        )
    return rank == 2 and last == classes


def _indices(labels, classes: int):
    """Indices, int32 (batch,); what is no class is negative, and `one_hot` gives 0s."""
    index = ops.cast(ops.reshape(labels, (-1,)), "int32")
    return ops.where(index < classes, index, -1)


def _require_same_shape(y_true, y_pred) -> None:
    """Refuses what would be broadcast; sizes that are not known yet pass."""
    true, pred = tuple(y_true.shape), tuple(y_pred.shape)
    same = len(true) == len(pred) and all(
        None in pair or len(set(pair)) == 1 for pair in zip(true, pred, strict=True)
    )
    if not same:
        raise ValueError(
            "`y_true` and `y_pred` must have the same shape. "
            f"Received: shapes {true} and {pred}"
        )


@keras.saving.register_keras_serializable(package="v1keras")
class LabelLoss(keras.losses.Loss):
    """Cross-entropy of logits and labels, in float32.

    `-sum_c w_c y_c log_softmax(logits)_c`, with labels `y` that are smoothed first. It is
    linear in the labels, those of mixed images too. An index that is no class has the
    loss NaN, as TensorFlow's sparse cross-entropy gives it on a GPU.

    Args:
        reduction: str. As in every Keras loss.
        name: str. The name of the loss.
        class_weight: sequence of floats or None. The weight `w` of each class, such as
            `balanced_class_weight` gives. Defaults to `None`, for 1.
        label_smoothing: float. The share of a label that is spread evenly over all
            classes, in [0, 1). Defaults to `0.0`.

    Call arguments:
        y_true: labels, indices (batch,) or, for mixed images, distributions over the
            classes (batch, classes).
        y_pred: logits, (batch, classes).

    Raises:
        ValueError: if `label_smoothing` is out of range or a weight not finite; when it
            is called, if there is not one weight for each class, or labels have neither
            of these shapes.

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
        class_weight: Sequence[float] | None = None,
        label_smoothing: float = 0.0,
        **kwargs,
    ):
        super().__init__(
            name=name, reduction=reduction, **{"dtype": "float32", **kwargs}
        )
        if not 0.0 <= label_smoothing < 1.0:
            raise ValueError(
                "`label_smoothing` must lie in [0, 1). "
                f"Received: label_smoothing={label_smoothing}"
            )
        self.class_weight = (
            None if class_weight is None else [*map(float, class_weight)]
        )
        if not all(map(math.isfinite, self.class_weight or ())):
            raise ValueError(
                f"`class_weight` must be finite. Received: class_weight={class_weight}"
            )
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        classes = y_pred.shape[-1]
        # One weight would count for all classes.
        if self.class_weight is not None and len(self.class_weight) != classes:
            raise ValueError(
                f"`class_weight` must hold one weight for each of the {classes} classes. "
                f"Received: {len(self.class_weight)} weights"
            )
        labels = as_distribution(y_true, classes)
        if self.label_smoothing:
            spread = self.label_smoothing / classes
            labels = (1.0 - self.label_smoothing) * labels + spread
        if self.class_weight is not None:
            labels = labels * ops.convert_to_tensor(self.class_weight, "float32")
        return -ops.sum(labels * ops.log_softmax(y_pred, axis=-1), axis=-1)

    def get_config(self):
        return {
            **super().get_config(),
            "class_weight": self.class_weight,
            "label_smoothing": self.label_smoothing,
        }


def balanced_class_weight(labels: np.ndarray, num_classes: int) -> list[float]:
    """Weights that let each class count alike, however many images it has.

    A class of `n_c` of all `n` images has the weight `n / (num_classes n_c)`, as
    scikit-learn's `"balanced"`: the mean over the images is 1.

    Args:
        labels: int array (n,). The label of each training image.
        num_classes: int.

    Returns:
        list of `num_classes` floats; that of a class without images is as of one.

    Raises:
        ValueError: if there are no labels, or one of them is no class.

    Example:

    >>> v1keras.models.balanced_class_weight(np.array([0, 0, 0, 1]), 2)
    [0.6666666666666666, 2.0]
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        raise ValueError(
            "`labels` must be integers (n,), at least one. "
            f"Received: {labels.dtype} {labels.shape}"
        )
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"`labels` must be from 0 to {num_classes - 1}, below `num_classes`. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    counts = np.maximum(np.bincount(labels, minlength=num_classes), 1)
    return (len(labels) / (num_classes * counts)).tolist()


@keras.saving.register_keras_serializable(package="v1keras")
class LabelAccuracy(keras.metrics.MeanMetricWrapper):
    """How often the best class is the label's; of a distribution, its largest.

    A label that is no class is never met.

    Args:
        name: str. The name of the metric. Defaults to `"accuracy"`.
        dtype: str or None. As in every Keras metric.
    """

    def __init__(self, name: str = "accuracy", dtype=None):
        super().__init__(fn=_same_best_class, name=name, dtype=dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def _same_best_class(y_true, y_pred):
    labels = _best_class(y_true, y_pred.shape[-1])
    same = labels == ops.cast(ops.argmax(y_pred, axis=-1), "int32")
    return ops.cast(same, "float32")


@keras.saving.register_keras_serializable(package="v1keras")
class BalancedAccuracy(keras.metrics.Metric):
    """The mean over the classes of how often an image of the class is recognised.

    Every class counts alike, however many images it has. Classes that were not shown
    are left out, and labels that are no class; of a label that is a distribution, its
    largest class counts.

    Args:
        num_classes: int.
        name: str. The name of the metric. Defaults to `"balanced_accuracy"`.
        dtype: str or None. As in every Keras metric.

    Example:

    >>> metric = v1keras.models.BalancedAccuracy(2)
    >>> metric.update_state(np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 0, 0]])
    >>> float(metric.result())
    0.5
    """

    def __init__(self, num_classes: int, name: str = "balanced_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        shape = (num_classes,)
        self._shown = self.add_variable(shape, "zeros", name="shown")
        self._recognised = self.add_variable(shape, "zeros", name="recognised")

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels = _best_class(y_true, self.num_classes)
        shown = ops.one_hot(labels, self.num_classes, dtype=self.dtype)
        if sample_weight is not None:
            shown = shown * ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
        best = ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        same = ops.cast(labels == best, self.dtype)
        self._shown.assign_add(ops.sum(shown, axis=0))
        self._recognised.assign_add(ops.sum(shown * same[:, None], axis=0))

    def result(self):
        share = ops.divide_no_nan(self._recognised, self._shown)
        classes = ops.sum(ops.cast(self._shown > 0, self.dtype))
        return ops.divide_no_nan(ops.sum(share), classes)

    def get_config(self):
        config = {"num_classes": self.num_classes, "name": self.name}
        return {**config, "dtype": self.dtype}


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
        ValueError: if `temperature` is not positive, or a number not finite; when it is
            called, if the shapes differ.

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
        if not 0 < temperature < math.inf:
            raise ValueError(
                "`temperature` must be positive and finite. "
                f"Received: temperature={temperature}"
            )
        for factor, value in (("scale", scale), ("teacher_scale", teacher_scale)):
            if value is not None and not math.isfinite(value):
                raise ValueError(
                    f"`{factor}` must be finite. Received: {factor}={value}"
                )
        self.temperature = temperature
        self.scale = scale
        self.teacher_scale = teacher_scale

    def call(self, y_true, y_pred):
        _require_same_shape(y_true, y_pred)
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

    Raises:
        ValueError: when it is called, if the shapes differ.

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
        _require_same_shape(y_true, y_pred)
        axes = tuple(range(1, len(y_true.shape)))
        distance = ops.sum(ops.square(y_true - y_pred), axis=axes)
        return distance / (ops.sum(ops.square(y_true), axis=axes) + 1e-7)
