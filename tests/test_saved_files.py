"""Files that version 0.1.0 saved still load and answer the same."""

import copy
import csv
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import v1keras
from export import ExportConfig, export_run
from v1keras.training import DistillConfig, Run, TrainConfig, distill, train

MODELS = ("base", "member", "interrupted", "student", "ensemble")


@pytest.fixture(scope="module")
def saved(golden_dir):
    return golden_dir / "saved_by_0.1.0"


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_answers_the_same(saved, name):
    if name == "ensemble":
        model = keras.models.load_model(saved / "ensemble.keras")
    else:
        model = Run.open(saved / "runs" / name).load_model()
    v1keras.set_noise(model, "off")
    with np.load(saved / "logits.npz") as expected:
        logits = model(expected["images"].astype("float32"), training=False)
        np.testing.assert_allclose(logits, expected[name], atol=1e-4)


def test_a_run_tells_its_labels_and_history(saved, tmp_path):
    run = v1keras.Run.open(saved / "runs" / "student")
    with (run.path / "history.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert [*run.history] == [*rows[0]]
    for name, values in run.history.items():
        assert values == [float(row[name]) for row in rows]
    assert v1keras.Run(tmp_path, run.config).history == {}
    names = {
        "class_names": ["n1", "n2", "n3"],
        "display_names": ["crane", "fish", "crane"],
    }
    assert v1keras.Run(tmp_path, names).labels == ("crane (n1)", "fish", "crane (n3)")


@pytest.mark.parametrize("name", ["base", "member", "interrupted", "student"])
def test_a_saved_run_tells_what_its_front_end_was_built_with(saved, name):
    run = Run.open(saved / "runs" / name)
    assert "v1" not in run.config
    if name == "base":
        assert run.v1 is None
    else:
        block = run.load_model().get_layer("vone_block")
        variant = block.variant
        built = {
            **block.get_config(), "variant": variant, "sf_range": [*variant.sf_range],
        }  # fmt: skip
        assert run.v1 == {part: built[part] for part in run.v1}


@pytest.mark.parametrize(
    ("name", "highest"), [("low_noise", 8.0), ("low_noise_custom", 11.2)]
)
def test_a_saved_run_of_large_images_was_cut_if_its_variant_was_named(
    saved, name, highest
):
    config = copy.deepcopy(Run.open(saved / "runs" / "member").config)
    config["image_size"] = 224
    config["variant"]["name"] = name
    assert Run(saved, config).v1["sf_range"] == [0.5, highest]


@pytest.mark.slow
def test_an_interrupted_run_resumes(saved, tmp_path):
    out = tmp_path / "interrupted"
    shutil.copytree(saved / "runs" / "interrupted", out)
    before = (out / "history.csv").read_text().splitlines()
    run = train(
        TrainConfig(
            out=str(out), dataset="shapes", arch="resnet18", width=4, stride=4, epochs=3,
            variant="low_noise", simple_channels=8, complex_channels=8, seed=1,
        )
    )  # fmt: skip
    assert run.is_finished
    after = (out / "history.csv").read_text().splitlines()
    assert after[: len(before)] == before and len(after) == 4
    losses = [float(row["loss"]) for row in csv.DictReader(after)]
    # It learns on from where it was, not from the start.
    assert losses[1] < losses[0]


@pytest.mark.slow
def test_saved_runs_are_exported(saved, tmp_path):
    runs = [str(saved / "runs" / name) for name in ("base", "student")]
    config = ExportConfig(
        run=tuple(runs), out=str(tmp_path / "both"), min_accuracy=0.001, images=64
    )
    result = export_run(config)
    assert result.litert.is_file()
    with np.load(saved / "logits.npz") as expected:
        served = tf.saved_model.load(result.path).signatures["serving_default"]
        found = served(images=tf.constant(expected["images"], tf.float32))["logits"]
        mean = (expected["base"] + expected["student"]) / 2
        np.testing.assert_allclose(found, mean, atol=1e-4)


@pytest.mark.parametrize("name", ["member", "student"])
def test_a_finished_run_is_kept(saved, tmp_path, name):
    out = tmp_path / name
    shutil.copytree(saved / "runs" / name, out)
    stored = Run.open(out)
    config_class = DistillConfig if name == "student" else TrainConfig
    settings = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in stored.config["settings"].items()
    }
    before = (out / "model.keras").stat().st_mtime_ns
    config = config_class(**{**settings, "out": str(out)})
    if name == "student":
        members = [Run.open(saved / "runs" / each) for each in ("base", "member")]
        assert distill(config, members=members).config == stored.config
    else:
        assert train(config).config == stored.config
    assert (out / "model.keras").stat().st_mtime_ns == before
