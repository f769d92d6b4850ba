"""`--config` repeats a run."""

import functools

import numpy as np

from v1keras import command_line, training
from v1keras import train as command
from v1keras.training import Run

run = functools.partial(
    command_line.run, prog="tool", description="", record="config.json"
)


def test_a_repeated_run_has_equal_weights(members, tmp_path):
    before, out = members["standard"], tmp_path / "again"
    flags = [f"--config={before}/config.json", f"--out={out}"]
    assert run(command.main, training.TrainConfig, flags) == 0
    found, expected = (Run.open(each).load_model() for each in (out, before))
    pairs = zip(found.get_weights(), expected.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs)


def test_a_member_lends_its_settings_to_a_student_but_not_the_other_way(
    members, tiny_settings, tmp_path, capsys
):
    received = []
    both = f"{members['no_noise']},{members['standard']}"
    flags = [f"--config={members['no_noise']}/config.json", f"--members={both}"]
    flags += [f"--out={tmp_path}", "--epochs=9"]
    assert run(received.append, training.DistillConfig, flags) == 0
    (config,) = received
    assert config.members == tuple(both.split(",")) and config.out == str(tmp_path)
    assert (config.width, config.epochs) == (tiny_settings["width"], 9)
    student = tmp_path / "config.json"
    student.write_text('{"settings": {"members": ["a"], "alpha": 1}}')
    flags = [f"--config={student}", "--out=x"]
    assert run(received.append, training.TrainConfig, flags) == 2
    assert "Received: config=" in capsys.readouterr().err and len(received) == 1
