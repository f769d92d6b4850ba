"""Distillation of a teacher's knowledge into a student."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from v1keras.layers.neuronal_noise import noise_layers
from v1keras.models.disagreement import DisagreementSeeker
from v1keras.models.features import with_features
from v1keras.models.losses import FeatureLoss, LabelLoss, SoftTargetLoss


class Distiller(keras.Model):
    """Trains a student on labels and on the answers of a teacher.

    `loss = alpha * SoftTargetLoss(teacher, student) + (1 - alpha) * LabelLoss
    + feature_weight * FeatureLoss(teacher's features, student's)`, and the student's
    regularisers.

    The teacher runs in inference mode on the images that the student sees; its V1
    noise stays as it is set. Or its logits come with the batch: `fit` and `evaluate`
    then take `y = (labels, logits)`, and the teacher, if there is one, does not run.
    Labels are indices or, for mixed images, distributions. The losses are the
    distiller's own: `compile` takes optimizer and metrics (on labels and student
    logits) only. `teacher_agreement`, how often the two name the same class, is always
    reported. With `alpha=0` and no feature matching nothing is asked of a teacher.

    With `disagreement` above 0 the student learns the teacher's answers, and features, on
    images that were moved to where its members disagree, and the labels on the images as
    they are (Nam et al. 2021). A step then costs the teacher two more passes, one of them
    backward, and the student one more. `evaluate` moves nothing.

    The teacher is no part of the distiller: it is neither trained nor changed, and
    `save_weights` leaves it out. A distiller is there for training only; what is kept
    is the student: `distiller.student.save(...)`, `distiller.student.export(...)`.

    Args:
        teacher: `keras.Model` that gives logits, for example an ensemble, or None where
            logits come with the batch.
        student: `keras.Model` that gives logits of the same shape.
        temperature: float. Temperature of the soft targets. Defaults to `4.0`.
        alpha: float. Weight of the soft targets, in [0, 1]. Defaults to `0.5`.
        soft_target_scale: float or None. Factor on the divergence; None for `T^2`.
        teacher_scale: float. Factor on the teacher's logits. Defaults to `1.0`.
        teacher_draws: int. How many draws of its noise the teacher's answer is the
            mean of. Defaults to `1`.
        feature_layer: str or None. The student's layer whose output learns to predict
            the teacher's, through a 1x1 projection where channels differ. Maps must
            have one size.
        teacher_layers: sequence of str. Layers of the teacher, or of the members of an
            ensemble; their outputs are concatenated. By default `feature_layer`.
        feature_weight: float. Weight of the feature loss. Defaults to `0.0`.
        disagreement: float. How far images are moved: the root mean square in pixels of
            [0, 255] where a member is sure, less where it is not. Published: 1. The
            teacher must be a functional model. Defaults to `0.0`.
        label_loss: `LabelLoss` or None. The loss of the labels, for weights of classes
            or smoothed labels. By default without either.
        seed: int. Seed of `disagreement`. Defaults to `0`.
        **kwargs: the arguments of every `keras.Model`.

    Raises:
        ValueError: if the shapes of the two disagree or a value is out of range; by
            `compile`, if it is given a loss.
        NotImplementedError: by `save`, `export` and `get_config`.

    Example:

    >>> teacher = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> student = v1keras.models.build_classifier(
    ...     "resnet18", "no_noise", num_classes=10, width=16
    ... )
    >>> distiller = v1keras.models.Distiller(teacher, student, temperature=4.0)
    >>> distiller.compile("sgd", metrics=[v1keras.models.LabelAccuracy()])
    """

    def __init__(
        self,
        teacher: keras.Model | None,
        student: keras.Model,
        *,
        temperature: float = 4.0,
        alpha: float = 0.5,
        soft_target_scale: float | None = None,
        teacher_scale: float = 1.0,
        teacher_draws: int = 1,
        feature_layer: str | None = None,
        teacher_layers: Sequence[str] = (),
        feature_weight: float = 0.0,
        disagreement: float = 0.0,
        label_loss: LabelLoss | None = None,
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if not 0.0 <= alpha <= 1.0:
            raise ValueError(f"`alpha` must lie in [0, 1]. Received: alpha={alpha}")
        if teacher_draws < 1:
            raise ValueError(
                "`teacher_draws` must be at least 1. "
                f"Received: teacher_draws={teacher_draws}"
            )
        if feature_weight < 0 or (feature_weight > 0) != (feature_layer is not None):
            raise ValueError(
                "`feature_weight` must be positive with a `feature_layer` and 0 without "
                f"one. Received: feature_weight={feature_weight}, "
                f"feature_layer={feature_layer!r}"
            )
        if disagreement < 0 or (disagreement and not alpha and feature_layer is None):
            raise ValueError(
                "`disagreement` must be at least 0, and 0 if nothing is asked of a "
                f"teacher. Received: disagreement={disagreement}, alpha={alpha}"
            )
        for name, value in (
            ("feature_layer", feature_layer),
            ("disagreement", disagreement),
        ):
            if value and teacher is None:
                raise ValueError(
                    "`teacher` must be a model, not only its logits, if there is a "
                    f"`{name}`. Received: teacher=None"
                )
        if teacher is not None:
            _check_shapes(teacher, student)
        self._seeker = None
        if disagreement:
            self._seeker = DisagreementSeeker(teacher, disagreement, temperature, seed)
        self.student = student
        self.alpha = alpha
        self.feature_weight = feature_weight
        self._matches = feature_layer is not None
        self._is_taught = alpha > 0 or self._matches
        self.soft_target_loss = SoftTargetLoss(
            temperature, soft_target_scale, teacher_scale
        )
        self.label_loss = LabelLoss() if label_loss is None else label_loss
        self._label_mean = keras.metrics.Mean(name="label_loss")
        if self._is_taught:
            self._soft_mean = keras.metrics.Mean(name="soft_target_loss")
            self._agreement = keras.metrics.Mean(name="teacher_agreement")
        if self._matches:
            teacher = with_features(teacher, teacher_layers or [feature_layer])
            self.student_with_features = with_features(student, [feature_layer])
            self.feature_loss = FeatureLoss()
            self._feature_mean = keras.metrics.Mean(name="feature_loss")
            self.projection = _projection(teacher, self.student_with_features)
        self._teacher = None if teacher is None else _Teacher(teacher, teacher_draws)
        # What draws and switches the teacher's noise is state of the distiller: JAX hands
        # on nothing else from step to step, and would repeat the noise of the first.
        noisy = [] if teacher is None else noise_layers(teacher)
        drawing = [*noisy, *([self._seeker] if self._seeker else [])]
        self._seeds = [each.seed_generator for each in drawing]
        self._switches = [
            switch for each in noisy for switch in (each.noise_mode, each.noise_share)
        ]
        self.build(student.input_shape)

    @classmethod
    def paper(
        cls,
        teacher: keras.Model | None,
        student: keras.Model,
        *,
        members: int = 8,
        **kwargs,
    ):
        """The loss of Baidya et al. 2021: a sharp target and no factor of `T^2`.

        They soften the *sum* of the members' logits with T = 5. For a teacher that
        averages `members` of them this is a temperature of `5 / members`; the
        student is softened with T = 5. That is the divergence between
        `softmax(members * teacher / 5)` and `softmax(student / 5)`.

        Args:
            teacher: `keras.Model` that gives the mean logits of its members, or None
                where these come with the batch.
            student: `keras.Model` that gives logits.
            members: int. The number of members. Defaults to `8`.
            **kwargs: further arguments of `Distiller`.

        Returns:
            `Distiller`.
        """
        return cls(
            teacher,
            student,
            temperature=5.0,
            alpha=0.5,
            soft_target_scale=1.0,
            teacher_scale=float(members),
            **kwargs,
        )

    def build(self, input_shape):
        if self._matches:
            self.projection.build(self.student_with_features.output["features"].shape)

    def compile(self, optimizer="rmsprop", loss=None, **kwargs):
        """Takes the arguments of `keras.Model.compile`, without a loss."""
        if loss is not None:
            raise ValueError(
                "`loss` must be left out: a `Distiller` has its own losses. "
                f"Received: loss={loss}"
            )
        super().compile(optimizer, **kwargs)

    def call(self, images, training=None):
        model = self.student_with_features if self._matches else self.student
        return model(images, training=training)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        labels, targets = _labels_and_logits(y)
        answer = self._answer(y_pred)
        loss = (1.0 - self.alpha) * self._add(
            self.label_loss, self._label_mean, labels, answer["logits"], sample_weight
        )
        if training and self._seeker:
            x, targets = self._seeker(x), None
            answer = self._answer(self(x, training=True))
        if self._is_taught:
            logits = answer["logits"]
            taught = self._taught(x, targets)
            loss = loss + self.alpha * self._add(
                self.soft_target_loss,
                self._soft_mean,
                taught["logits"],
                logits,
                sample_weight,
            )
            best = [ops.argmax(each, axis=-1) for each in (taught["logits"], logits)]
            self._agreement.update_state(ops.equal(*best), sample_weight)
        if self._matches:
            features = ops.cast(self.projection(answer["features"]), "float32")
            loss = loss + self.feature_weight * self._add(
                self.feature_loss,
                self._feature_mean,
                taught["features"],
                features,
                sample_weight,
            )
        if self.losses:  # regularisers of the student, which `super` adds up
            loss = loss + super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        labels, _ = _labels_and_logits(y)
        logits = y_pred["logits"] if self._matches else y_pred
        return super().compute_metrics(x, labels, logits, sample_weight)

    def get_config(self):
        """Refuses; `save` and `clone_model` do, too."""
        raise NotImplementedError(
            "A `Distiller` cannot be saved or copied; save what it trains by "
            "`distiller.student.save(...)`, or its weights by "
            "`distiller.save_weights(...)`."
        )

    def export(self, *args, **kwargs):
        """Refuses."""
        raise NotImplementedError(
            "A `Distiller` cannot be exported; export what it trains by "
            "`distiller.student.export(...)`."
        )

    def save_own_variables(self, store):
        # Keras leaves the state of seed generators out of its files; a training that is
        # resumed would draw the teacher's first noise again.
        if self._seeds:
            store["seed_states"] = np.stack(
                [ops.convert_to_numpy(seeds.state) for seeds in self._seeds]
            )

    def load_own_variables(self, store):
        if "seed_states" not in store:  # of version 0.1.0, or without a teacher
            return
        states = store["seed_states"]
        # A student may go on beside another teacher, or with its logits alone.
        if len(states) == len(self._seeds):
            for seeds, state in zip(self._seeds, states, strict=True):
                seeds.state.assign(state)

    def _answer(self, outputs) -> dict:
        """The outputs of `call`, with logits in float32."""
        answer = dict(outputs) if self._matches else {"logits": outputs}
        return {**answer, "logits": ops.cast(answer["logits"], "float32")}

    def _taught(self, images, logits) -> dict:
        """What the teacher says, from the batch or from the teacher itself."""
        if logits is None or self._matches:
            if self._teacher is None:
                raise ValueError(
                    "Without a teacher its logits must come with the batch, as "
                    "y = (labels, logits). Received: y = labels"
                )
            answer = self._teacher(images)
        else:
            answer = {"logits": logits}
        return {
            name: ops.cast(ops.stop_gradient(value), "float32")
            for name, value in answer.items()
        }

    @staticmethod
    def _add(loss, mean, target, prediction, sample_weight):
        # Called as a loss, the value is divided by the number of replicas, as a
        # gradient needs it; the means that are shown take the undivided samples.
        mean.update_state(loss.call(target, prediction), sample_weight)
        return loss(target, prediction, sample_weight)


@dataclasses.dataclass(frozen=True)
class _Teacher:
    """A teacher and its draws: no layer, so that Keras neither trains nor saves it."""

    model: keras.Model
    draws: int

    def __call__(self, images) -> dict:
        """The mean of several calls, whose noise differs."""
        # Noise that is off now may be on in a later call of the compiled step.
        may_draw = any(layer.noise_gain for layer in noise_layers(self.model))
        draws = self.draws if may_draw else 1
        answers = [self.model(images, training=False) for _ in range(draws)]
        if not isinstance(answers[0], dict):
            answers = [{"logits": answer} for answer in answers]
        return {
            name: sum(ops.cast(each[name], "float32") for each in answers) / draws
            for name in answers[0]
        }


def _check_shapes(teacher: keras.Model, student: keras.Model) -> None:
    for what, thing in (
        ("output_shape", "give logits"),
        ("input_shape", "take images"),
    ):
        theirs, own = getattr(teacher, what), getattr(student, what)
        if theirs != own:
            raise ValueError(
                f"Teacher and student must {thing} of the same shape. Received: "
                f"{teacher.name} with {theirs}, {student.name} with {own}"
            )


def _labels_and_logits(y) -> tuple:
    return y if isinstance(y, tuple | list) else (y, None)


def _projection(teacher: keras.Model, student: keras.Model) -> keras.layers.Layer:
    """From the student's features to the teacher's number of channels."""
    theirs, own = (model.output["features"].shape for model in (teacher, student))
    if theirs[1:-1] != own[1:-1]:
        raise ValueError(
            "The feature maps of teacher and student must have one size. Received: "
            f"{theirs[1:-1]} and {own[1:-1]}"
        )
    if theirs[-1] == own[-1]:
        return keras.layers.Identity(name="projection")
    # On maps, a dense layer is a 1x1 convolution.
    return keras.layers.Dense(theirs[-1], use_bias=False, name="projection")
