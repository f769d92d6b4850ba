import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from v1keras import command_line
from v1keras.studies import StudyConfig, chain, run_study
from v1keras.training import Run
from v1keras.v1 import get_variant


@pytest.mark.slow
def test_the_whole_chain_and_its_resumption(small):
    small = {
        **small,
        "controls": True,
        "control_variant": "no_noise",
        "member_images": 6,
    }
    config = StudyConfig(**small)
    report = run_study(config)
    folder = report.parent
    page = report.read_text()
    for part in ("base", "no_noise", "sf_low", "ensemble", "student", "V1 filters"):
        assert part in page
    assert "test images took no part" in page
    for part in (
        "base_ensemble of 2",
        "no_noise_ensemble of 2",
        "What each member adds",
    ):
        assert part in page
    assert "6 held-out training images" in page
    # Members of controls have no row and no chart: they are in their ensembles only.
    assert not re.search(r">\s*base_seed1", page)
    names = sorted(path.name for path in (folder / "controls").iterdir())
    assert names == ["base_seed1", "no_noise_seed1"]
    control = Run.open(folder / "controls" / "no_noise_seed1").config["settings"]
    member = Run.open(folder / "members" / "no_noise").config["settings"]
    assert {k for k in member if member[k] != control[k]} == {"seed", "out"}
    student = Run.open(folder / "student")
    assert student.is_finished and student.config["kind"] == "student"
    assert student.config["settings"]["members"] == [
        str(folder / "members" / name) for name in ("no_noise", "sf_low")
    ]
    # The plain CNN has no V1 to change; the members have what was asked for.
    assert Run.open(folder / "members" / "base").variant == get_variant("base")
    assert Run.open(folder / "members" / "sf_low").variant.simple_channels == 8
    (version,) = (folder / "serving" / "student").glob("[0-9]*")
    assert (version / "saved_model.pb").is_file()
    assert (version / "model.tflite").is_file()
    assert "95 % intervals" in (version / "MODEL_CARD.md").read_text()

    models = sorted(folder.rglob("model.keras"))
    before = [model.stat().st_mtime_ns for model in models]
    run_study(config)
    assert [model.stat().st_mtime_ns for model in models] == before
    # Nothing is trained again where the study lies elsewhere, or is called otherwise.
    folder.rename(folder.with_name("moved"))
    run_study(dataclasses.replace(config, out=str(folder.with_name("moved"))))
    folder.with_name("moved").rename(folder)
    assert [model.stat().st_mtime_ns for model in models] == before
    assert len(list((folder / "serving" / "student").glob("[0-9]*"))) == 1
    with pytest.raises(FileExistsError, match="epochs=1 instead of epochs=2"):
        run_study(StudyConfig(**{**small, "epochs": 2}))

    # A student that is not good enough is not exported, and that ends no study.
    shutil.rmtree(folder / "serving")
    chain._export(StudyConfig(**{**small, "min_accuracy": 1.0}), student)
    (served,) = (folder / "serving" / "student").iterdir()
    assert served.name == ".rejected"


def test_a_refused_study_leaves_nothing_behind(small, tmp_path):
    for name in ("dataset", "corrupted"):
        with pytest.raises(FileNotFoundError, match="nonexistent"):
            run_study(StudyConfig(**{**small, name: "/nonexistent/images"}))
        assert not list(tmp_path.iterdir())
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "notes.txt").write_text("mine")
    with pytest.raises(
        FileExistsError, match=r"the same study.*no readable study\.json"
    ):
        run_study(StudyConfig(**small))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variants": ("base", "v5")}, "variant='v5'"),
        ({"variants": ("base", "sf_low")}, "at least two with a V1"),
        ({"variants": ("sf_low", "sf_low")}, "different"),
        ({"temperature": 0.0}, "temperature=0"),
        ({"min_accuracy": 60.0}, "min_accuracy=60"),
        ({"student_variant": "v5"}, "variant='v5'"),
        ({"control_variant": "base"}, "control_variant=base"),
        ({"control_members": 1}, "control_members=1"),
        ({"seeds": (1, 2)}, "among which is --seed=0"),
        ({"seeds": (0, 1, 1)}, "different"),
        ({"only": ("sf_low", "student")}, "among base, .* only=sf_low,student"),
        ({"member_images": -3}, "member_images=-3"),
        ({"base_epochs": 0}, "base_epochs=0"),
        ({"student_epochs": 0}, "student_epochs=0"),
        ({"student_batch_size": 0}, "student_batch_size=0"),
        ({"member_images": 9, "validation_source": "test"}, "validation_source=test"),
    ],
)
def test_refusals_before_any_training(settings, message):
    with pytest.raises(ValueError, match=message):
        StudyConfig(out="x", **settings)


def test_the_papers_preset():
    config = StudyConfig(preset="paper", out="x", dataset="shapes")
    assert len(config.names()) == 9 and len(config.members()) == 8
    base, member = config.member_config("base"), config.member_config("sf_low")
    student = config.student_config()
    assert (base.epochs, member.epochs, student.epochs) == (80, 60, 80)
    assert (member.batch_size, student.batch_size) == (128, 256)
    assert student.distillation_loss == "paper" and student.variant == "no_noise"
    assert member.validation_source == "test" and member.schedule == "plateau"
    assert StudyConfig(preset="paper", out="x", epochs=3).epochs == 3


def test_a_preset_holds_in_python():
    quick = StudyConfig(preset="quick", out="x")
    assert (quick.arch, quick.epochs, quick.max_images) == ("resnet18", 6, 60)
    with pytest.raises(ValueError, match=r"`preset` must be one of .*preset='fast'"):
        StudyConfig(preset="fast", out="x")


def test_controls_are_as_many_as_the_variants():
    config = StudyConfig(out="x", controls=True, seed=3, base_epochs=7)
    controls = config.control_configs()
    assert list(controls) == ["base_ensemble", "standard_ensemble"]
    for name, runs in controls.items():
        assert [run.seed for run in runs] == list(range(3, 11))
        assert {run.variant for run in runs} == {name.removesuffix("_ensemble")}
        assert len({run.out for run in runs}) == 8
    # The first of each is the member of the study.
    assert controls["standard_ensemble"][0] == config.member_config("standard")
    assert {run.epochs for run in controls["base_ensemble"]} == {7}
    assert StudyConfig(out="x").control_configs() == {}


def test_seeds_of_every_variant():
    config = StudyConfig(
        out="x", variants=("base", "sf_low", "no_noise"), seed=1, seeds=(0, 1), controls=True,
        control_variant="no_noise", control_members=3,
    )  # fmt: skip
    trainings = config.trainings()
    found = {name: (run.variant, run.seed, run.out) for name, run in trainings.items()}
    assert found == {
        **{name: (name, 1, f"x/members/{name}") for name in config.names()},
        **{
            f"{name}_seed0": (name, 0, f"x/members/{name}_seed0")
            for name in config.names()
        },
        # Seed 1 is that of the members.
        **{
            f"{name}_seed{seed}": (name, seed, f"x/controls/{name}_seed{seed}")
            for name in ("base", "no_noise")
            for seed in (2, 3)
        },
    }
    lineup = chain.study_lineup(config)
    assert lineup.members == ("sf_low", "no_noise") and lineup.baseline == "base"
    assert lineup.seeds == {
        "base": ("base", "base_seed0"),
        "sf_low": ("sf_low", "sf_low_seed0"),
        "no_noise": ("no_noise", "no_noise_seed0"),
        "ensemble": ("ensemble", "ensemble_seed0"),
    }
    assert lineup.ensembles == {
        "ensemble": ("sf_low", "no_noise"),
        "ensemble_seed0": ("sf_low_seed0", "no_noise_seed0"),
        "base_ensemble": ("base", "base_seed2", "base_seed3"),
        "no_noise_ensemble": ("no_noise", "no_noise_seed2", "no_noise_seed3"),
    }
    assert [Path(path).name for path in config.student_config().members] == [
        "sf_low", "no_noise",
    ]  # fmt: skip
    assert config.student_config().seed == 1


def test_sets_of_variants():
    config = StudyConfig(out="x", variants=("normalizing",))
    assert config.names()[0] == "base" and "evnet" in config.members()
    both = StudyConfig(out="x", variants=("all",)).names()
    assert {*both} == {*config.names(), *StudyConfig(out="x").names()}
    mixed = StudyConfig(out="x", variants=("paper", "balanced", "base_subcortical"))
    assert mixed.names()[-2:] == ("balanced", "base_subcortical")
    # A plain CNN is no member, and changes of V1 are not for it.
    assert "base_subcortical" not in mixed.members()


def test_changes_of_v1_leave_plain_cnns_as_they_are():
    study = StudyConfig(out="x", student_variant="base", gabor_seed=7, noise_gain=0.5)
    assert study.member_config("no_noise").variant_overrides() == {
        "gabor_seed": 7,
        "noise_gain": 0.5,
    }
    for plain in (study.member_config("base"), study.student_config()):
        assert plain.variant_overrides() == {}


def test_settings_survive_json():
    config = StudyConfig(out="x")
    assert json.loads(json.dumps(vars(config)))["variants"] == ["paper"]


def test_a_study_is_repeated_by_its_record(tmp_path):
    config = StudyConfig(
        out="x", preset="paper", epochs=3, variants=("sf_low", "sf_mid")
    )
    settings = dataclasses.asdict(config)
    (file := tmp_path / "study.json").write_text(json.dumps({"settings": settings}))
    received = []
    command_line.run(
        received.append,
        StudyConfig,
        [f"--config={file}", "--out=y", "--seed=1"],
        prog="",
        description="",
        record="study.json",
    )
    assert received == [dataclasses.replace(config, out="y", seed=1)]
