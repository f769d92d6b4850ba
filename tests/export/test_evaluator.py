import numpy as np
import pytest

from export.check_images import CheckImages
from export.evaluator import Thresholds, find_baseline, judge_accuracy

LABELS = ("a", "b", "c")
PIXELS = np.zeros((4, 8, 8, 3), np.uint8)
IMAGES = CheckImages(
    "validation",
    np.array([0, 0, 1, 1]),
    {"clean": PIXELS, "fog/3": PIXELS, "snow/3": PIXELS},
)


def answers(*slices):
    """Logits for three slices; the string `0012` is what it takes four images for."""
    return np.eye(3, dtype=np.float32)[[int(c) for c in "".join(slices)]]


RIGHT = answers("0011", "0011", "0011")


def judge(logits, min_accuracy=0.1, max_loss=0.1, keras=1.0):
    thresholds = Thresholds(
        min_accuracy, max_loss, {"serving_default": keras, "litert": keras}
    )
    return judge_accuracy(logits, IMAGES, LABELS, thresholds)


def test_accuracies_are_shares_of_right_answers():
    litert = answers("0212", "2222", "0022")
    found = judge({"keras": answers("0012", "0000", "2222"), "litert": litert})
    assert found.images == 4 and found.split == "validation"
    assert found.accuracy["keras"] == {
        "clean": 0.75,
        "fog/3": 0.5,
        "snow/3": 0.0,
        "corrupted": 0.25,
    }
    assert found.accuracy["litert"]["corrupted"] == 0.25
    assert found.per_class == {
        "keras": {"a": 1.0, "b": 0.5},
        "litert": {"a": 0.5, "b": 0.5},
    }
    assert found.reasons == ()


def test_repeated_answers_count_each():
    twice = np.stack([RIGHT, answers("0212", "0011", "0011")])
    assert judge({"keras": twice}).accuracy["keras"]["clean"] == 0.75


@pytest.mark.parametrize("least,passes", [(0.5, True), (0.51, False)])
def test_minimum_holds_for_each_exported_file(least, passes):
    logits = {
        "keras": RIGHT,
        "serving_default": RIGHT,
        "litert": answers("0212", "0011", "0011"),
    }
    found = judge(logits, least)
    assert (found.reasons == ()) == passes
    assert passes or found.reasons == ("litert: accuracy 50.0% < 51.0%",)


@pytest.mark.parametrize("loss,passes", [(0.25, True), (0.24, False)])
def test_no_slice_may_be_much_worse_than_keras(loss, passes):
    logits = {"keras": RIGHT, "litert": answers("0011", "0012", "0011")}
    found = judge(logits, keras=loss)
    assert passes == (found.reasons == ())
    assert passes or "75.0% on fog/3 images is more than 24.0%" in found.reasons[0]


@pytest.mark.parametrize(
    "slices,max_loss,reason",
    [
        (("0212", "0011", "0011"), 0.5, None),
        (("0212", "0011", "0011"), 0.49, "50.0% on clean images"),
        # One corruption alone may vary; their mean counts.
        (("0011", "0222", "0011"), 0.375, None),
        (("0011", "0222", "0011"), 0.37, "62.5% on corrupted images"),
    ],
)
def test_baseline_must_not_be_better_by_more_than_the_loss(slices, max_loss, reason):
    logits = {"keras": RIGHT, "serving_default": answers(*slices), "baseline": RIGHT}
    found = judge(logits, max_loss=max_loss)
    assert (found.reasons == ()) == (reason is None)
    if reason is not None:
        (message,) = found.reasons
        assert reason in message and "the 100.0% of baseline" in message


def test_baseline_is_the_newest_version_unless_another_is_named(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other"
    assert find_baseline(None, out, LABELS) is None
    for version in (out / "7", out / "12", other / "3"):
        version.mkdir(parents=True)
        (version / "labels.txt").write_text("a\nb\nc\n")
    assert find_baseline(None, out, LABELS) == out / "12"
    assert find_baseline(str(out / "7"), out, LABELS) == out / "7"
    assert find_baseline(str(other), out, LABELS) == other / "3"
    assert find_baseline("none", out, LABELS) is None


def test_baseline_must_be_a_version_with_the_same_labels(tmp_path):
    with pytest.raises(FileNotFoundError, match="must hold an exported version"):
        find_baseline(str(tmp_path / "nothing"), tmp_path, LABELS)
    version = tmp_path / "7"
    version.mkdir()
    (version / "labels.txt").write_text("a\nb\n")
    with pytest.raises(
        ValueError, match="`baseline` must have the labels of the run, or be none"
    ):
        find_baseline(None, tmp_path, LABELS)
