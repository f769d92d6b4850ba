import dataclasses

import pytest

from v1keras.evaluation import Lineup

LINEUP = Lineup(
    ["base", "a", "b", "student"],
    baseline="base",
    students=["student"],
    ensembles={"ensemble": ["a", "b"], "seeds": ["a", "a2"]},
    variants={"base": "plain", "a": "v1", "b": "v1"},
)


def test_who_is_who():
    assert LINEUP.shown == ("base", "a", "b", "student", "ensemble", "seeds")
    # A hidden member answers, and is not shown.
    assert LINEUP.measured == ("base", "a", "b", "student", "a2")
    assert LINEUP.roles == {
        "base": "baseline",
        "a": "member",
        "b": "member",
        "student": "student",
        "ensemble": "ensemble",
        "seeds": "ensemble",
    }
    assert LINEUP.members == ("a", "b")
    assert LINEUP.seeds == {"v1": ("a", "b")}


def test_further_seeds_of_an_ensemble():
    lineup = dataclasses.replace(
        LINEUP,
        ensembles={"ensemble": ("a",), "ensemble_seed1": ("b",)},
        variants={**LINEUP.variants, "ensemble": "e", "ensemble_seed1": "e"},
    )
    assert lineup.seeds == {"v1": ("a", "b"), "e": ("ensemble", "ensemble_seed1")}
    assert lineup.further_seeds == {"b", "ensemble_seed1"}
    # Diversity is that of one ensemble.
    assert lineup.members == ("a",)


def test_without_ensembles_members_are_all_but_baseline_and_students():
    assert dataclasses.replace(LINEUP, ensembles={}).members == ("a", "b")
    assert Lineup(["a", "b"]).members == ("a", "b")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": []}, r"models=\(\)"),
        ({"models": ["base", "student", "base"]}, "base"),
        ({"baseline": "bse"}, "baseline=bse"),
        ({"students": ["nobody"]}, "students=nobody"),
        ({"ensembles": {"a": ("a", "b")}}, "names of their own.*a"),
        ({"ensembles": {"e": ("a", "b", "a")}}, "each once.*e=a, b, a"),
        ({"ensembles": {"e": ()}}, r"e=\(\)"),
        ({"ensembles": {"e": ("a", "e")}}, "e=a, e"),
        ({"average": "votes"}, "average='votes'"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(LINEUP, **change)
