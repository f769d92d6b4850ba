import numpy as np
import pytest

from v1keras.evaluation import (
    CLEAN,
    Lineup,
    LogitCache,
    compare_evaluations,
    comparison_rows,
    corrupted_cells,
    format_comparison,
)
from v1keras.evaluation.report import comparison_section

IMAGES = 300


def cache_of(
    folder,
    skill,
    seed,
    models=("m",),
    prefix="",
    suffix=".png",
    images=IMAGES,
    weights="",
):
    """Logits of models that are right with a probability `skill` of their own images."""
    rng = np.random.default_rng(seed)
    cache = LogitCache(folder, {}, dict.fromkeys(models, weights))
    for cell in (CLEAN, *corrupted_cells(["fog", "snow"])):
        right = rng.random((len(models), images)) < skill
        logits = np.stack([right, ~right], axis=-1)[:, None].astype(float)
        answers = dict(zip(models, logits, strict=True))
        ids = [f"{prefix}{i}{suffix}" for i in range(images)]
        cache.add(cell, np.zeros(images, int), ids, answers)
    return cache


def test_equal_models_agree_and_different_ones_do_not(tmp_path):
    first = cache_of(tmp_path / "first", 0.5, 0)
    second = cache_of(tmp_path / "second", 0.5, 1, prefix="x")
    other = cache_of(tmp_path / "other", 0.65, 2, prefix="y")
    rows = compare_evaluations(first, second)
    assert [row.corruption for row in rows] == ["clean", "snow", "fog"]
    assert all(row.agrees and row.images == 0 for row in rows)
    assert not any(row.agrees for row in compare_evaluations(first, other))


def test_margin_of_different_images_is_that_of_two_proportions(tmp_path):
    first = cache_of(tmp_path / "a", 0.5, 0)
    second = cache_of(tmp_path / "b", 0.5, 1, prefix="x")
    rows = compare_evaluations(first, second)
    one = 1.96 * np.sqrt(2 * 0.25 / IMAGES)
    assert rows[0].margin == pytest.approx(one, rel=0.01)
    # Of five severities, whose answers are independent here.
    assert rows[1].margin == pytest.approx(one / np.sqrt(5), rel=0.1)


def test_the_same_images_are_compared_one_by_one(tmp_path):
    # Half of the images are easy and half impossible in both: no chance is left.
    skill = np.arange(IMAGES) % 2
    first = cache_of(tmp_path / "a", skill, 0)
    second = cache_of(tmp_path / "b", skill[:100], 1, suffix=".JPEG", images=100)
    for row in compare_evaluations(first, second):
        assert (row.first, row.second, row.margin, row.images) == (0.5, 0.5, 0.0, 100)
    independent = compare_evaluations(first, second, paired=False)[0]
    assert independent.margin == pytest.approx(
        1.96 * np.sqrt(0.25 / 300 + 0.25 / 100), rel=0.01
    )


def test_a_few_common_images_do_not_stand_for_all(tmp_path):
    first = cache_of(tmp_path / "a", 0.5, 0)
    cache = LogitCache(tmp_path / "c", {}, {"m": ""})
    ids = [f"{i}.png" for i in range(IMAGES - 40, 2 * IMAGES - 40)]
    for cell in first.cells():
        labels, _, logits = first.read(cell)
        cache.add(cell, labels, ids, logits)
    assert {row.images for row in compare_evaluations(first, cache)} == {0}


def cache_of_four(folder, order, labels=(0, 0, 1, 1)):
    """Files of the same names in two class folders; the second one is not known."""
    cache = LogitCache(folder, {}, {"m": ""})
    labels = np.array(labels)[order]
    names = np.array(["c/1.png", "c/2.png", "d/1.png", "d/2.png"])[order]
    right = np.array([1, 0, 1, 1])[order]
    logits = np.zeros((1, 4, 2))
    logits[0, np.arange(4), np.where(right, labels, 1 - labels)] = 1
    cache.add(CLEAN, labels, names, {"m": logits})
    return cache


def test_images_are_matched_by_name_in_any_order(tmp_path):
    first = cache_of_four(tmp_path / "a", [0, 1, 2, 3])
    second = cache_of_four(tmp_path / "b", [3, 1, 0, 2])
    (row,) = compare_evaluations(first, second)
    assert (row.first, row.second, row.margin, row.images) == (0.75, 0.75, 0, 4)


def test_names_of_other_classes_name_other_images(tmp_path):
    first = cache_of_four(tmp_path / "a", [0, 1, 2, 3])
    second = cache_of_four(tmp_path / "b", [3, 1, 0, 2], labels=(0, 1, 0, 1))
    (row,) = compare_evaluations(first, second)
    assert row.images == 0 and row.margin > 0


def test_ensembles_are_made_from_the_logits_of_both(tmp_path):
    first = cache_of(tmp_path / "a", 0.6, 0, models=("m", "n"))
    second = cache_of(tmp_path / "b", 0.6, 1, models=("n", "m", "o"))
    lineup = Lineup(["m", "n"], ensembles={"both": ("m", "n"), "more": ("m", "o")})
    rows = compare_evaluations(first, second, lineup)
    assert [row.model for row in rows] == ["m"] * 3 + ["n"] * 3 + ["both"] * 3
    logits = first.read(CLEAN).logits
    expected = (logits["m"] + logits["n"]).argmax(axis=-1) == 0
    assert rows[6].first == pytest.approx(expected.mean())


def test_text_rows_and_section_name_what_is_apart(tmp_path):
    first = cache_of(tmp_path / "a", 0.5, 0)
    rows = compare_evaluations(first, cache_of(tmp_path / "b", 0.65, 2))
    text = format_comparison(rows)
    assert "0 of 2 accuracies" in text and "m, snow: " in text
    assert f"the same {IMAGES} images" in text
    assert [row["agrees"] for row in comparison_rows(rows)] == [False] * 3
    section = comparison_section(rows, "stored")
    note, table = section.blocks
    assert section.title == "Beside stored" and "and in stored" in note
    assert [row[1].style for row in table.rows] == ["apart"] * 3


@pytest.mark.parametrize("change", [{"models": ("n",)}, {"weights": "others"}])
def test_evaluations_without_a_common_model_are_refused(tmp_path, change):
    first = cache_of(tmp_path / "a", 0.5, 0)
    second = cache_of(tmp_path / "b", 0.5, 1, **change)
    with pytest.raises(ValueError, match="equal name and weights"):
        compare_evaluations(first, second)
