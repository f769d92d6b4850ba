import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax, softmax

import v1keras
from v1keras.models import Distiller, SoftTargetLoss, build_classifier
from v1keras.training.strategy import get_strategy

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
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
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


def test_only_the_student_learns_and_is_saved(tmp_path):
    teacher, student = pair()
    before = [w.numpy() for w in teacher.weights]
    untaught = [w.numpy() for w in student.trainable_weights]
    distiller = compiled(Distiller(teacher, student))
    distiller.fit(IMAGES, LABELS, epochs=2, batch_size=4, verbose=0)
    for weight, old in zip(teacher.weights, before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert all(
        not np.array_equal(w, old)
        for w, old in zip(student.trainable_weights, untaught, strict=True)
    )
    assert distiller.count_params() == student.count_params()
    distiller.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    np.testing.assert_allclose(loaded(IMAGES), student(IMAGES), atol=1e-6)


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


def without_norm():
    """A student whose batches can be split without changing it."""
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu")(x)
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
