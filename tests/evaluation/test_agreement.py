import numpy as np
import pytest

from v1keras.evaluation import CLEAN, LogitCache, build_table, compare, corrupted_cells


def table_of(folder, skill, seed, models=("m",)):
    """Models that are right with probability `skill` on 300 images of their own."""
    rng = np.random.default_rng(seed)
    cells = (CLEAN, *corrupted_cells(["fog", "snow"]))
    cache = LogitCache(folder, {}, dict.fromkeys(models, ""))
    for cell in cells:
        right = rng.random((len(models), 300)) < skill
        logits = np.stack([right, ~right], axis=-1)[:, None].astype(float)
        answers = dict(zip(models, logits, strict=True))
        cache.add(cell, np.zeros(300, int), np.arange(300), answers)
    categories = {"fog": "weather", "snow": "weather"}
    return build_table(cache, models, planned=cells, categories=categories)


def test_equal_models_agree_and_different_ones_do_not(tmp_path):
    first = table_of(tmp_path / "first", 0.5, 0)
    second = table_of(tmp_path / "second", 0.5, 1)
    other = table_of(tmp_path / "other", 0.62, 2)
    assert [row.corruption for row in compare(first, second)] == [
        "clean",
        "fog",
        "snow",
    ]
    assert all(row.agrees for row in compare(first, second))
    assert not any(row.agrees for row in compare(first, other))


def test_margin_is_that_of_the_difference_of_two_proportions(tmp_path):
    rows = compare(table_of(tmp_path / "a", 0.5, 0), table_of(tmp_path / "b", 0.5, 1))
    expected = 1.96 * np.sqrt(2 * 0.25 / 300)
    assert rows[0].margin == pytest.approx(expected, rel=0.1)


def test_evaluations_without_a_common_model_are_refused(tmp_path):
    first = table_of(tmp_path / "a", 0.5, 0)
    second = table_of(tmp_path / "b", 0.5, 1, models=("n",))
    with pytest.raises(ValueError, match="no model in common"):
        compare(first, second)
