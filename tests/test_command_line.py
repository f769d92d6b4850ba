import dataclasses
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import ClassVar

import keras
import numpy as np
import pytest

import v1keras
from v1keras import __main__ as front_door
from v1keras import command_line
from v1keras.command_line import option
from v1keras.locks import lock_folder


@command_line.with_presets
@dataclasses.dataclass(frozen=True)
class Config:
    PRESETS: ClassVar = {"none": {}, "fast": {"epochs": 1, "names": ("c",)}}

    out: str = option(required=True, help="Folder.")
    preset: str = option("none", "Preset.", choices=("none", "fast"))
    epochs: int = option(60, "Epochs.", group="training")
    rate: float | None = option(None, "Rate.")
    names: tuple[str, ...] = option(("a", "b"), "Names.")
    levels: tuple[int, ...] = option((1, 2), "Levels.")
    fast: bool = option(False, "Fast.")

    def __post_init__(self):
        command_line.check_values(self)
        if self.epochs < 1:
            raise ValueError(f"`epochs` must be at least 1. Received: {self.epochs}")


def run(*arguments, main=None):
    received = []
    code = command_line.run(
        main or received.append,
        Config,
        arguments,
        prog="tool",
        description="Does.",
        record="work.json",
    )
    return code, received


def test_flags_become_the_configuration():
    code, received = run(
        "--out=x", "--epochs=3", "--rate=0.5", "--names=c,d", "--levels=3", "--fast"
    )
    assert code == 0
    assert received == [
        Config(out="x", epochs=3, rate=0.5, names=("c", "d"), levels=(3,), fast=True)
    ]
    assert run("--out=x")[1] == [Config(out="x")]


def test_the_home_folder_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    code, (given,) = run("--out=~/runs", "--names=~/a,b~,c~/d")
    assert code == 0 and given.out == "/home/ada/runs"
    assert given.names == ("/home/ada/a", "b~", "c~/d")


def test_presets_are_the_same_in_python_and_as_flags():
    expected = Config(out="x", preset="fast", epochs=5)
    assert (expected.epochs, expected.names) == (5, ("c",))
    assert Config(out="x", preset="fast").epochs == 1
    assert run("--out=x", "--preset=fast", "--epochs=5")[1] == [expected]
    # A flag with the value of the default was given all the same.
    assert run("--out=x", "--preset=fast", "--epochs=60")[1][0].epochs == 60
    assert dataclasses.replace(expected, rate=1.0).epochs == 5
    with pytest.raises(ValueError, match="`preset` must be one of none, fast"):
        Config(out="x", preset="slow")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out=x", "--epoch=3"), ("'epoch'", "epochs")),
        (("--out=x", "--epochs=many"), ("epochs", "many")),
        (("--out=x", "--levels=3,x"), ("`levels` must be integers", "'x'")),
        (("--out=x", "--preset=slow"), ("preset", "none|fast")),
        (("--out=x", "--epochs=0"), ("at least 1", "0")),
        (("--out=x", "stray"), ("all arguments are flags", "stray")),
        (("--out=x", f"--epochs={10**20}"), ("`epochs` must be", "64 bits", "10000")),
        (("--out=x", f"--levels=1,{-(2**63)}"), ("`levels`", "64 bits", "-92233720")),
        (("--out=x", "--rate=nan"), ("`rate` must be finite",)),
        ((), ("--out is required",)),
    ],
)
def test_wrong_flags_are_one_line(arguments, words, capsys):
    code, received = run(*arguments)
    captured = capsys.readouterr()
    assert code == 2 and received == [] and captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith("tool: error: ")
    assert all(word in captured.err for word in words)


def test_bad_input_is_one_line_and_other_errors_are_not_hidden(capsys):
    def missing(config):
        raise FileNotFoundError("No such\nfolder: x")

    code, _ = run("--out=x", main=missing)
    assert code == 2
    assert capsys.readouterr().err == "tool: error: No such folder: x\n"

    def broken(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run("--out=x", main=broken)


@pytest.mark.parametrize(
    "work",
    [
        lambda config: np.empty(10**15),
        lambda config: keras.random.normal((10**7, 10**7)),
    ],
    ids=["numpy", "keras"],
)
def test_too_little_memory_is_one_line(work, capsys):
    @dataclasses.dataclass(frozen=True)
    class Own(Config):
        batch_size: int = option(32, "Images.")
        width: int = option(64, "Channels.")

    arguments = (work, Own, ["--out=x"])
    assert command_line.run(*arguments, prog="tool", description="Does.") == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("tool: error: out of memory (")
    assert error.endswith("): lower --batch_size or --width.")
    assert run("--out=x", main=work)[0] == 2
    assert "): end what else takes some." in capsys.readouterr().err


def test_settings_of_a_file_hold_where_no_flag_is_given(tmp_path, capsys):
    settings = {"out": "old", "epochs": 9, "names": ["c"], "rate": 1, "preset": "fast"}
    (file := tmp_path / "work.json").write_text(json.dumps({"settings": settings}))
    given = Config(out="x", preset="fast", epochs=9, names=("c",), rate=2.0)
    assert run("--out=x", f"--config={file}", "--rate=2") == (0, [given])
    for content, words in (
        (settings, "--out is required"),
        ({"epochs": "9"}, "epochs must be a whole number"),
        ({"epochs": 0}, "at least 1. Received: 0"),
        ({"epochs": 9, "alpha": 0.5}, f"Received: config={file} with alpha"),
        ([], "settings must be an object"),
    ):
        file.write_text(json.dumps({"settings": content}))
        flags = () if content is settings else ("--out=x",)
        assert run(*flags, f"--config={file}") == (2, [])
        assert words in capsys.readouterr().err
    for path in (tmp_path / "none.json", tmp_path):
        assert run("--out=x", f"--config={path}") == (2, [])
        assert f"Received: config={path}" in capsys.readouterr().err


def test_numbers_of_numpy_become_those_of_python():
    given = {"epochs": np.int32(3), "rate": np.float32(0.5), "fast": np.bool_(True)}
    config = Config(out="x", levels=(np.int64(3), 4), **given)
    assert config == Config(out="x", levels=(3, 4), epochs=3, rate=0.5, fast=True)
    assert json.loads(json.dumps(dataclasses.asdict(config)))["levels"] == [3, 4]
    for value in (True, 3.0, "3"):
        with pytest.raises(ValueError, match=f"`epochs` must be an integer.*{value}"):
            Config(out="x", epochs=value)


def test_help_names_every_flag(capsys):
    code, received = run("--help")
    text = capsys.readouterr().out
    assert code == 0 and received == []
    for field in dataclasses.fields(Config):
        assert f"--{field.name}" in text
    assert "Default: 60." in text


def test_help_is_grouped_and_begins_with_what_matters(capsys):
    @dataclasses.dataclass(frozen=True)
    class Own(Config):
        members: tuple[str, ...] = option(required=True, help="Members.")
        temperature: float = option(4.0, "Temperature.", group="training")

    command_line.run(print, Own, ["--help"], prog="tool", description="Does.")
    lines = capsys.readouterr().out.splitlines()
    # What has no default, then what is the command's own, then what it inherits.
    order = [
        "Required:", "  --out=str", "  --members=a,b,...", "Training:",
        "  --temperature=float", "  --epochs=int", "Other:", "  --preset=none|fast",
    ]  # fmt: skip
    assert [line for line in lines if line in order] == order


def test_all_command_lines_in_one_process(capsys):
    import export.__main__
    import v1keras.corruptions.__main__
    import v1keras.evaluation

    for config_class in (
        export.__main__.ExportConfig,
        v1keras.training.DistillConfig,
        v1keras.evaluation.EvaluateConfig,
        v1keras.studies.StudyConfig,
        v1keras.training.TrainConfig,
    ):
        arguments = (print, config_class, ["--help"])
        assert command_line.run(*arguments, prog="tool", description="Does.") == 0
        assert "--out" in capsys.readouterr().out


QUIET = """
import os, sys
from v1keras import quiet
with quiet._filtered_stderr():
    os.write(2, b"I0000 00:00:1795611084.346491  117 port.cc:153] oneDNN is on.\\n")
    os.write(2, b"E0000 00:00:1795611084.346491  117 loader.cc:1] No such op.\\n")
    {action}
os.write(2, b"later\\n")
"""


DAMAGED = """
import numpy as np
from damage import damaged, whole_images
from v1keras.data.decoding import decode_image
from v1keras.quiet import silence_image_libraries
{silence}
dice = np.random.default_rng(0)
for data in whole_images()["TIFF"]:
    for _ in range(20):
        try:
            decode_image(damaged(data, dice), "x")
        except ValueError:
            pass
"""


@pytest.mark.parametrize("silence", ["", "silence_image_libraries()"])
def test_remarks_on_images_that_name_no_file_are_kept_back(silence):
    command = [sys.executable, "-c", DAMAGED.format(silence=silence)]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    assert result.returncode == 0
    for remark in ("TIFF_Error", "UserWarning"):
        assert (remark in result.stderr) == (not silence), result.stderr


@pytest.mark.parametrize(
    ("action", "later"),
    [("pass", "later\n"), ("os.abort()", ""), ("sys.exit(1)", "")],
)
def test_only_known_greetings_are_kept_back(action, later):
    command = [sys.executable, "-c", QUIET.format(action=action)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "oneDNN" not in result.stderr
    assert result.stderr.endswith(f" loader.cc:1] No such op.\n{later}")
    assert (result.returncode == 0) == (action == "pass")


def test_a_package_that_is_not_installed_is_one_line(capsys):
    def absent(config):
        importlib.import_module("no_such_package.inside")

    assert run("--out=x", main=absent)[0] == 2
    error = capsys.readouterr().err
    assert error == "tool: error: not installed: No module named 'no_such_package'\n"


def test_a_module_of_our_own_that_is_absent_is_a_fault(capsys):
    def absent(config):
        importlib.import_module("v1keras.no_such_module")

    with pytest.raises(ModuleNotFoundError):
        run("--out=x", main=absent)


LIGHT = """
import sys
from v1keras.__main__ import main
for flag in ("--help", "--tracebac=x"):
    sys.argv[1:] = [{command!r}, flag]
    try:
        main()
    except SystemExit as end:
        print(flag, end.code)
print({{"keras", "tensorflow"}} & set(sys.modules))
"""


@pytest.mark.parametrize("command", [name for name, _, _ in front_door._COMMANDS])
def test_help_and_mistyped_flags_load_no_framework(command):
    script = [sys.executable, "-c", LIGHT.format(command=command)]
    result = subprocess.run(script, capture_output=True, text=True, check=True)
    *text, mistyped, loaded = result.stdout.splitlines()
    assert "--help 0" in text and any("--traceback" in line for line in text)
    assert (mistyped, loaded) == ("--tracebac=x 2", "set()")
    assert "Did you mean: traceback" in result.stderr


# `predict` writes single files, `export` a version beside those of others, and a study
# waits for its other processes.
WITH_FOLDERS = {name: module for name, module, _ in front_door._COMMANDS}
for each in ("predict", "export", "study"):
    del WITH_FOLDERS[each]


@pytest.mark.parametrize("command", WITH_FOLDERS)
def test_a_folder_in_which_another_process_works_is_refused(command, tmp_path, capsys):
    module = WITH_FOLDERS[command]
    if command == "corruptions":
        module += ".__main__"
    main = importlib.import_module(module).main
    config_class = typing.get_type_hints(main)["config"]
    flags = [
        f"--{field.name.removesuffix('_')}=a,b"
        for field in dataclasses.fields(config_class)
        if field.metadata["required"]
    ]
    flags += ["--dataset=shapes:24:24", f"--out={tmp_path}"]
    with lock_folder(tmp_path, "trains"):
        code = command_line.run(main, config_class, flags, prog="tool", description=".")
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tool: error: another process (pid {os.getpid()}, host ")
    assert not list(tmp_path.iterdir())


def test_the_front_door(capsys, monkeypatch):
    def door(*arguments):
        monkeypatch.setattr(sys, "argv", ["v1keras", *arguments])
        return front_door.main(), capsys.readouterr()

    code, shown = door()
    assert code == 0
    modules = [module for _, module, _ in front_door._COMMANDS]
    assert all(importlib.util.find_spec(module) for module in modules)
    names = [line.split()[0] for line in shown.out.splitlines() if line[:2] == "  "]
    assert names == [name for name, _, _ in front_door._COMMANDS]
    assert door("--version")[1].out == f"v1keras {v1keras.__version__}\n"
    code, shown = door("fly")
    assert code == 2 and shown.err.count("\n") == 1 and "Received: fly" in shown.err
