import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from stopping import StopIn, Stopped

import v1keras
from v1keras.training import DistillConfig, Run, distill, train
from v1keras.v1 import sample_gabors


def weights(run):
    return run.load_model().get_weights()


def history(run):
    with (run.path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def test_a_run_directory(tiny):
    run = train(tiny)
    assert {path.name for path in run.path.iterdir()} == {
        "config.json", "model.keras", "history.csv", "logs", "checkpoint",
    }  # fmt: skip
    config = run.config
    assert config["kind"] == "member" and config["name"] == "run"
    assert config["settings"]["width"] == 16
    assert config["variant"]["noise_gain"] == 0.0
    assert config["data"]["sizes"] == {"train": 72, "validation": 24, "test": 24}
    assert set(config["versions"]) >= {"v1keras", "keras", "tensorflow", "python"}
    assert run.is_finished and run.image_size == 32 and len(run.class_names) == 12
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    best = max(float(row["val_accuracy"]) for row in rows)
    assert config["result"]["validation_accuracy"] == best
    assert list((run.path / "logs").rglob("events.out.tfevents.*"))
    block = run.load_model().get_layer("vone_block")
    assert block.variant == run.v1["variant"]
    assert run.v1["sf_range"] == [0.5, 11.2]
    assert set(config["v1"]) == set(run.v1) == {
        "variant", "image_size", "visual_degrees", "stride", "kernel_size", "k_exc",
        "noise_scale", "noise_level", "rectify_noise", "sf_range",
    }  # fmt: skip
    built = {
        **block.get_config(), "variant": block.variant, "sf_range": [0.5, 11.2],
    }  # fmt: skip
    assert run.v1 == {name: built[name] for name in run.v1}
    # Without an optimizer, which `import v1keras` alone does not know.
    assert not keras.saving.load_model(run.path / "model.keras").compiled


def test_a_finished_run_is_kept(tiny):
    run = train(tiny)
    before = (run.path / "model.keras").stat().st_mtime_ns
    assert train(tiny).config == run.config
    assert (run.path / "model.keras").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "recipe",
    [
        {"schedule": "plateau"},
        {"schedule": "cosine", "augmentation": "prime", "normalization": "group"},
        {"schedule": "cosine", "augmentation": "augmix"},
    ],
)
def test_resuming_equals_not_stopping(tiny, change, tmp_path, recipe):
    config = change(tiny, variant="standard", **recipe)
    whole = train(change(config, out=str(tmp_path / "whole")))
    with pytest.raises(Stopped):
        train(config, callbacks=[StopIn(3)])
    assert not Run.open(config.out).is_finished
    resumed = train(config)
    assert history(whole) == history(resumed)
    for a, b in zip(weights(whole), weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_killed_training_goes_on(tmp_path):
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "v1keras.train", "--variant=only_complex",
        "--arch=resnet18", "--width=16", "--image_size=32", "--visual_degrees=1",
        "--stride=8", "--dataset=shapes:240:24", "--epochs=4", f"--out={out}",
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        first = out / "checkpoint" / "epoch_0001"
        while process.poll() is None and not first.exists():
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert not Run.open(out).is_finished
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Epoch 1/4" not in finished.stdout and "Epoch 4/4" in finished.stdout
    run = Run.open(out)
    assert run.is_finished and len(history(run)) == 4
    assert not list(out.rglob(".*"))


def test_other_settings_are_refused(tiny, change, tmp_path):
    train(change(tiny, epochs=1))
    with pytest.raises(FileExistsError, match="seed=0 instead of seed=1"):
        train(change(tiny, epochs=1, seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(
        FileExistsError, match=r"the same run.*no readable config\.json"
    ):
        train(change(tiny, out=str(tmp_path / "other")))
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.tex"]


def test_receptive_fields_of_a_file(tiny, change, tmp_path):
    file = tmp_path / "gabors.npz"
    np.savez(file, **sample_gabors(16, seed=9).to_dict())
    counts = {"simple_channels": 6, "complex_channels": 10}
    config = change(tiny, epochs=1, gabors=str(file), **counts)
    run = train(config)
    block = run.load_model().get_layer("vone_block")
    assert block.parameters == run.variant.sample() == sample_gabors(16, seed=9)
    # The run does not depend on the file once it is trained; another file is refused.
    np.savez(file, **sample_gabors(16, seed=8).to_dict())
    assert Run.open(run.path).variant.sample() == sample_gabors(16, seed=9)
    with pytest.raises(FileExistsError, match="gabors="):
        train(config)


def test_a_finished_run_without_its_model_is_not_finished_work(tiny, change):
    config = change(tiny, epochs=1)
    run = train(config)
    (run.path / "model.keras").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.keras.*though it is finished"):
        train(config)


def test_a_folder_that_cannot_be_written_is_refused_at_once(tiny, change, read_only):
    folder = read_only(Path(tiny.out).parent)
    with pytest.raises(OSError, match=f"(Read-only|denied).*{folder}"):
        train(change(tiny, dataset="/nonexistent/images"))


def test_a_refused_run_leaves_nothing_behind(tiny, change):
    with pytest.raises(FileNotFoundError):
        train(change(tiny, dataset="/nonexistent/images"))
    assert not Path(tiny.out).exists()


def test_a_truncated_checkpoint_or_model_is_a_clear_error(tiny, change):
    run = train(change(tiny, epochs=1))
    (run.path / "model.keras").write_bytes(b"PK\x03\x04half")
    with pytest.raises(ValueError, match=r"model\.keras is damaged"):
        run.load_model()
    config = json.loads((run.path / "config.json").read_text())
    config["result"] = None
    (run.path / "config.json").write_text(json.dumps(config))
    (weights_file,) = run.path.rglob("*.weights.h5")
    weights_file.write_bytes(weights_file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"epoch_0001/.* is damaged"):
        train(change(tiny, epochs=1))


def test_opening_what_is_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run directory must exist"):
        Run.open(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="must hold config"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text("{half")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        Run.open(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "member", "settings": {}}')
    with pytest.raises(ValueError, match=r"no entry .*name, variant"):
        Run.open(tmp_path)


def test_distillation(tiny, change, tmp_path):
    members = []
    for variant in ("sf_low", "sf_high"):
        out = str(tmp_path / variant)
        members.append(train(change(tiny, out=out, variant=variant, epochs=1)))
    settings = {
        key: value
        for key, value in vars(tiny).items()
        if key not in ("out", "variant", "epochs")
    }
    config = DistillConfig(
        **settings,
        out=str(tmp_path / "student"),
        members=tuple(str(run.path) for run in members),
        epochs=2,
    )
    run = distill(config)
    assert run.config["kind"] == "student" and run.variant.noise_gain == 0.0
    rows = history(run)
    assert {"soft_target_loss", "label_loss", "val_accuracy"} <= set(rows[0])
    model = run.load_model()
    v1keras.set_noise(model, "off")
    # The student alone was saved: as many weights as a member has.
    assert model.count_params() == members[0].load_model().count_params()

    with pytest.raises(FileNotFoundError, match="run directory must exist"):
        distill(change(config, members=(str(tmp_path / "nobody"),), out="unused"))
    other = members[1].path / "config.json"
    content = json.loads(other.read_text())
    content["class_names"][0] = "dodecahedron"
    other.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"sf_low .*sf_high .*dodecahedron"):
        distill(change(config, out=str(tmp_path / "unused")))
    assert not (tmp_path / "unused").exists()
