import numpy as np
import pytest

from v1keras import command_line
from v1keras.corruptions import corrupt
from v1keras.corruptions.__main__ import main
from v1keras.corruptions.config import CorruptionsConfig
from v1keras.data import load_dataset, open_corrupted


def run(*flags):
    return command_line.run(
        main, CorruptionsConfig, flags, prog="v1keras.corruptions", description=""
    )


def test_what_is_written_can_be_opened(tmp_path):
    code = run(
        "--dataset=shapes:60:24",
        f"--out={tmp_path / 'c'}",
        "--severities=3",
        "--seed=2",
        "--format=png",
        "--workers=1",
    )
    assert code == 0
    dataset = load_dataset("shapes:60:24")
    stored = open_corrupted(
        tmp_path / "c", dataset.class_names, image_size=64, allow_partial=True
    )
    assert len(stored.cells) == 15
    read = stored.read("glass_blur", 3)
    clean = dataset.split("test")
    expected = corrupt(clean.images, "glass_blur", 3, seed=2)
    by_content = {image.tobytes() for image in np.asarray(read.images)}
    assert by_content == {image.tobytes() for image in expected}
    assert sorted(read.labels) == sorted(clean.labels)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--dataset=shapes",), "--out is required"),
        (
            ("--dataset=shapes:60:24", "--out={}", "--corruptions=rain"),
            "must be one of",
        ),
        (("--dataset=shapes:60:24", "--out={}", "--severities=x"), "must be integers"),
        (("--dataset=shapes:60:24", "--out={}", "--severities=7"), "integers in 1..5"),
        (
            ("--dataset=shapes:60:24", "--out={}", "--workers=-1"),
            "must be at least 0",
        ),
        (("--dataset=no_such_folder/", "--out={}"), "no_such_folder"),
        # What is wrong with the flags is said before the data are looked for.
        (
            ("--dataset=no_such_folder/", "--out={}", "--severities=0"),
            "integers in 1..5",
        ),
        (("--dataset=no_such_folder/", "--out={}", "--corruptions=rain"), "fog"),
    ],
)
def test_bad_flags_are_one_line(flags, message, tmp_path, capsys):
    code = run(*(flag.replace("{}", str(tmp_path / "c")) for flag in flags))
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "c").exists()
