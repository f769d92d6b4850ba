import csv
import json

import pytest

from v1keras.corruptions import EXTRA
from v1keras.studies import ChooseConfig, choose_ensemble, format_choice
from v1keras.training import Run, TrainConfig, train


def paths(runs, *names):
    return tuple(str(runs / name) for name in names)


def test_the_first_best_ensemble_of_held_out_images_is_chosen(runs, tmp_path):
    names = ("base", "no_noise", "standard")
    settings = {"images": 12, "out": str(tmp_path / "choice")}
    choice = choose_ensemble(ChooseConfig(models=paths(runs, *names[:2]), **settings))
    assert set(choice.members) <= set(names[:2])
    # A third run is added to what was measured.
    config = ChooseConfig(models=paths(runs, *names), **settings)
    choice = choose_ensemble(config)
    with (tmp_path / "choice" / "members.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["member"] for row in rows} == set(names)
    means = [float(row["mean"]) for row in rows]
    # The best of all alone is the first, and no later ensemble is better.
    assert means[0] == max(float(row["alone"]) for row in rows)
    size = len(choice.members)
    assert means[size - 1] == max(means) and max(means[: size - 1], default=-1) < max(
        means
    )
    assert [row["chosen"] for row in rows] == ["True"] * size + ["False"] * (3 - size)
    record = json.loads((tmp_path / "choice" / "choice.json").read_text())
    assert record["members"] == [str(runs / name) for name in choice.members]
    assert record["corruptions"] == sorted(EXTRA)
    shown = {file.stem.rpartition("-")[0] for file in tmp_path.rglob("*-?.npz")}
    assert shown == {"clean", *EXTRA}
    lines = format_choice(choice).splitlines()
    assert len(lines) == 4 and sum(line[0] == "+" for line in lines) == size


def test_so_many_members_at_most(runs, tmp_path):
    config = ChooseConfig(
        models=paths(runs, "base", "no_noise", "standard"),
        images=6,
        max_members=1,
        out=str(tmp_path / "choice"),
    )
    assert len(choose_ensemble(config).members) == 1


def test_runs_without_common_held_out_images_are_refused(runs, tmp_path):
    config = ChooseConfig(
        models=paths(runs, "base", "other_fold"), out=str(tmp_path / "choice")
    )
    with pytest.raises(ValueError, match=r"split_seed.*other_fold"):
        choose_ensemble(config)
    assert not (tmp_path / "choice").exists()


def test_a_run_that_was_judged_on_test_images_is_refused(runs, run_settings, tmp_path):
    folder = tmp_path / "paper"
    settings = run_settings | {"validation_source": "test", "out": str(folder)}
    train(TrainConfig(**settings, variant="base"))
    config = ChooseConfig(
        models=(str(folder), *paths(runs, "base")), out=str(tmp_path / "choice")
    )
    with pytest.raises(ValueError, match="held out"):
        choose_ensemble(config)
    assert Run.open(folder).is_finished


@pytest.mark.parametrize(
    ("name", "value"),
    [("models", ("one",)), ("images", 0), ("max_members", 0), ("seed", -1)],
)
def test_unusable_values_are_refused(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        ChooseConfig(**{"models": ("a", "b"), "out": "choice", name: value})
