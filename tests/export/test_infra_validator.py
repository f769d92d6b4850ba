import dataclasses
import json

import keras
import numpy as np
import pytest
from scipy.special import softmax

from export.blessing import RejectedError
from export.infra_validator import (
    TOLERANCES,
    Tolerance,
    bless,
    keras_logits,
    measure_noisy_parity,
    measure_parity,
    validate,
)
from export.runtimes import Answers
from v1keras.files import format_json

EXPECTED = np.array([[4.0, 0.0], [0.0, 2.0], [1.0, 0.9]], np.float32)
SHIFTED = np.array([[4.0, 0.0], [0.0, 2.0], [1.0, 1.3]], np.float32)


def limits(logits=1, probability=1, top1=0):
    return Tolerance(logits, probability, top1, accuracy=0)


def check(logits, tolerance, probabilities=None):
    logits = np.asarray(logits, np.float32)
    probabilities = softmax(logits, axis=-1) if probabilities is None else probabilities
    return measure_parity("litert", logits, probabilities, EXPECTED, tolerance)


def test_equal_answers_agree_within_every_tolerance():
    for tolerance in TOLERANCES.values():
        found = check(EXPECTED, tolerance)
        assert (found.logits, found.top1, found.reasons) == (0, 1, ())
        assert found.images == 3


def test_differences_are_measured():
    found = check(SHIFTED, limits())
    assert found.logits == pytest.approx(0.1)
    assert found.top1 == pytest.approx(2 / 3)
    expected = 1 / (1 + np.exp(0.1)) - 1 / (1 + np.exp(-0.3))
    assert found.probability == pytest.approx(abs(expected), rel=1e-5)
    assert found.reasons == ()


@pytest.mark.parametrize(
    "tolerance,reason",
    [
        (limits(logits=0.09), "logits differ by 0.1 > 0.09"),
        (limits(None, probability=0.05), "probabilities differ"),
    ],
)
def test_each_tolerance_counts(tolerance, reason):
    (found,) = check(SHIFTED, tolerance).reasons
    assert reason in found


@pytest.mark.parametrize(
    "count,differing,passes",
    [(3, 1, True), (3, 2, False), (24, 3, False), (24, 2, True)],
)
def test_one_image_may_have_another_best_class(count, differing, passes):
    expected = np.tile(EXPECTED[2:], (count, 1))
    logits = expected.copy()
    logits[:differing] = SHIFTED[2:]
    probabilities = softmax(logits, axis=-1)
    limit = limits(None, top1=0.9)
    found = measure_parity("litert", logits, probabilities, expected, limit)
    assert (found.reasons == ()) == passes
    assert passes or f"agree on {1 - differing / count:.1%} < 90%" in found.reasons[0]


def test_answers_must_be_finite():
    logits = EXPECTED.copy()
    logits[0, 0] = np.nan
    found = check(logits, limits(None))
    assert found.reasons == ("not all answers are finite",)
    answers = {"litert": Answers(1.0, logits, logits)}
    with pytest.raises(RejectedError) as rejection:
        bless([found], answers, {})
    content = json.loads(format_json(rejection.value.content, what="marker"))
    assert content["parity"][0]["logits"] is None


def test_logits_of_the_keras_model_must_be_finite():
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2, kernel_initializer=keras.initializers.Constant(3e38)),
        ]
    )
    with pytest.raises(ValueError, match="Keras model must give finite logits"):
        keras_logits(model, np.full((2, 4, 4, 3), 255, np.uint8))


def test_answers_must_have_the_right_shape():
    with pytest.raises(ValueError, match=r"must have the shape \(3, 2\)"):
        check(EXPECTED[:2], TOLERANCES["litert"])


def test_noisy_answers_of_the_same_model_agree():
    generator = np.random.default_rng(0)
    mean, spread = generator.normal(0, 3, (20, 5)), generator.uniform(0.1, 2, (20, 5))
    answers = mean + spread * generator.normal(size=(16, 20, 5))
    same = mean + spread * generator.normal(size=(20, 5))
    assert measure_noisy_parity("serve_bytes", same, answers).reasons == ()
    assert measure_noisy_parity("serve_bytes", same + 6 * spread, answers).reasons
    # A model whose noise got lost.
    assert measure_noisy_parity("serve_bytes", answers.mean(0), answers).reasons


LABELS = ("a", "b", "c")
LOGITS = np.array([[3.0, 1.0, 2.0], [0.0, 4.0, 1.0]], np.float32)


def answers(classes=(("a", "c"), ("b", "c"))):
    probabilities = softmax(LOGITS, axis=-1)
    best = -np.sort(-probabilities, axis=1)[:, :2]
    return Answers(1.0, LOGITS, probabilities, np.array(classes), best)


def test_every_endpoint_is_compared():
    litert = dataclasses.replace(answers(), classes=None, scores=None)
    given = {
        "serve_bytes": answers(),
        "litert": litert,
        "serve_labels": dataclasses.replace(answers(), logits=None, probabilities=None),
    }
    # A LiteRT file may give one of the two.
    given["logits"] = dataclasses.replace(litert, probabilities=None)
    given["probabilities"] = dataclasses.replace(litert, logits=None)
    found = validate(given, LOGITS, LABELS, endpoints=list(given))
    assert [item.endpoint for item in found] == list(given)
    assert all(item.reasons == () and item.top1 == 1 for item in found)
    assert [item.logits for item in found] == [0, 0, None, 0, None]
    assert all(item.probability < 1e-6 for item in found)
    # Other logits than Keras' are noticed, whatever an endpoint gives.
    for found in validate(given, LOGITS[:, ::-1], LABELS, endpoints=list(given)):
        assert any("probabilities differ" in reason for reason in found.reasons)
    # So are they if the Keras model is stochastic.
    noisy = LOGITS + np.random.default_rng(0).normal(0, 0.1, (16, *LOGITS.shape))
    (found,) = validate(given, noisy, LABELS, endpoints=["serve_labels"])
    assert found.reasons == () and 0 < found.probability < 0.1
    assert validate(given, LOGITS[:1], LABELS, endpoints=["litert"])[0].images == 1


def test_an_endpoint_that_does_not_answer_is_an_error():
    with pytest.raises(ValueError, match="serve_uint8 gives no answers"):
        validate({"litert": answers()}, LOGITS, LABELS, endpoints=["serve_uint8"])


@pytest.mark.parametrize(
    "classes", [(("a", "b"), ("b", "c")), (("a", "c"), ("b", "dog"))]
)
def test_named_classes_must_be_those_of_the_scores(classes):
    given = {"serve_bytes": answers(classes)}
    with pytest.raises(ValueError, match="do not belong to their scores"):
        validate(given, LOGITS, LABELS, endpoints=["serve_bytes"])
