import csv
import dataclasses
import json
import os
import re
import shutil

import numpy as np
import pytest
from scipy.special import logsumexp

from v1keras import command_line
from v1keras.data import load_dataset
from v1keras.evaluation import EvaluateConfig, evaluate
from v1keras.evaluation.runs import open_runs, run_variants
from v1keras.training import Run, TrainConfig
from v1keras.v1 import get_variant

DATASET = "shapes:24:24"


@pytest.fixture
def make_run(tmp_path, make_model):
    """A function that writes a run directory without training."""
    data = load_dataset(DATASET)

    def make(
        name, variant="standard", *, seed=0, classes=None, kind="member", **further
    ):
        path = tmp_path / name
        path.mkdir(parents=True)
        classes = classes or data.class_names
        settings = TrainConfig(out=str(path), variant=variant, seed=seed, **further)
        config = {
            "kind": kind,
            "name": path.name,
            "settings": dataclasses.asdict(settings),
            "variant": dataclasses.asdict(get_variant(variant)),
            "class_names": classes,
            "display_names": classes,
            "image_size": 64,
            "data": {"name": DATASET},
            "result": {"best_epoch": 1, "validation_accuracy": 0.5},
        }
        (path / "config.json").write_text(json.dumps(config))
        model = make_model(
            seed, noise=variant == "standard", classes=len(classes), size=64
        )
        model.save(path / "model.keras")
        return str(path)

    return make


def run(*arguments):
    return command_line.run(
        evaluate, EvaluateConfig, arguments, prog="v1keras.evaluate", description="."
    )


def test_from_runs_to_report(tmp_path, make_run, capsys, monkeypatch):
    runs = [make_run("base", "base"), make_run("v1"), make_run("s1/v1", seed=1)]
    arguments = (
        f"--models={','.join(runs)}",
        "--ensemble",
        f"--dataset={DATASET}",
        "--corruptions=gaussian_noise,contrast",
        "--severities=1,5",
        "--noise_samples=2",
        "--bootstrap=100",
        f"--out={tmp_path / 'out'}",
    )
    assert run(*arguments) == 0
    printed = capsys.readouterr().out
    assert "24 clean images; 4 corrupted cells (2 corruptions) of 24 images" in printed
    assert "gain over base" in printed
    assert "standard, 2 seeds" in printed
    out = tmp_path / "out"
    for name in ("report.html", "summary.csv", "bar_chart.png", "config.json"):
        assert (out / name).is_file()
    with (tmp_path / "v1" / "robustness.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5
    first = (out / "report.html").read_text()
    assert re.search(r">seed</th>\s*<td>0</td>", first)
    assert ">jpeg</th>" not in first and ">baseline</th>" not in first
    # All cells are cached: no model is loaded.
    monkeypatch.setattr(Run, "load_model", None)
    assert run(*arguments) == 0
    assert (out / "report.html").read_text() == first
    assert run(*arguments, "--seed=1") == 2
    assert "seed=0 instead of seed=1" in capsys.readouterr().err


def rows_of(folder):
    with (folder / "robustness.csv").open() as file:
        return list(csv.DictReader(file))


def test_test_images_of_some_classes(tmp_path, make_run, write_tfds, capsys):
    """As ImageNet-R: the logits of classes without images are left out."""
    tfds = pytest.importorskip("tensorflow_datasets")
    features = {
        "image": tfds.features.Image(shape=(64, 64, 3)),
        "label": tfds.features.ClassLabel(names=["owl", "cat", "asp", "bat"]),
    }
    images = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), np.uint8)
    labels = np.array([0, 2, 3])[np.arange(30) % 3]
    rows = [{"image": x, "label": y} for x, y in zip(images, labels, strict=True)]
    data_dir = write_tfds("strange", {"test": rows}, features)
    path = make_run("base", "base", classes=["asp", "bat", "cat", "dog", "owl"])
    arguments = (
        f"--models={path}",
        "--dataset=strange",
        f"--data_dir={data_dir}",
        "--corrupted=none",
        "--adapted_batch=15",
        "--bootstrap=50",
    )
    assert run(*arguments, f"--out={tmp_path / 'out'}") == 0
    printed = capsys.readouterr().out
    assert "choose among the 3 of their 5 classes" in printed
    assert f"is not copied to {path}, which knows more classes" in printed
    assert not (tmp_path / "base" / "robustness.csv").exists()

    logits = Run.open(path).load_model().predict(images.astype("float32"), verbose=0)
    chosen = np.where(labels == 0, 4, labels - 2)  # owl 4, asp 0, bat 1 of the run
    logits = np.where(np.isin(np.arange(5), [0, 1, 4]), logits, -np.inf)
    expected = (logits.argmax(1) == chosen).mean()
    with (tmp_path / "out" / "inference.csv").open() as file:
        shown = [float(row["value"]) for row in csv.DictReader(file)]
    assert shown == pytest.approx([expected] * 2, abs=1e-6)
    (row,) = rows_of(tmp_path / "out")
    likelihood = (logits - logsumexp(logits, 1, keepdims=True))[range(30), chosen]
    loss = float(row["negative_log_likelihood"])
    assert loss == pytest.approx(-likelihood.mean(), abs=1e-5)
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["label"] for row in rows} == {"asp", "bat", "owl"}

    other = make_run("other", "base", classes=["asp", "bat", "cat"])
    assert run(f"--models={other}", *arguments[1:], f"--out={tmp_path / 'b'}") == 2
    assert f"the run {other} with 3" in (error := capsys.readouterr().err)
    assert "lacks owl" in error
    assert not (tmp_path / "b").exists()


def test_a_run_keeps_its_larger_table(tmp_path, make_run, capsys):
    path = make_run("base", "base")
    common = (f"--models={path}", f"--dataset={DATASET}", "--bootstrap=50")

    def shown(name, *flags):
        assert run(*common, *flags, f"--out={tmp_path / name}") == 0
        return len(rows_of(tmp_path / name)), capsys.readouterr().out

    contrast = "--corruptions=contrast"
    assert shown("small", contrast, "--severities=1", "--max_images=9")[0] == 2
    assert len(rows_of(tmp_path / "base")) == 2
    # More corruptions, then fewer images of them, then the same again.
    assert shown("whole", contrast, "--severities=1,5")[0] == 3
    for name, flags in {
        "few": ("--severities=1,5", "--max_images=9"),
        "one": ("--severities=1",),
    }.items():
        assert (
            "of more images in all, 72 instead of" in shown(name, contrast, *flags)[1]
        )
        assert len(rows_of(tmp_path / "base")) == 3
    assert "not copied" not in shown("again", contrast, "--severities=1,5")[1]
    # What is of an earlier model, or damaged, is worth nothing.
    file = tmp_path / "base" / "robustness.csv"
    os.utime(file, (0, 0))
    shown("newer", contrast, "--severities=1")
    assert len(rows_of(tmp_path / "base")) == 2
    file.write_text("images\nmany\n")
    shown("few2", "--corrupted=none", "--max_images=9")
    assert len(rows_of(tmp_path / "base")) == 1


def test_runs_that_cannot_be_written_are_evaluated(
    tmp_path, make_run, capsys, read_only
):
    path = make_run("runs/base", "base")
    read_only(tmp_path / "runs")
    common = f"--models={path}", f"--dataset={DATASET}", "--corrupted=none"
    out = tmp_path / "out"
    assert run(*common, "--bootstrap=50", f"--out={out}") == 0
    printed = capsys.readouterr().out
    assert f"{out}/robustness.csv is not copied to {path}, which cannot" in printed
    assert len(rows_of(out)) == 1
    assert run(*common, f"--out={tmp_path / 'runs/out'}") == 2
    captured = capsys.readouterr()
    assert re.search(
        r"Read-only file system: .*runs/out|denied.*runs/out", captured.err
    )
    assert captured.out == ""


def test_seeds_name_the_runs_of_a_variant(tmp_path, make_run, capsys):
    for seed in (0, 1):
        make_run(f"base-{seed}", "base", seed=seed)
    make_run("v1-0")
    make_run("v1-1", seed=2)
    out = tmp_path / "out"
    pattern = f"{tmp_path}/base-{{seed}}"
    common = (f"--out={out}", f"--dataset={DATASET}", "--corrupted=none")
    wrong = f"--models={pattern},{tmp_path}/v1-{{seed}}"
    assert run(wrong, "--seeds=0,1", *common) == 2
    assert "v1-1 must have been trained with seed 1" in capsys.readouterr().err
    assert not out.exists()

    models = f"--models={pattern},{tmp_path}/v1-0"
    assert run(models, "--seeds=0,1", "--bootstrap=50", *common) == 0
    with (out / "summary.csv").open() as file:
        rows = {row["model"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["base-0", "base-1", "v1-0"]
    with (out / "seeds.csv").open() as file:
        (summary,) = csv.DictReader(file)
    assert (summary["variant"], summary["runs"]) == ("base", "2")
    first, second = (float(rows[f"base-{seed}"]["clean"]) for seed in (0, 1))
    assert float(summary["clean_mean"]) == pytest.approx((first + second) / 2, abs=1e-5)
    deviation = abs(first - second) / 2**0.5
    assert float(summary["clean_std"]) == pytest.approx(deviation, abs=1e-5)
    assert summary["clean_gain_mean"] == ""


def test_a_student_is_no_seed_of_its_variant(tmp_path, make_run):
    models = make_run("v1"), make_run("v1-student", kind="student")
    out = tmp_path / "out"
    common = (f"--out={out}", f"--dataset={DATASET}", "--corrupted=none")
    assert run(f"--models={','.join(models)}", "--bootstrap=50", *common) == 0
    assert not (out / "seeds.csv").exists()


def test_runs_that_were_trained_otherwise_are_no_seeds_of_one_variant(make_run):
    runs = open_runs(
        [
            make_run("base-0", "base"),
            make_run("base-1", "base", seed=1),
            make_run("prime-0", "base", augmentation="prime", epochs=3),
            make_run("prime-1", "base", augmentation="prime", epochs=3, seed=1),
            make_run("student", "base", kind="student", augmentation="prime"),
            make_run("v1", stride=4),
        ]
    )
    prime = "base, epochs=3, augmentation=prime"
    assert list(run_variants(runs).values()) == [
        "base", "base", prime, prime, "base student", "standard"
    ]  # fmt: skip


def test_two_evaluations_side_by_side(tmp_path, make_run, capsys):
    models = f"--models={make_run('base', 'base')},{make_run('v1')}"
    arguments = (
        models,
        f"--dataset={DATASET}",
        "--corruptions=fog,contrast",
        "--bootstrap=50",
    )
    first, second = tmp_path / "first", tmp_path / "second"
    assert run(*arguments, f"--out={first}", f"--compare={second}") == 2
    assert "folder of an evaluation" in capsys.readouterr().err
    assert not first.exists()
    assert run(*arguments, f"--out={first}") == 0
    before = (first / "logits" / "manifest.json").stat().st_mtime_ns
    capsys.readouterr()
    assert run(*arguments, f"--out={second}", f"--compare={first}", "--seed=1") == 0
    assert "of 4 accuracies per model and corruption" in capsys.readouterr().out
    assert (first / "logits" / "manifest.json").stat().st_mtime_ns == before
    with (second / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["corruption"] for row in rows] == ["clean", "fog", "contrast"] * 2
    # Contrast is not random, and the base has no noise.
    assert rows[2]["first"] == rows[2]["second"] and rows[2]["agrees"] == "True"
    assert "Beside first" in (second / "report.html").read_text()
    with (second / "corruptions.csv").open() as file:
        accuracies = {
            (row["model"], row["corruption"]): float(row["accuracy"])
            for row in csv.DictReader(file)
        }
    assert accuracies["base", "fog"] == pytest.approx(float(rows[1]["first"]))


def refused(capsys, out, *arguments):
    assert run(*arguments, f"--out={out}", f"--dataset={DATASET}") == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    return captured.err


def test_classes_of_models_must_agree(tmp_path, make_run, capsys):
    names = [f"c{i}" for i in range(10)]
    first, second = make_run("first"), make_run("second", classes=names)
    error = refused(capsys, tmp_path / "out", f"--models={first},{second}")
    assert first in error
    assert second in error
    assert not (tmp_path / "out").exists()


def test_classes_of_model_and_data_must_agree(tmp_path, make_run, capsys):
    first = make_run("first", classes=["cat", "dog"])
    error = refused(capsys, tmp_path / "out", f"--models={first}")
    assert first in error
    assert DATASET in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--corruptions=fogg", "fogg"),
        ("--severities=0,1", "severities=0,1"),
        ("--baseline=nobody", "baseline=nobody"),
        ("--ensemble", "at least two members"),
        ("--ensemble_members=a,nobody", "nobody"),
        ("--jpeg --corrupted=none", "jpeg=True"),
        ("--seeds=0,1", "need each other"),
        ("--seeds=a", "must be integers"),
        ("--compare=/no/such/folder", "folder of an evaluation"),
        ("--noise_samples=0", "at least 1"),
        ("--max_images=0", "at least 1"),
        ("--corrupted=/no/such/folder", "which is no folder"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, make_run, capsys, flag, message):
    models = f"--models={make_run('a')}"
    assert message in refused(capsys, tmp_path / "out", models, *flag.split())
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_refused(tmp_path, make_run, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    models = f"--models={make_run('a')}"
    assert "hold the same evaluation" in refused(capsys, out, models)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert "run directory must exist" in refused(
        capsys, tmp_path / "out", "--models=/nowhere"
    )


def test_a_stored_set_that_lacks_cells_needs_permission(tmp_path, make_run, capsys):
    import cv2

    data = load_dataset(DATASET)
    test = data.split("test")
    for i, label in enumerate(test.labels):
        folder = tmp_path / "set" / "fog" / "1" / data.class_names[label]
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{i}.png"), test.images[i])
    models, corrupted = f"--models={make_run('a')}", f"--corrupted={tmp_path / 'set'}"
    assert "fog 2" in refused(capsys, tmp_path / "out", models, corrupted)
    arguments = (models, corrupted, f"--out={tmp_path / 'out'}", f"--dataset={DATASET}")
    assert run(*arguments, "--allow_partial", "--bootstrap=50") == 0
    assert "PARTIAL: 74 of 76" in capsys.readouterr().out
    assert "Partial report" in (tmp_path / "out" / "report.html").read_text()


def test_runs_of_one_name_are_told_apart(tmp_path, make_run):
    runs = open_runs([make_run("s0/v1"), make_run("s1/v1"), make_run("base")])
    assert list(runs) == ["s0/v1", "s1/v1", "base"]
    with pytest.raises(ValueError, match="run twice"):
        open_runs([tmp_path / "base", tmp_path / "s0" / ".." / "base"])


def test_runs_of_version_0_1_0(tmp_path, golden_dir, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(golden_dir / "saved_by_0.1.0" / "runs", runs)
    names = ("base", "member", "interrupted", "student")
    config = EvaluateConfig(
        out=str(tmp_path / "out"),
        models=tuple(str(runs / name) for name in names),
        ensemble=True,
        dataset=DATASET,
        corruptions=("contrast",),
        severities=(1,),
        max_images=8,
        bootstrap=10,
    )
    table = evaluate(config)
    assert table.roles == {
        "base": "baseline",
        "member": "member",
        "interrupted": "member",
        "student": "student",
        "ensemble": "ensemble",
    }
    assert table.lineup.ensembles == {"ensemble": ("member", "interrupted")}
    assert "training of interrupted has not finished" in capsys.readouterr().out
    assert (runs / "student" / "robustness.csv").is_file()
