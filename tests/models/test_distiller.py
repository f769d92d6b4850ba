import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

import v1keras
from v1keras.layers import noise_layers
from v1keras.models import (
    Distiller,
    FeatureLoss,
    LabelAccuracy,
    LabelLoss,
    SoftTargetLoss,
    build_classifier,
    build_ensemble,
)
from v1keras.training.strategy import get_strategy, precision

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(0, 255, (8, 32, 32, 3)).astype("float32")
LABELS = RANDOM.integers(0, 5, 8)


def classifier(variant, seed=0):
    return build_classifier(
        "resnet18", variant, num_classes=5, input_shape=(32, 32, 3), width=16,
        stride=4, seed=seed,
    )  # fmt: skip


def pair():
    teacher = classifier("standard", seed=1)
    v1keras.set_noise(teacher, "off")
    return teacher, classifier("no_noise", seed=2)


def compiled(distiller, rate=0.01):
    distiller.compile(
        keras.optimizers.SGD(rate),
        metrics=[LabelAccuracy()],
        jit_compile=False,
    )
    return distiller


def kl(teacher, student, temperature_t, temperature_s):
    """Mean over the batch of KL(teacher || student), in NumPy."""
    log_p = log_softmax(teacher / temperature_t, axis=-1)
    log_q = log_softmax(student / temperature_s, axis=-1)
    return np.mean(np.sum(np.exp(log_p) * (log_p - log_q), axis=-1))


def cross_entropy(logits):
    return -np.mean(log_softmax(logits, axis=-1)[np.arange(8), LABELS])


def test_soft_target_loss_by_formula():
    teacher, student = RANDOM.normal(0, 5, (2, 8, 5))
    loss = float(SoftTargetLoss(3.0)(teacher, student))
    assert np.isclose(loss, 9.0 * kl(teacher, student, 3.0, 3.0), rtol=1e-5)
    plain = float(SoftTargetLoss(3.0, scale=1.0)(teacher, student))
    assert np.isclose(plain, kl(teacher, student, 3.0, 3.0), rtol=1e-5)


def test_gradient_of_the_soft_targets_by_formula():
    # d/dq of T^2 KL is T (softmax(q / T) - softmax(p / T)), over the batch's size.
    teacher, student = RANDOM.normal(0, 2, (2, 8, 5)).astype("float32")
    student = tf.constant(student)
    with tf.GradientTape() as tape:
        tape.watch(student)
        loss = SoftTargetLoss(4.0)(teacher, student)
    expected = 4.0 * (softmax(student / 4.0, -1) - softmax(teacher / 4.0, -1)) / 8
    np.testing.assert_allclose(tape.gradient(loss, student), expected, atol=1e-5)


def test_losses_of_evaluate_by_formula():
    teacher, student = pair()
    distiller = compiled(Distiller(teacher, student, temperature=2.0, alpha=0.3))
    logs = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    p, q = (np.asarray(each(IMAGES), "float64") for each in (teacher, student))
    soft, hard = 4.0 * kl(p, q, 2.0, 2.0), cross_entropy(q)
    assert np.isclose(logs["soft_target_loss"], soft, rtol=1e-3)
    assert np.isclose(logs["label_loss"], hard, rtol=1e-3)
    assert np.isclose(logs["loss"], 0.3 * soft + 0.7 * hard, rtol=1e-3)
    assert np.isclose(logs["accuracy"], np.mean(q.argmax(-1) == LABELS))


def test_paper_softens_the_summed_logits():
    teacher, student = pair()
    distiller = compiled(Distiller.paper(teacher, student, members=8))
    logs = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    p, q = (np.asarray(each(IMAGES), "float64") for each in (teacher, student))
    # 0.625 on the mean is 5 on the sum of eight.
    soft, hard = kl(p, q, 0.625, 5.0), cross_entropy(q)
    assert np.isclose(logs["loss"], 0.5 * soft + 0.5 * hard, rtol=1e-3)


def test_only_the_student_learns(tmp_path):
    teacher, student = pair()
    teacher.get_layer("bottleneck").trainable = False
    before = [w.numpy() for w in teacher.weights]
    flags = [layer.trainable for layer in teacher.layers]
    noise = [layer.get_config() for layer in noise_layers(teacher)]
    untaught = [w.numpy() for w in student.trainable_weights]
    distiller = compiled(Distiller(teacher, student))
    distiller.fit(IMAGES, LABELS, epochs=2, batch_size=4, verbose=0)
    for weight, old in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert [layer.trainable for layer in teacher.layers] == flags
    assert [layer.get_config() for layer in noise_layers(teacher)] == noise
    assert all(
        not np.array_equal(w, old)
        for w, old in zip(student.trainable_weights, untaught, strict=True)
    )
    assert distiller.count_params() == student.count_params()


def test_what_a_distiller_refuses(tmp_path):
    distiller = Distiller(*pair())
    for arguments in (("sgd", "mse"), ("sgd", LabelLoss())):
        with pytest.raises(
            ValueError, match=r"`loss` must be left out.*Received: loss"
        ):
            distiller.compile(*arguments)
    with pytest.raises(NotImplementedError, match=r"distiller\.student\.save"):
        distiller.save(tmp_path / "distiller.keras")
    with pytest.raises(NotImplementedError, match=r"distiller\.student\.save"):
        keras.models.clone_model(distiller)
    with pytest.raises(NotImplementedError, match=r"distiller\.student\.export"):
        distiller.export(tmp_path / "distiller")


@pytest.mark.parametrize("features", [False, True])
def test_regularisers_of_the_student_count_once(features):
    def student():
        inputs = keras.Input((32, 32, 3))
        x = keras.layers.Conv2D(
            4, 3, strides=4, name="conv", activity_regularizer=keras.regularizers.L2(1)
        )(inputs)
        x = keras.layers.GlobalAveragePooling2D()(x)
        return keras.Model(inputs, keras.layers.Dense(5, kernel_regularizer="l2")(x))

    one = student()
    settings = {"feature_layer": "conv", "feature_weight": 1.0} if features else {}
    distiller = compiled(Distiller(without_norm(name="conv"), one, **settings))
    logs = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    maps = one.get_layer("conv")(IMAGES)
    penalty = np.sum(np.square(maps)) / 8 + 0.01 * np.sum(one.layers[-1].kernel ** 2)
    expected = 0.5 * (logs["soft_target_loss"] + logs["label_loss"]) + penalty
    expected += logs.get("feature_loss", 0.0)
    assert np.isclose(logs["loss"], expected, rtol=1e-4)


def test_losses_work_in_the_distiller_of_keras():
    # Without batch normalisation, which Keras lets train while it evaluates.
    teacher, student = without_norm("conv"), without_norm("conv")
    theirs = keras.distillation.Distiller(
        teacher,
        student,
        [
            keras.distillation.LogitsDistillation(1.0, loss=SoftTargetLoss(3.0)),
            keras.distillation.FeatureDistillation(FeatureLoss(), "conv", "conv"),
        ],
        distillation_loss_weights=[1.0, 2.0],
    )
    theirs.compile("sgd", LabelLoss(), metrics=[LabelAccuracy()])
    found = theirs.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    ours = Distiller(
        teacher,
        student,
        temperature=3.0,
        feature_layer="conv",
        feature_weight=1.0,
    )
    expected = compiled(ours).evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    assert np.isclose(found["total_loss"], expected["loss"], rtol=1e-3)
    assert np.isclose(found["student_loss"], expected["label_loss"], rtol=1e-3)


def test_evaluate_changes_nothing():
    teacher, student = pair()
    distiller = compiled(Distiller(teacher, student))
    before = [w.numpy() for w in (*teacher.weights, *student.weights)]
    distiller.evaluate(IMAGES, LABELS, verbose=0)
    after = [w.numpy() for w in (*teacher.weights, *student.weights)]
    moved = [
        weight.path
        for weight, a, b in zip(
            (*teacher.weights, *student.weights), before, after, strict=True
        )
        if not np.array_equal(a, b) and "seed_generator" not in weight.path
    ]
    assert moved == []


def test_alpha_one_and_equal_logits_teach_nothing():
    teacher, _ = pair()
    student = keras.models.clone_model(teacher)
    student.set_weights(teacher.get_weights())
    v1keras.set_noise(student, "off")
    distiller = compiled(Distiller(teacher, student, alpha=1.0))
    logs = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    assert abs(logs["loss"]) < 1e-6


def test_sample_weights():
    teacher, student = pair()
    distiller = compiled(Distiller(teacher, student, alpha=0.5))
    weights = np.array([1.0, 0, 0, 0, 0, 0, 0, 0], "float32")
    logs = distiller.evaluate(
        IMAGES, LABELS, sample_weight=weights, verbose=0, return_dict=True
    )
    first = compiled(Distiller(teacher, student, alpha=0.5)).evaluate(
        IMAGES[:1], LABELS[:1], verbose=0, return_dict=True
    )
    # Keras divides a weighted loss by the size of the batch.
    assert np.isclose(logs["loss"], first["loss"] / 8, rtol=1e-4)
    assert np.isclose(logs["label_loss"], first["label_loss"], rtol=1e-4)


def without_norm(name=None):
    """A student whose batches can be split without changing it."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", name=name)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(5)(x))


def test_one_and_two_replicas_learn_and_log_alike():
    keras.utils.set_random_seed(0)
    start = without_norm().get_weights()
    teach = without_norm().get_weights()
    results = []
    for name, count in (("none", 1), ("mirrored", 2)):
        strategy = get_strategy(name)
        assert strategy.num_replicas_in_sync == count
        with strategy.scope():
            teacher, student = without_norm(), without_norm()
            teacher.set_weights(teach)
            student.set_weights(start)
            distiller = compiled(Distiller(teacher, student, alpha=0.5), rate=0.1)
        data = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(4)
        history = distiller.fit(data, epochs=3, verbose=0)
        results.append((student.get_weights(), history.history))
    (one, logs_one), (two, logs_two) = results
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for name in logs_one:
        np.testing.assert_allclose(logs_one[name], logs_two[name], rtol=1e-4)


@keras.saving.register_keras_serializable(package="tests")
class Counter(keras.layers.Layer):
    """Counts how often it is called."""

    def build(self, input_shape):
        self.count = self.add_weight(
            dtype="int32", initializer="zeros", trainable=False
        )

    def call(self, inputs):
        self.count.assign_add(1)
        return inputs


def counted(model):
    """The model and a counter of its forward passes."""
    counter = Counter()
    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, model(counter(inputs))), counter


def test_one_forward_of_each_in_a_step():
    (teacher, teacher_calls), (student, student_calls) = map(counted, pair())
    distiller = compiled(Distiller(teacher, student))
    distiller.fit(IMAGES, LABELS, batch_size=4, epochs=3, verbose=0)
    assert (int(teacher_calls.count), int(student_calls.count)) == (6, 6)
    distiller.evaluate(IMAGES, LABELS, verbose=0, batch_size=8)
    assert (int(teacher_calls.count), int(student_calls.count)) == (7, 7)


def test_logits_with_the_batch_are_as_good_as_the_teacher():
    start = without_norm().get_weights()
    teacher, results = without_norm(), []
    logits = teacher.predict(IMAGES, verbose=0)
    for given, y in ((teacher, LABELS), (None, (LABELS, logits))):
        student = without_norm()
        student.set_weights(start)
        distiller = compiled(Distiller(given, student, alpha=0.7), rate=0.1)
        data = tf.data.Dataset.from_tensor_slices((IMAGES, y)).batch(4)
        history = distiller.fit(data, epochs=3, verbose=0, validation_data=(IMAGES, y))
        results.append((student.get_weights(), history.history))
    (online, logs), (cached, cached_logs) = results
    for a, b in zip(online, cached, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    assert set(logs) == set(cached_logs) >= {"teacher_agreement", "val_accuracy"}
    for name in logs:
        np.testing.assert_allclose(logs[name], cached_logs[name], rtol=1e-4)


def test_a_teacher_with_the_batch_does_not_run():
    (teacher, calls), (student, _) = map(counted, pair())
    distiller = compiled(Distiller(teacher, student))
    logits = RANDOM.normal(size=(8, 5)).astype("float32")
    distiller.fit(IMAGES, (LABELS, logits), verbose=0)
    assert int(calls.count) == 0
    with pytest.raises(ValueError, match="must come with the batch"):
        compiled(Distiller(None, student)).fit(IMAGES, LABELS, verbose=0)


def test_alpha_zero_is_plain_training_and_asks_nobody():
    teacher, calls = counted(without_norm())
    first = without_norm()
    second = without_norm()
    second.set_weights(first.get_weights())
    distiller = compiled(Distiller(teacher, first, alpha=0.0), rate=0.1)
    logs = distiller.fit(
        IMAGES, LABELS, batch_size=4, epochs=2, shuffle=False, verbose=0
    ).history
    second.compile(keras.optimizers.SGD(0.1), LabelLoss(), metrics=[LabelAccuracy()])
    plain = second.fit(
        IMAGES, LABELS, batch_size=4, epochs=2, shuffle=False, verbose=0
    ).history
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert int(calls.count) == 0 and "teacher_agreement" not in logs
    np.testing.assert_allclose(logs["loss"], plain["loss"], rtol=1e-5)
    np.testing.assert_allclose(logs["accuracy"], plain["accuracy"])


def test_agreement_counts_equal_best_classes():
    teacher, student = pair()
    logs = compiled(Distiller(teacher, student)).evaluate(
        IMAGES, LABELS, verbose=0, return_dict=True
    )
    same = np.argmax(teacher(IMAGES), -1) == np.argmax(student(IMAGES), -1)
    assert np.isclose(logs["teacher_agreement"], same.mean())


def test_the_teacher_answers_with_the_mean_of_its_draws():
    teacher, student = classifier("standard", seed=1), classifier("no_noise", seed=2)
    v1keras.set_noise(teacher, "stochastic", seed=5)
    draws = [np.asarray(teacher(IMAGES), "float64") for _ in range(3)]
    assert np.abs(draws[0] - draws[1]).max() > 1e-3
    v1keras.set_noise(teacher, "stochastic", seed=5)
    distiller = compiled(Distiller(teacher, student, temperature=2.0, teacher_draws=3))
    logs = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    soft = 4.0 * kl(np.mean(draws, 0), np.asarray(student(IMAGES), "float64"), 2.0, 2.0)
    assert np.isclose(logs["soft_target_loss"], soft, rtol=1e-3)


def test_labels_of_mixed_images_are_distributions():
    teacher, student = pair()
    labels = RANDOM.dirichlet(np.ones(5), 8).astype("float32")
    logs = compiled(Distiller(teacher, student)).evaluate(
        IMAGES, labels, verbose=0, return_dict=True
    )
    logits = np.asarray(student(IMAGES), "float64")
    expected = -np.mean(np.sum(labels * log_softmax(logits, -1), -1))
    assert np.isclose(logs["label_loss"], expected, rtol=1e-4)
    same = logits.argmax(-1) == labels.argmax(-1)
    assert np.isclose(logs["accuracy"], same.mean())


def test_features_of_all_members_are_predicted_through_a_projection():
    members = [classifier("standard", seed=s) for s in (1, 3)]
    teacher = build_ensemble(members)
    v1keras.set_noise(teacher, "off")
    student = classifier("no_noise", seed=2)
    distiller = compiled(
        Distiller(teacher, student, feature_layer="layer2_1_relu2", feature_weight=0.5)
    )

    def features(model):
        inner = keras.Model(model.input, model.get_layer("layer2_1_relu2").output)
        return np.asarray(inner(IMAGES), "float64")

    theirs = np.concatenate([features(member) for member in members], axis=-1)
    kernel = np.asarray(distiller.projection.kernel, "float64")
    assert kernel.shape == (32, 64)
    distance = ((theirs - features(student) @ kernel) ** 2).sum((1, 2, 3))
    expected = np.mean(distance / (theirs**2).sum((1, 2, 3)))
    logs = distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True)
    assert np.isclose(logs["feature_loss"], expected, rtol=1e-3)
    total = 0.5 * (logs["soft_target_loss"] + logs["label_loss"] + logs["feature_loss"])
    assert np.isclose(logs["loss"], total, rtol=1e-4)
    np.testing.assert_allclose(
        distiller.predict(IMAGES, verbose=0)["logits"], student(IMAGES), atol=1e-4
    )


def test_feature_matching_resumes(tmp_path):
    teacher, student = pair()
    settings = {
        "feature_layer": "layer2_1_relu2",
        "teacher_layers": ["layer2_1_relu2", "layer2_0_relu2"],
        "feature_weight": 1.0,
    }
    distiller = compiled(Distiller(teacher, student, **settings), rate=0.1)
    before = [w.numpy() for w in teacher.weights]
    first = distiller.fit(IMAGES, LABELS, verbose=0).history["feature_loss"]
    for weight, old in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    distiller.save_weights(tmp_path / "training.weights.h5")
    resumed = compiled(Distiller(teacher, pair()[1], **settings))
    resumed.load_weights(tmp_path / "training.weights.h5")
    np.testing.assert_array_equal(
        resumed.projection.kernel, distiller.projection.kernel
    )
    then = distiller.fit(IMAGES, LABELS, epochs=10, verbose=0).history["feature_loss"]
    assert then[-1] < first[0]
    with pytest.raises(ValueError, match="feature maps of teacher and student"):
        Distiller(teacher, student, **{**settings, "feature_layer": "layer3_1_relu2"})


def test_weights_fit_beside_another_teacher(tmp_path):
    file = tmp_path / "training.weights.h5"
    distiller = Distiller(
        classifier("standard", seed=1), classifier("no_noise", seed=2)
    )
    distiller.save_weights(file)
    members = [classifier("standard", seed=1), classifier("low_noise", seed=3)]
    for teacher in (None, build_ensemble(members)):
        other = Distiller(teacher, classifier("no_noise", seed=4))
        other.load_weights(file)
        pairs = zip(other.student.weights, distiller.student.weights, strict=True)
        assert all(np.array_equal(one, another) for one, another in pairs)


def test_mixed_precision_keeps_the_losses_in_float32():
    with precision(True):
        teacher, student = pair()
        distiller = compiled(
            Distiller(
                teacher, student, feature_layer="layer2_1_relu2", feature_weight=0.5
            )
        )
    assert student.get_layer("layer2_1_relu2").compute_dtype == "bfloat16"
    history = distiller.fit(IMAGES, LABELS, epochs=2, verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    logits = student(IMAGES, training=False)
    loss = distiller.compute_loss(IMAGES, LABELS, distiller(IMAGES))
    assert logits.dtype == loss.dtype == tf.float32


@pytest.mark.parametrize(
    "loss",
    [SoftTargetLoss(2.0, scale=3.0, teacher_scale=8.0), LabelLoss(), FeatureLoss()],
)
def test_losses_are_serializable(loss):
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert type(copy) is type(loss) and copy.get_config() == loss.get_config()
    target, prediction = RANDOM.normal(size=(2, 8, 5))
    if isinstance(loss, LabelLoss):
        target = LABELS
    assert float(copy(target, prediction)) == float(loss(target, prediction))


def test_refusals():
    teacher, student = pair()
    other = build_classifier(
        "resnet18", "base", num_classes=6, input_shape=(32, 32, 3), width=16
    )
    with pytest.raises(ValueError, match="same shape"):
        Distiller(other, student)
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        Distiller(teacher, student, alpha=1.5)
    with pytest.raises(ValueError, match="temperature=0"):
        Distiller(teacher, student, temperature=0)
    with pytest.raises(ValueError, match="teacher_draws=0"):
        Distiller(teacher, student, teacher_draws=0)
    with pytest.raises(ValueError, match=r"feature_weight=0\.0"):
        Distiller(teacher, student, feature_layer="pool")
    with pytest.raises(ValueError, match="`teacher` must be a model"):
        Distiller(None, student, feature_layer="pool", feature_weight=1.0)
    with pytest.raises(ValueError, match=r"must name layers of .*'pol'"):
        Distiller(teacher, student, feature_layer="pol", feature_weight=1.0)
