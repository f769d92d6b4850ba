import csv
import dataclasses
import json

import pytest

from v1keras.corruptions import EXTRA
from v1keras.studies import AblationConfig, run_ablation
from v1keras.studies.ablation import retention
from v1keras.training import Run, TrainConfig, train

COMMON = {
    "dataset": "shapes:120:24",
    "arch": "resnet18",
    "width": 4,
    "image_size": 32,
    "visual_degrees": 1.0,
    "stride": 8,
    "epochs": 1,
    "batch_size": 32,
    "validation_fraction": 0.2,
    "schedule": "cosine",
}
RECIPES = {
    "cached": {"teacher_views": 1, "temperature": 2.0},
    "mixed": {"teacher_views": 1, "mixup": 0.5, "alpha": 0.9},
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of `base`, `no_noise` and `sf_low`."""
    folder = tmp_path_factory.mktemp("runs")
    for variant in ("base", "no_noise", "sf_low"):
        train(TrainConfig(**COMMON, out=str(folder / variant), variant=variant))
    return folder


@pytest.fixture
def settings(tmp_path):
    file = tmp_path / "recipes.json"
    file.write_text(json.dumps(RECIPES))
    return {
        **COMMON,
        "out": str(tmp_path / "out"),
        "base": "base",
        "members": ("no_noise", "sf_low"),
        "recipes": str(file),
        "seeds": 1,
        "validation_images": 6,
        "max_images": 6,
    }


@pytest.mark.slow
def test_chooses_on_held_out_images_and_measures_once(
    settings, runs, tmp_path, monkeypatch
):
    monkeypatch.chdir(runs)
    config = AblationConfig(**settings)
    result = run_ablation(config)
    out = tmp_path / "out"
    rows = list(csv.DictReader((out / "recipes.csv").open()))
    assert [row["recipe"] for row in rows] == list(RECIPES)
    best = max(rows, key=lambda row: float(row["corrupted"]))["recipe"]
    assert result == json.loads((out / "result.json").read_text())
    assert result["recipe"] == best and result["selected_on"] == "extra"
    shown = {
        file.stem.rpartition("-")[0] for file in (out / "held_out").rglob("*-?.npz")
    }
    assert shown == {"clean", *EXTRA}
    assert len(result["retention"]) == len(result["retention_without_teacher"]) == 1
    assert set(result["points_over_base"]) == {
        "clean", "noise", "blur", "weather", "digital", "mean",
    }  # fmt: skip
    # Both recipes read one teacher's logits.
    assert len(list((out / "teacher").glob("*/view_000.npy"))) == 1
    control = Run.open(out / "students" / f"without_teacher_{best}_seed0")
    taught = Run.open(out / "students" / best).config["settings"]
    assert {k for k, v in control.config["settings"].items() if taught[k] != v} == {
        "alpha", "out",
    }  # fmt: skip
    models = sorted(out.rglob("model.keras"))
    assert len(models) == 3
    before = [model.stat().st_mtime_ns for model in models]
    assert run_ablation(config) == result
    assert [model.stat().st_mtime_ns for model in models] == before
    # Other scores are of another comparison, which is said before anything is trained.
    for change in ({"select_on": "benchmark"}, {"epochs": config.epochs + 5}):
        (name,) = change
        with pytest.raises(FileExistsError, match=rf"ablation\.json has {name}="):
            run_ablation(dataclasses.replace(config, **change))
    assert [model.stat().st_mtime_ns for model in models] == before
    # One that is stopped early does not shorten the table.
    (out / "students" / "mixed" / "config.json").write_text("{}")
    with pytest.raises(FileExistsError, match="mixed"):
        run_ablation(config)
    assert list(csv.DictReader((out / "recipes.csv").open())) == rows


@pytest.mark.slow
def test_only_compares_and_goes_on_with_any_recipe(
    settings, runs, tmp_path, monkeypatch
):
    monkeypatch.chdir(runs)
    recipe = {
        "disagreement": 1.0,
        "feature_layer": "layer4_1_relu2",
        "feature_weight": 0.1,
    }
    (tmp_path / "recipes.json").write_text(json.dumps({"all": recipe}))
    chosen = {"recipe": "all", "selected_on": "extra"}
    assert run_ablation(AblationConfig(**{**settings, "seeds": 0})) == chosen
    out = tmp_path / "out"
    assert json.loads((out / "result.json").read_text()) == chosen
    assert [path.name for path in (out / "students").iterdir()] == ["all"]
    assert not (out / "evaluation").exists()
    result = run_ablation(AblationConfig(**settings))
    assert chosen.items() < result.items()
    control = Run.open(out / "students" / "without_teacher_all_seed0")
    assert control.config["settings"]["disagreement"] == 0


def test_retention_by_formula():
    assert retention(0.25, 0.35, 0.32) == pytest.approx(0.7)
    assert retention(0.25, 0.35, 0.20) == pytest.approx(-0.5)
    assert retention(0.25, 0.25, 0.32) is None


@pytest.mark.parametrize(
    ("recipes", "message"),
    [
        ("{half", "must be a JSON file"),
        ("[1]", "must be a JSON file"),
        ("{}", "must hold a recipe"),
        ('{"a/b": {}}', r"must hold a recipe.*a/b"),
        ('{"long": {"epochs": 99}}', "long with epochs"),
        ('{"typo": {"temprature": 9}}', "typo with temprature"),
        ('{"cold": {"temperature": 0}}', "temperature=0"),
        ('{"fold": {"split_seed": 5}}', "fold with split_seed"),
    ],
)
def test_refused_recipes(settings, tmp_path, recipes, message):
    (tmp_path / "recipes.json").write_text(recipes)
    with pytest.raises(ValueError, match=message):
        run_ablation(AblationConfig(**settings))
    assert not (tmp_path / "out").exists()


def test_refused_settings(settings):
    with pytest.raises(ValueError, match="validation_source=test"):
        AblationConfig(**{**settings, "validation_source": "test"})
    with pytest.raises(ValueError, match="seeds=-1"):
        AblationConfig(**{**settings, "seeds": -1})


def test_missing_recipes(settings, tmp_path):
    config = AblationConfig(**{**settings, "recipes": str(tmp_path / "none.json")})
    with pytest.raises(FileNotFoundError, match=r"must be a JSON file.*none\.json"):
        config.read_recipes()
