"""Distillation of a teacher's knowledge into a student."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="v1keras")
class SoftTargetLoss(keras.losses.Loss):
    """Kullback-Leibler divergence from softened teacher to softened student.

    `scale * sum_c p_c (log p_c - log q_c)` with `p = softmax(teacher / T)` and
    `q = softmax(student / T)`, in float32 (Hinton, Vinyals and Dean 2015). Their
    `scale = T^2` keeps the size of the gradient independent of T.

    Args:
        temperature: float. T, at least above 0. Defaults to `4.0`.
        scale: float or None. Factor on the divergence; None for `T^2`.
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

    def call(self, y_true, y_pred):
        log_teacher = ops.log_softmax(y_true / self.temperature, axis=-1)
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
        }


class Distiller(keras.Model):
    """Trains a student on labels and on the logits of a frozen teacher.

    `loss = alpha * SoftTargetLoss(teacher, student) + (1 - alpha) * cross-entropy`.
    The teacher runs in inference mode on the images that the student sees; its V1
    noise stays as it is set. The losses are the distiller's own: `compile` takes
    optimizer and metrics (on labels and student logits) only. `evaluate` reports the
    same losses; `save` writes the student alone.

    Args:
        teacher: `keras.Model` that gives logits, for example an ensemble.
        student: `keras.Model` that gives logits of the same shape.
        temperature: float. Temperature of the soft targets. Defaults to `4.0`.
        alpha: float. Weight of the soft targets, in [0, 1]. Defaults to `0.5`.
        soft_target_scale: float or None. Factor on the divergence; None for `T^2`.
        **kwargs: the arguments of every `keras.Model`.

    Raises:
        ValueError: if the shapes of the two disagree or a value is out of range.

    Example:

    >>> teacher = v1keras.models.build_classifier("resnet18", num_classes=10, width=8)
    >>> student = v1keras.models.build_classifier(
    ...     "resnet18", "no_noise", num_classes=10, width=8
    ... )
    >>> distiller = v1keras.models.Distiller(teacher, student, temperature=4.0)
    >>> distiller.compile("sgd", metrics=["accuracy"])
    """

    def __init__(
        self,
        teacher: keras.Model,
        student: keras.Model,
        *,
        temperature: float = 4.0,
        alpha: float = 0.5,
        soft_target_scale: float | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if teacher.output_shape != student.output_shape:
            raise ValueError(
                "Teacher and student must give logits of the same shape. Received: "
                f"{teacher.name} with {teacher.output_shape}, "
                f"{student.name} with {student.output_shape}"
            )
        if teacher.input_shape != student.input_shape:
            raise ValueError(
                "Teacher and student must take images of the same shape. Received: "
                f"{teacher.name} with {teacher.input_shape}, "
                f"{student.name} with {student.input_shape}"
            )
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"`alpha` must lie in [0, 1]. Received: alpha={alpha}")
        teacher.trainable = False
        # Within a function the teacher is no part of the distiller: its weights are
        # neither counted nor saved.
        self._teach = lambda images: teacher(images, training=False)
        self.student = student
        self.alpha = alpha
        self.soft_target_loss = SoftTargetLoss(temperature, soft_target_scale)
        self.label_loss = keras.losses.SparseCategoricalCrossentropy(
            from_logits=True, dtype="float32", name="label_loss"
        )
        self._soft_mean = keras.metrics.Mean(name="soft_target_loss")
        self._label_mean = keras.metrics.Mean(name="label_loss")
        self.built = True

    @classmethod
    def paper(cls, teacher: keras.Model, student: keras.Model, *, members: int = 8):
        """The loss of Baidya et al. 2021: a sharp target and no factor of `T^2`.

        They soften the *sum* of the members' logits with T = 5. For a teacher that
        averages `members` of them this is a temperature of `5 / members`; the
        student is softened with T = 5. That is the divergence between
        `softmax(members * teacher / 5)` and `softmax(student / 5)`.

        Args:
            teacher: `keras.Model` that gives the mean logits of its members.
            student: `keras.Model` that gives logits.
            members: int. The number of members. Defaults to `8`.

        Returns:
            `Distiller`.
        """
        summed = keras.layers.Rescaling(float(members), dtype="float32")
        inputs = keras.Input(teacher.input_shape[1:])
        teacher = keras.Model(inputs, summed(teacher(inputs)), name=teacher.name)
        return cls(teacher, student, temperature=5.0, alpha=0.5, soft_target_scale=1.0)

    def call(self, images, training=None):
        return self.student(images, training=training)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        targets = ops.cast(ops.stop_gradient(self._teach(x)), "float32")
        logits = ops.cast(y_pred, "float32")
        # Called as a loss, the value is divided by the number of replicas, as a
        # gradient needs it; the means that are shown take the undivided samples.
        soft = self.soft_target_loss(targets, logits, sample_weight)
        hard = self.label_loss(y, logits, sample_weight)
        self._soft_mean.update_state(
            self.soft_target_loss.call(targets, logits), sample_weight
        )
        self._label_mean.update_state(self.label_loss.call(y, logits), sample_weight)
        loss = self.alpha * soft + (1.0 - self.alpha) * hard
        if self.losses:  # regularisers of the student
            loss = loss + super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss

    def save(self, filepath, overwrite=True, **kwargs):
        """Saves the student, which is all that will be used."""
        self.student.save(filepath, overwrite=overwrite, **kwargs)
