import itertools

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from v1keras import set_noise
from v1keras.models import Distiller, build_classifier, build_ensemble
from v1keras.models.disagreement import DisagreementSeeker

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.uniform(40, 215, (32, 4, 4, 3)).astype("float32")
LABELS = RANDOM.integers(0, 2, 32)
SIZE = IMAGES[0].size


def linear(seed, name):
    """A classifier of two classes whose gradient is known."""
    weights = np.random.default_rng(seed).normal(0, 0.005, (SIZE, 2))
    inputs = keras.Input((4, 4, 3))
    outputs = keras.layers.Dense(2, name="logits")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs, name=name)
    model.set_weights([weights, np.array([0.3, -0.2])])
    return model


def step(model, size, temperature):
    """How far and where an image may go: of two classes w decides the sign alone."""
    weights = model.get_weights()[0].astype("float64")
    direction = weights[:, 0] - weights[:, 1]
    logits = np.asarray(model(IMAGES), "float64")
    confidence = softmax(logits / temperature, -1).max(-1)
    unit = np.sqrt(SIZE) * direction / np.linalg.norm(direction)
    return size * confidence[:, None] * unit


def moved(teacher, *arguments, images=IMAGES, **kwargs):
    return np.asarray(DisagreementSeeker(teacher, *arguments, **kwargs)(images))


@pytest.mark.parametrize("ensemble", [False, True])
def test_the_step_by_formula(ensemble):
    model = linear(1, "one")
    teacher = build_ensemble([model]) if ensemble else model
    change = (moved(teacher, 3.0, 2.0) - IMAGES).reshape(32, -1)
    expected = step(model, 3.0, 2.0)
    signs = np.sign(np.sum(change * expected, axis=1))
    np.testing.assert_allclose(change, signs[:, None] * expected, atol=2e-4)
    assert set(signs) == {-1.0, 1.0}


def test_each_image_asks_one_member_of_an_ensemble():
    models = [linear(1, "one"), linear(2, "two"), linear(3, "three")]
    change = (moved(build_ensemble(models), 3.0, 2.0) - IMAGES).reshape(32, -1)
    steps = [step(model, 3.0, 2.0) for model in models]
    asked = []
    for number, row in enumerate(change):
        options = [
            sign * each[number] for each, sign in itertools.product(steps, (1, -1))
        ]
        distances = [np.abs(row - option).max() for option in options]
        assert min(distances) < 2e-4
        asked.append(int(np.argmin(distances)) // 2)
    assert set(asked) == {0, 1, 2}


def test_moved_images_are_images():
    images = IMAGES.copy()
    images[0], images[1] = 0.0, 255.0
    found = moved(linear(1, "one"), 30.0, 2.0, images=images)
    assert found.min() == 0.0 and found.max() == 255.0


def test_a_flat_answer_moves_nothing():
    model = linear(1, "one")
    model.set_weights([np.zeros((SIZE, 2)), np.zeros(2)])
    np.testing.assert_array_equal(moved(model, 3.0, 2.0), IMAGES)


def test_draws_are_new_in_each_call_and_repeat_with_the_seed():
    model = linear(1, "one")
    seeker = DisagreementSeeker(model, 3.0, 2.0, seed=5)
    first, second = np.asarray(seeker(IMAGES)), np.asarray(seeker(IMAGES))
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(moved(model, 3.0, 2.0, seed=5), first)
    assert not np.array_equal(moved(model, 3.0, 2.0, seed=6), first)


def test_members_disagree_more_on_moved_images():
    models = [linear(1, "one"), linear(2, "two"), linear(3, "three")]

    def spread(images):
        answers = [softmax(np.asarray(model(images)), -1) for model in models]
        return np.std(answers, axis=0).mean()

    assert spread(moved(build_ensemble(models), 20.0, 1.0)) > 1.2 * spread(IMAGES)


@pytest.mark.parametrize("alpha", [0.7, 1.0])
def test_losses_of_a_step_by_formula(alpha):
    teacher = build_ensemble([linear(1, "one"), linear(2, "two")])
    student = linear(4, "student")
    images = moved(teacher, 8.0, 2.0, seed=3)
    p, q, plain = (
        np.asarray(each, "float64")
        for each in (teacher(images), student(images), student(IMAGES))
    )
    log_p, log_q = (log_softmax(each / 2.0, -1) for each in (p, q))
    soft = 4.0 * np.mean(np.sum(np.exp(log_p) * (log_p - log_q), -1))
    hard = -np.mean(log_softmax(plain, -1)[np.arange(32), LABELS])
    settings = {"temperature": 2.0, "alpha": alpha, "disagreement": 8.0, "seed": 3}
    distiller = Distiller(teacher, student, **settings)
    distiller.compile("sgd", jit_compile=False)
    logs = distiller.train_on_batch(IMAGES, LABELS, return_dict=True)
    assert logs["soft_target_loss"] == pytest.approx(soft, rel=1e-3)
    assert logs["loss"] == pytest.approx(alpha * soft + (1 - alpha) * hard, rel=1e-3)
    agree = np.mean(p.argmax(-1) == q.argmax(-1))
    assert logs["teacher_agreement"] == pytest.approx(agree)


def test_evaluate_moves_nothing():
    teacher, student = linear(1, "one"), linear(2, "two")
    logs = []
    for size in (0.0, 30.0):
        distiller = Distiller(teacher, student, disagreement=size)
        distiller.compile("sgd")
        logs.append(distiller.evaluate(IMAGES, LABELS, verbose=0, return_dict=True))
    assert logs[0] == logs[1]


def noisy(variant, seed):
    return build_classifier(
        "resnet18", variant, num_classes=2, input_shape=(32, 32, 3), width=4, stride=8,
        seed=seed,
    )  # fmt: skip


def test_what_is_drawn_goes_on_with_saved_weights(tmp_path):
    """Both the noise of a teacher and the images that it is asked about."""
    images = RANDOM.uniform(0, 255, (8, 32, 32, 3)).astype("float32")
    labels = LABELS[:8]

    def begin():
        teacher = build_ensemble([noisy("standard", 1), noisy("low_noise", 2)])
        set_noise(teacher, "stochastic", seed=7)
        distiller = Distiller(teacher, noisy("no_noise", 3), disagreement=1.0)
        distiller.compile(keras.optimizers.SGD(0.01), jit_compile=False)
        return distiller

    whole, halved = begin(), begin()
    whole.fit(images, labels, epochs=2, verbose=0, shuffle=False)
    halved.fit(images, labels, epochs=1, verbose=0, shuffle=False)
    halved.save_weights(tmp_path / "half.weights.h5")
    resumed = begin()
    resumed.load_weights(tmp_path / "half.weights.h5")
    resumed.fit(images, labels, epochs=1, verbose=0, shuffle=False)
    pairs = zip(whole.student.weights, resumed.student.weights, strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs)


def test_features_are_those_of_moved_images():
    teacher, student = linear(1, "one"), linear(2, "two")
    settings = {"feature_layer": "logits", "feature_weight": 1.0, "alpha": 0.0}
    distiller = Distiller(teacher, student, disagreement=8.0, seed=3, **settings)
    distiller.compile("sgd", jit_compile=False)
    images = moved(teacher, 8.0, 4.0, seed=3)
    p, q = (np.asarray(model(images), "float64") for model in (teacher, student))
    expected = np.mean(np.sum((p - q) ** 2, -1) / np.sum(p**2, -1))
    logs = distiller.train_on_batch(IMAGES, LABELS, return_dict=True)
    assert logs["feature_loss"] == pytest.approx(expected, rel=1e-3)


def test_refusals():
    teacher, student = linear(1, "one"), linear(2, "two")
    with pytest.raises(ValueError, match=r"`disagreement` .*disagreement=-1"):
        Distiller(teacher, student, disagreement=-1.0)
    with pytest.raises(ValueError, match=r"`disagreement` .*alpha=0"):
        Distiller(teacher, student, alpha=0.0, disagreement=1.0)
    with pytest.raises(ValueError, match="if there is a `disagreement`"):
        Distiller(None, student, disagreement=1.0)
