import numpy as np
import pytest
import scipy.stats

from export import RejectedError, integrity
from export.check_images import CheckImages
from export.evaluator import (
    Thresholds,
    certain_loss,
    find_baseline,
    judge_accuracy,
)

LABELS = ("a", "b", "c")


def check_images(repeats=1):
    """Four images, as often as is asked for."""
    pixels = np.zeros((4 * repeats, 8, 8, 3), np.uint8)
    return CheckImages(
        "validation",
        np.array([0, 0, 1, 1] * repeats),
        {"clean": pixels, "fog/3": pixels, "snow/3": pixels},
    )


def answers(*slices, repeats=1):
    """Logits for three slices; the string `0012` is what it takes four images for."""
    taken = "".join(each * repeats for each in slices)
    return np.eye(3, dtype=np.float32)[[int(c) for c in taken]]


RIGHT = answers("0011", "0011", "0011")


def judge(logits, min_accuracy=0.1, max_loss=0.1, keras=1.0, repeats=1):
    thresholds = Thresholds(
        min_accuracy, max_loss, {"serving_default": keras, "litert": keras}
    )
    return judge_accuracy(logits, check_images(repeats), LABELS, thresholds)


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


@pytest.mark.parametrize("loss,passes", [(0.225, True), (0.22, False)])
def test_no_slice_may_be_much_worse_than_keras(loss, passes):
    # Of 800 images a quarter is lost: 22.5 points for certain.
    litert = answers("0011", "0012", "0011", repeats=200)
    keras = answers("0011", "0011", "0011", repeats=200)
    found = judge({"keras": keras, "litert": litert}, keras=loss, repeats=200)
    assert passes == (found.reasons == ())
    assert passes or "75.0% on fog/3 images is more than 22.0%" in found.reasons[0]


@pytest.mark.parametrize(
    "slices,max_loss,reason",
    [
        (("0212", "0011", "0011"), 0.48, None),
        (("0212", "0011", "0011"), 0.46, "50.0% on clean images"),
        # One corruption alone may vary; their mean counts.
        (("0011", "0222", "0011"), 0.37, None),
        (("0011", "0222", "0011"), 0.36, "62.5% on corrupted images"),
    ],
)
def test_baseline_must_not_be_better_by_more_than_the_loss(slices, max_loss, reason):
    right = answers("0011", "0011", "0011", repeats=200)
    found = answers(*slices, repeats=200)
    logits = {"keras": right, "serving_default": found, "baseline": right}
    found = judge(logits, max_loss=max_loss, repeats=200)
    assert found.warnings == ()
    assert (found.reasons == ()) == (reason is None)
    if reason is not None:
        (message,) = found.reasons
        assert reason in message and "the 100.0% of baseline" in message


def test_a_loss_that_chance_explains_is_none():
    for seed in range(5):
        losses = np.random.default_rng(seed).normal(0.1, 0.3, 30)
        test = scipy.stats.ttest_1samp(losses, 0, alternative="greater")
        assert certain_loss(losses) == pytest.approx(test.confidence_interval(0.95)[0])
    assert certain_loss(np.ones(7)) == 1 and certain_loss(np.ones(1)) == -np.inf
    # Two of 24 images may be lost by chance, six not.
    for lost, passes in ((2, True), (6, False)):
        keras = answers("0011", "0011", "0011", repeats=6)
        litert = keras.copy()
        litert[:lost] = np.roll(litert[:lost], 1, -1)
        found = judge({"keras": keras, "litert": litert}, keras=0.05, repeats=6)
        assert (found.reasons == ()) == passes
        (warning,) = found.warnings
        assert "24 images: one is 4.2%, and a loss of 16.7% would pass" in warning
    # A stochastic model is as good as its answers are on average.
    noisy = np.stack([keras, np.roll(keras, 1, -1)])
    assert judge({"keras": noisy, "litert": keras}, keras=0.0, repeats=6).reasons == ()
    assert judge({"keras": keras, "litert": noisy[1]}, keras=0.9, repeats=6).reasons


@pytest.mark.parametrize("hits,is_warned", [(40, True), (60, False)])
def test_what_may_be_chance_is_warned_of(hits, is_warned):
    keras = answers("0011", "0011", "0011", repeats=30)
    litert = np.roll(keras, 1, -1)
    litert[:hits] = keras[:hits]
    found = judge({"keras": keras, "litert": litert}, repeats=30)
    shown = f"litert: accuracy {hits / 120:.1%} on clean images may be chance"
    assert [shown in warning for warning in found.warnings] == [True] * is_warned


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


def test_a_damaged_baseline_is_named_before_anything_is_made(tmp_path):
    version = tmp_path / "7"
    version.mkdir()
    (version / "labels.txt").write_text("a\nb\nc\n")
    (version / "saved_model.pb").write_text("model")
    integrity.seal(version)
    assert find_baseline(None, tmp_path, LABELS) == version
    (version / "saved_model.pb").write_text("moDel")
    message = (
        r"the baseline .*7, .*is damaged \(saved_model.pb changed\).*baseline=none"
    )
    with pytest.raises(ValueError, match=message) as error:
        find_baseline(None, tmp_path, LABELS)
    assert not isinstance(error.value, RejectedError)


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
