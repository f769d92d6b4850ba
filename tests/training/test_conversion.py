import keras
import numpy as np
import pytest

import v1keras
from export.source import open_source
from v1keras import command_line
from v1keras.evaluation import EvaluateConfig, evaluate
from v1keras.training import ConvertConfig, Run, convert
from v1keras.v1 import GaborParameters


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of five classes, with readable names."""
    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for split in ("train", "val"):
        for label in range(5):
            path = folder / split / f"n{label}"
            path.mkdir(parents=True)
            for index in range(2):
                keras.utils.save_img(
                    path / f"{index}.png", random.integers(0, 256, (60, 80, 3))
                )
    names = "".join(f"n{label}\tname {label}, other\n" for label in range(5))
    (folder / "words.txt").write_text(names)
    return str(folder)


def config(golden_dir, photos, out, name="vonenet.pth.tar"):
    checkpoint = golden_dir / "published" / name
    return ConvertConfig(from_=str(checkpoint), out=str(out), dataset=photos)


@pytest.fixture(scope="module")
def run(golden_dir, photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "published"
    return convert(config(golden_dir, photos, out))


def test_a_converted_run_says_what_it_is(run, golden_dir, photos):
    assert {file.name for file in run.path.iterdir()} == {
        "config.json",
        "model.keras",
        "gabors.npz",
    }
    assert run.is_finished
    assert (run.image_size, run.crop_fraction) == (224, 0.875)
    assert run.class_names == ("n0", "n1", "n2", "n3", "n4")
    assert run.labels[0] == "name 0"
    assert run.summary().endswith("published: vonenet.pth.tar, converted")
    block = run.load_model().get_layer("vone_block")
    assert block.variant == run.v1["variant"]
    assert GaborParameters.load(run.path / "gabors.npz") == block.variant.gabors
    built = block.get_config()
    for name in ("visual_degrees", "kernel_size", "stride", "k_exc", "noise_scale",
                 "noise_level", "rectify_noise", "image_size"):  # fmt: skip
        assert run.v1[name] == built[name], name
    before = (run.path / "model.keras").stat().st_mtime_ns
    assert convert(config(golden_dir, photos, run.path)) == Run.open(run.path)
    assert (run.path / "model.keras").stat().st_mtime_ns == before
    with pytest.raises(FileExistsError, match=r"resnet18\.pth"):
        convert(config(golden_dir, photos, run.path, "resnet18.pth"))


def test_it_is_evaluated_predicted_and_opened_for_export(run, photos, tmp_path):
    settings = EvaluateConfig(
        models=(str(run.path),),
        dataset=photos,
        corruptions=("fog",),
        bootstrap=20,
        out=str(tmp_path / "evaluation"),
    )
    assert evaluate(settings)
    answers = v1keras.predict(str(run.path), [f"{photos}/val/n0/0.png"])
    assert len(answers) == 1
    assert open_source([str(run.path)]).class_names == run.class_names


@pytest.mark.parametrize("name", ["evnet.pth", "resnet18.pth"])
def test_others_are_converted_too(name, golden_dir, photos, tmp_path):
    run = convert(config(golden_dir, photos, tmp_path / "run", name))
    assert (run.v1 is None) == (name == "resnet18.pth")
    assert run.load_model().output_shape == (None, 5)


@pytest.mark.parametrize("what", ["classes", "file", "data set"])
def test_bad_input_is_one_line_and_leaves_nothing(
    what, golden_dir, photos, tmp_path, capsys
):
    checkpoint = golden_dir / "published" / "resnet18.pth"
    flags = {
        "classes": [f"--from={checkpoint}"],
        "file": ["--from=missing.pth"],
        "data set": [f"--from={checkpoint}", "--dataset=no_such_set"],
    }[what]
    expected = {
        "classes": "dataset=imagenet2012 with 1000,",
        "file": "Received: from=missing.pth",
        "data set": "name='no_such_set'",
    }[what]
    code = command_line.run(
        convert,
        ConvertConfig,
        [*flags, f"--out={tmp_path / 'run'}"],
        prog="v1keras.convert",
        description="",
    )
    error = capsys.readouterr().err.strip()
    assert code == 2 and expected in error and error.count("\n") == 0
    assert not (tmp_path / "run").exists()
