import numpy as np
import pytest

from export.evaluate import Thresholds, baseline_logits, evaluate

LABELS = ("a", "b", "c")
TRUTH = np.array([0, 0, 1, 1])


def answers(*classes):
    return np.eye(3, dtype=np.float32)[list(classes)]


RIGHT, HALF = answers(0, 0, 1, 1), answers(0, 2, 1, 2)


def judge(logits, min_accuracy=None, max_loss=0.1):
    return evaluate(logits, TRUTH, LABELS, Thresholds(min_accuracy, max_loss))


def test_accuracies_are_shares_of_right_answers():
    found = judge({"keras": answers(0, 0, 1, 2), "litert": HALF})
    assert found.images == 4
    assert found.accuracy == {"keras": 0.75, "litert": 0.5}
    assert found.per_class == {"a": 1.0, "b": 0.5}
    assert found.reasons == ()


def test_repeated_answers_count_each():
    assert judge({"keras": np.stack([RIGHT, HALF])}).accuracy["keras"] == 0.75


@pytest.mark.parametrize("least,passes", [(0.5, True), (0.51, False)])
def test_minimum_holds_for_each_exported_file(least, passes):
    found = judge({"keras": RIGHT, "serving_default": RIGHT, "litert": HALF}, least)
    assert (found.reasons == ()) == passes
    assert passes or found.reasons == ("litert: accuracy 50.0% < 51.0%",)


@pytest.mark.parametrize("max_loss,passes", [(0.5, True), (0.49, False)])
def test_baseline_must_not_be_better_by_more_than_the_loss(max_loss, passes):
    logits = {"keras": RIGHT, "serving_default": HALF, "baseline": RIGHT}
    found = judge(logits, max_loss=max_loss)
    assert (found.reasons == ()) == passes
    assert passes or "below the baseline's 100.0%" in found.reasons[0]


def test_baseline_must_be_a_version_with_the_same_labels(tmp_path):
    images = np.zeros((1, 8, 8, 3), np.uint8)
    with pytest.raises(FileNotFoundError, match="no exported version"):
        baseline_logits(tmp_path, images, LABELS)
    version = tmp_path / "7"
    version.mkdir()
    (version / "labels.txt").write_text("a\nb\n")
    with pytest.raises(ValueError, match="other labels"):
        baseline_logits(tmp_path, images, LABELS)
