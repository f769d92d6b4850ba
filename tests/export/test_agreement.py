import numpy as np
import pytest

from export.agreement import TOLERANCES, Tolerance, compare, compare_noisy, softmax

EXPECTED = np.array([[4.0, 0.0], [0.0, 2.0], [1.0, 0.9]], np.float32)
SHIFTED = np.array([[4.0, 0.0], [0.0, 2.0], [1.0, 1.3]], np.float32)


def limits(logits=1, probability=1, top1=0):
    return Tolerance(logits, probability, top1, accuracy=0)


def check(logits, tolerance, probabilities=None):
    logits = np.asarray(logits, np.float32)
    probabilities = softmax(logits) if probabilities is None else probabilities
    return compare("litert", logits, probabilities, EXPECTED, tolerance)


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
        (limits(None, top1=0.9), "agree on 66.7% < 90%"),
    ],
)
def test_each_tolerance_counts(tolerance, reason):
    (found,) = check(SHIFTED, tolerance).reasons
    assert reason in found


def test_answers_must_be_finite():
    logits = EXPECTED.copy()
    logits[0, 0] = np.nan
    found = check(logits, limits(None))
    assert found.reasons == ("not all answers are finite",)


def test_answers_must_have_the_right_shape():
    with pytest.raises(ValueError, match=r"must have the shape \(3, 2\)"):
        check(EXPECTED[:2], TOLERANCES["litert"])


def test_noisy_answers_of_the_same_model_agree():
    generator = np.random.default_rng(0)
    mean, spread = generator.normal(0, 3, (20, 5)), generator.uniform(0.1, 2, (20, 5))
    answers = mean + spread * generator.normal(size=(16, 20, 5))
    same = mean + spread * generator.normal(size=(20, 5))
    assert compare_noisy("serve_bytes", same, answers).reasons == ()
    assert compare_noisy("serve_bytes", same + 6 * spread, answers).reasons
    # A model whose noise got lost.
    assert compare_noisy("serve_bytes", answers.mean(0), answers).reasons
