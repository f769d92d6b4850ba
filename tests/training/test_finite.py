"""Numbers that are not finite stop at the stage that they arise in."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest

import export.__main__
import v1keras.distill
import v1keras.evaluate
import v1keras.train
from v1keras import command_line
from v1keras.evaluation import EvaluateConfig
from v1keras.training import DistillConfig, Run, TrainConfig, train


def run(module, config_class, *arguments):
    names = {"prog": "command", "description": "."}
    return command_line.run(module.main, config_class, arguments, **names)


def one_line(capsys):
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "error: " in line
    return line


@pytest.mark.parametrize(
    ("settings", "received"),
    [
        ({"batch_size": 8}, r"loss=(nan|inf) in step \d of epoch 1"),
        ({"batch_size": 96}, r"val_loss=(nan|inf) in epoch 1"),
    ],
)
def test_training_ends_at_the_first_loss_that_is_not_finite(
    tiny, change, tmp_path, settings, received
):
    config = change(tiny, learning_rate=1e20, **settings)
    with pytest.raises(
        ValueError, match=f"lower `learning_rate`.*the same `out`.*{received}.*no model"
    ):
        train(config)
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json", "logs",
    }  # fmt: skip
    assert not Run.open(config.out).is_finished


def test_the_command_says_what_to_lower(tiny, capsys):
    given = {**vars(tiny), "learning_rate": 1e20, "variant": "no_noise"}
    names = ("out", "dataset", "arch", "width", "image_size", "stride", "epochs",
             "visual_degrees", "learning_rate")  # fmt: skip
    arguments = [f"--{name}={given[name]}" for name in names]
    assert run(v1keras.train, TrainConfig, *arguments) == 2
    assert "lower `learning_rate`" in one_line(capsys)


def test_the_last_good_model_stays(tiny, change):
    run = train(change(tiny, epochs=1))
    config = json.loads((run.path / "config.json").read_text())
    config["settings"]["epochs"] = tiny.epochs
    (run.path / "config.json").write_text(json.dumps({**config, "result": None}))
    state_file = run.path / "checkpoint" / "epoch_0001" / "state.json"
    state = json.loads(state_file.read_text())
    state_file.write_text(json.dumps({**state, "learning_rate": 1e20}))
    kept = ("model.keras", "history.csv", "checkpoint/epoch_0001/training.weights.h5")
    before = [(run.path / name).read_bytes() for name in kept]
    with pytest.raises(
        ValueError, match=r"of epoch 2.* best model, of epoch 1, is kept"
    ):
        train(tiny)
    assert [(run.path / name).read_bytes() for name in kept] == before
    assert len(list((run.path / "checkpoint").iterdir())) == 1
    with (run.path / "history.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 1
    run.load_model()


def test_weights_spoilt_where_no_loss_sees_them_are_not_saved(tiny, monkeypatch):
    # Validation images may not need the weights that the last step has spoilt.
    evaluate = keras.Model.evaluate

    def spoil(self, *args, **kwargs):
        result = evaluate(self, *args, **kwargs)
        self.trainable_variables[0].assign(self.trainable_variables[0] * np.nan)
        return result

    monkeypatch.setattr(keras.Model, "evaluate", spoil)
    with pytest.raises(ValueError, match="kernel=nan in the last step of epoch 1"):
        train(tiny)


@pytest.mark.parametrize("name", ["learning_rate", "weight_decay", "momentum"])
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_settings_must_be_finite(tiny, change, name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be finite"):
        change(tiny, **{name: float(value)})


@pytest.mark.parametrize("command", ["evaluate", "ensemble", "distill", "export"])
def test_a_model_that_is_not_finite_is_refused(members, tmp_path, capsys, command):
    good, bad = members["no_noise"], tmp_path / "bad"
    shutil.copytree(members["standard"], bad)
    model = Run.open(bad).load_model()
    weight = model.trainable_variables[-1]
    weight.assign(weight * np.inf)
    model.save(bad / "model.keras")
    out = tmp_path / "out"
    both, data = f"{bad},{good}", "--dataset=shapes:96:24"
    if command == "export":
        code = export.__main__.main(
            [f"--run={bad}", f"--out={out}", "--min_accuracy=0.1"]
        )
    elif command == "distill":
        small = ("--width=4", "--image_size=32", "--stride=8")
        arguments = (f"--members={both}", f"--out={out}", data, *small)
        code = run(v1keras.distill, DistillConfig, *arguments)
    else:
        models = {
            "evaluate": (f"--models={bad}",),
            "ensemble": (f"--models={both}", "--ensemble"),
        }[command]
        arguments = (*models, f"--out={out}", data)
        code = run(v1keras.evaluate, EvaluateConfig, *arguments)
    assert code == 2
    line = one_line(capsys)
    assert "must have finite weights; train the run again in a new folder" in line
    assert f"{bad}/model.keras" in line and weight.path in line
    assert not out.exists()
