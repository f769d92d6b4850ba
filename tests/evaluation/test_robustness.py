import csv

import numpy as np
import pytest

from v1keras.evaluation import (
    CLEAN,
    Cell,
    Estimate,
    Lineup,
    LogitCache,
    build_table,
    corrupted_cells,
    format_table,
    write_tables,
)
from v1keras.evaluation.tables import format_gain


def one_hot_logits(predictions, classes=4):
    return 9.0 * np.eye(classes)[np.asarray(predictions)][None]


@pytest.fixture
def hand_made(tmp_path):
    """Two models on four images, right on known ones."""
    cells = (CLEAN, *corrupted_cells(["fog", "shot_noise", "spatter"], (1, 2)))
    cache = LogitCache(tmp_path / "logits", {}, {"base": "", "other": ""})
    labels = np.array([0, 1, 2, 3])
    right = {  # How many of the four images each model gets right.
        CLEAN: (4, 3),
        Cell("fog", 1): (2, 3),
        Cell("fog", 2): (1, 2),
        Cell("shot_noise", 1): (2, 4),
        Cell("shot_noise", 2): (1, 4),
        Cell("spatter", 1): (4, 0),
        Cell("spatter", 2): (4, 0),
    }
    for cell in cells:
        logits = {
            name: one_hot_logits(np.where(np.arange(4) < n, labels, (labels + 1) % 4))
            for name, n in zip(("base", "other"), right[cell], strict=True)
        }
        cache.add(cell, labels, np.arange(4), logits)
    return build_table(
        cache,
        Lineup(["base", "other"], baseline="base"),
        planned=cells,
    )


def test_groups_by_hand(hand_made):
    accuracy = {g: hand_made.groups["other", g].accuracy.value for g in ("fog", "mean")}
    assert accuracy == {"fog": 0.625, "mean": (0.625 + 1.0) / 2}
    assert hand_made.groups["base", "mean"].accuracy.value == 0.375
    assert hand_made.groups["other", "extra"].accuracy.value == 0.0


def test_gain_is_the_ratio_of_the_means(hand_made):
    assert hand_made.groups["other", "mean"].gain.value == pytest.approx(
        0.8125 / 0.375 - 1
    )
    assert hand_made.groups["other", "clean"].gain.value == pytest.approx(-0.25)
    assert hand_made.results["other", Cell("fog", 2)].gain.value == pytest.approx(1.0)
    assert hand_made.groups["base", "mean"].gain == (0.0, 0.0, 0.0)


def test_gains_over_a_control_of_equal_size(make_table):
    ensembles = {"ensemble": ("a", "b"), "control": ("base", "student")}
    of = make_table(ensembles=ensembles, baseline="control").groups
    chosen, control = of["ensemble", "mean"], of["control", "mean"]
    ratio = chosen.accuracy.value / control.accuracy.value
    assert chosen.gain.value == pytest.approx(ratio - 1)
    assert chosen.gain.low < chosen.gain.value < chosen.gain.high
    assert control.gain == (0.0, 0.0, 0.0)


def test_extra_corruptions_are_left_out_of_the_mean_but_shown(hand_made):
    assert hand_made.category_names == ("noise", "weather", "extra")
    assert hand_made.summary_groups == ("clean", "noise", "weather", "extra", "mean")


def test_estimates_lie_in_their_intervals(make_table):
    table = make_table()
    for result in [*table.results.values(), *table.groups.values()]:
        assert result.accuracy.low <= result.accuracy.value <= result.accuracy.high
        assert result.gain.low <= result.gain.value <= result.gain.high


def test_ensemble_and_noise_draws(make_table):
    table = make_table()
    mean = table.groups["ensemble", "mean"].accuracy.value
    assert mean > max(table.groups[m, "mean"].accuracy.value for m in ("a", "b"))
    assert table.results["a", CLEAN].noise_samples == 2
    assert table.groups["a", "mean"].noise_std > 0
    assert table.groups["b", "mean"].noise_std is None
    assert table.roles["ensemble"] == "ensemble"


def test_diversity_is_of_the_members(make_table):
    diversity = make_table().diversity["corrupted"]
    assert diversity.models == ("a", "b")
    assert 0 < diversity.mean_disagreement() < 1
    assert diversity.mean_disagreement() == diversity.disagreement[0, 1]


def test_seeds_are_summarised_as_mean_and_standard_deviation(make_table):
    variants = {"base": "base", "a": "v1", "b": "v1", "student": "student"}
    table = make_table(variants=variants)
    (summary,) = table.seeds
    values = [table.groups[m, "mean"].accuracy.value for m in ("a", "b")]
    assert summary.models == ("a", "b")
    assert summary.accuracy["mean"] == pytest.approx(
        (np.mean(values), abs(values[0] - values[1]) / np.sqrt(2))
    )


def test_missing_cells_are_known(make_table):
    table = make_table(missing=[Cell("fog", 3)])
    assert table.missing == (Cell("fog", 3),)
    assert "PARTIAL: 1 of 19 cells" in format_table(table)


def test_without_baseline_there_are_no_gains(make_table):
    table = make_table(baseline=None)
    assert table.results["a", CLEAN].gain is None
    assert "gain" not in format_table(table)


def test_alexnet_metrics_are_left_out_elsewhere(make_table):
    assert make_table().alexnet == {}


def test_tables_hold_what_the_table_says(make_table, tmp_path):
    table = make_table()
    write_tables(tmp_path / "out", table)
    with (tmp_path / "out" / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 19
    (row,) = (
        r
        for r in rows
        if (r["model"], r["corruption"], r["severity"]) == ("b", "fog", "5")
    )
    result = table.results["b", Cell("fog", 5)]
    assert float(row["accuracy"]) == pytest.approx(result.accuracy.value, abs=1e-6)
    assert float(row["gain_high"]) == pytest.approx(result.gain.high, abs=1e-6)
    assert row["category"] == "weather"
    assert row["noise_std"] == ""
    with (tmp_path / "out" / "summary.csv").open() as file:
        summary = {r["model"]: r for r in csv.DictReader(file)}
    mean = table.groups["ensemble", "mean"].accuracy.value
    error = float(summary["ensemble"]["mean_corruption_error"])
    assert error == pytest.approx(1 - mean, abs=1e-6)


def test_printed_table_tells_the_size(make_table):
    text = format_table(make_table(images=33))
    assert "33 clean images; 18 corrupted cells (6 corruptions) of 33 images" in text


def test_no_gain_is_negative_zero():
    assert format_gain(Estimate(-0.004, -0.126, 0.0)) == "0 % [-13, 0]"
