import numpy as np
import pytest

from v1keras.evaluation import CLEAN, Cell, LogitCache
from v1keras.evaluation.members import analyse_members
from v1keras.evaluation.report import members_section

CELLS = (CLEAN, Cell("fog", 1), Cell("fog", 3), Cell("pixelate", 1), Cell("snow", 1))
# Weights of the cells in the order of CELLS.
GROUPS = {
    "clean": [1, 0, 0, 0, 0],
    "weather": [0, 0.25, 0.25, 0, 0.5],
    "digital": [0, 0, 0, 1, 0],
    "mean": [0, 1 / 6, 1 / 6, 1 / 3, 1 / 3],
}
MEMBERS = ("good", "same", "weak", "harm")


@pytest.fixture
def logits():
    """By cell: labels, and logits of members with one or two noise draws."""
    rng = np.random.default_rng(0)
    cells = {}
    for cell in CELLS:
        labels = rng.integers(0, 4, 60)
        truth = 2.0 * np.eye(4)[labels]
        good = truth + rng.normal(0, 1.5, (1, 60, 4))
        cells[cell] = (
            labels,
            {
                "good": good,
                "same": good + 1e-3 * rng.normal(size=good.shape),
                "weak": 0.7 * truth + rng.normal(0, 1.5, (2, 60, 4)),
                "harm": -truth + rng.normal(0, 1.5, (1, 60, 4)),
            },
        )
    return cells


@pytest.fixture
def cache(logits, tmp_path):
    cache = LogitCache(tmp_path / "logits", {}, dict.fromkeys(MEMBERS, ""))
    for cell, (labels, answers) in logits.items():
        cache.add(cell, labels, np.arange(60), answers)
    return cache


def expected(logits, members, group):
    """The accuracy of the mean of some logits, from its definition."""
    cells = []
    for labels, answers in logits.values():
        draws = max(len(answers[m]) for m in members)
        right = [
            np.mean([answers[m][min(d, len(answers[m]) - 1)] for m in members], axis=0)
            .argmax(-1) == labels
            for d in range(draws)
        ]  # fmt: skip
        cells.append(np.mean(right))
    return np.dot(GROUPS[group], cells)


def test_every_member_alone_and_left_out(cache, logits):
    analysis = analyse_members(cache, MEMBERS, CELLS)
    assert analysis.groups == ("clean", "weather", "digital", "mean")
    assert analysis.images == 60
    for group in GROUPS:
        whole = expected(logits, MEMBERS, group)
        assert analysis.ensemble[group] == pytest.approx(whole)
        for member in MEMBERS:
            rest = [other for other in MEMBERS if other != member]
            without = expected(logits, rest, group)
            assert analysis.alone[member, group] == pytest.approx(
                expected(logits, [member], group)
            )
            assert analysis.contribution(member, group) == pytest.approx(
                whole - without
            )
    assert (
        analysis.contribution("harm", "mean")
        < 0
        < analysis.contribution("weak", "mean")
    )


def test_greedy_takes_what_helps_the_mean_most(cache, logits):
    analysis = analyse_members(cache, MEMBERS, CELLS)
    chosen = []
    for member, result in analysis.greedy:
        best = max(
            expected(logits, [*chosen, other], "mean")
            for other in MEMBERS
            if other not in chosen
        )
        chosen.append(member)
        assert result["mean"] == pytest.approx(best)
        for group in GROUPS:
            assert result[group] == pytest.approx(expected(logits, chosen, group))
    # A copy of the first adds less than another view of the images.
    assert set(chosen[:2]) != {"good", "same"} and chosen[-1] == "harm"


def test_the_section_shows_every_number(cache):
    analysis = analyse_members(cache, MEMBERS, CELLS)
    note, panels, *_, greedy = members_section(analysis, "60 images").blocks
    assert "60 images" in note
    for panel in panels.panels:
        assert {bar.name for bar in panel.content.bars} == set(MEMBERS)
        for bar in panel.content.bars:
            value = analysis.contribution(bar.name, panel.title)
            assert bar.value == value
            assert bar.text == f"{100 * value:+.1f}".replace("-", "\N{MINUS SIGN}")
    assert {panel.title for panel in panels.panels} == set(GROUPS)
    assert [row[0] for row in greedy.rows] == [
        f"{i}. {member}" for i, (member, _) in enumerate(analysis.greedy, start=1)
    ]


def test_refusals(cache):
    with pytest.raises(ValueError, match="at least two"):
        analyse_members(cache, ["good"], CELLS)
    with pytest.raises(ValueError, match="hold a corrupted one"):
        analyse_members(cache, MEMBERS, [CLEAN])


def test_extra_corruptions_alone_have_a_mean(tmp_path):
    cells = (CLEAN, Cell("spatter", 1), Cell("saturate", 2))
    cache = LogitCache(tmp_path, {}, dict.fromkeys(("one", "other"), "x"))
    right, wrong = np.eye(4)[[[0] * 8]], np.eye(4)[[[1] * 8]]
    for cell, other in zip(cells, (right, right, wrong), strict=True):
        answers = {"one": 2 * right, "other": other}
        cache.add(cell, np.zeros(8, int), np.arange(8), answers)
    analysis = analyse_members(cache, ("one", "other"), cells)
    assert analysis.alone["other", "mean"] == 0.5
    assert analysis.greedy[0] == ("one", analysis.greedy[0][1])
