import pytest

from v1keras.studies import StudyConfig, plan_study
from v1keras.studies.plan import _kind


@pytest.mark.slow
def test_a_plan_counts_and_measures_and_writes_nothing(small, tmp_path, capsys):
    small = {**small, "corrupted": "none", "student_epochs": 50, "seeds": (0, 1)}
    plan = plan_study(StudyConfig(**small))
    assert not list(tmp_path.iterdir())
    *members, student = plan.trainings
    assert [each.names for each in members] == [
        (name, f"{name}_seed1") for name in ("base", "no_noise", "sf_low")
    ]
    assert student.names == ("student",)
    assert {each.images for each in plan.trainings} == {60}
    assert [each.epochs for each in plan.trainings] == [1, 1, 1, 50]
    assert plan.evaluation == "7 models on 12 images in 1 cells"
    assert plan.evaluation_bytes == 7 * 12 * 12 * 4
    # Parameters as float32, in the model and with a momentum in the checkpoint.
    assert all(each.bytes > 3 * 4 * 40_000 for each in plan.trainings)
    assert plan.seconds == pytest.approx(
        2 * sum(each.seconds for each in members)
        + student.seconds
        + plan.evaluation_seconds
    )
    said = capsys.readouterr().out.split("\n")
    assert said[1:5] == [
        f"{each.names[0]}: measures 20 steps" for each in plan.trainings
    ]


def test_kinds_of_trainings():
    config = StudyConfig(out="x", base_epochs=80)
    kinds = {}
    for name, each in config.trainings().items():
        kinds.setdefault(_kind(each), []).append(name)
    assert sorted(kinds.values()) == [
        ["base"],
        ["no_noise"],
        ["only_complex"],
        ["only_simple"],
        ["standard", "sf_low", "sf_mid", "sf_high", "low_noise"],
    ]
