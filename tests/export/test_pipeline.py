import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import v1keras
from export import ExportConfig, RejectedError, export_run, list_versions
from export.__main__ import main
from export.requests import INPUT_NAMES
from export.runtimes import ask_all
from export.saved_model import write_saved_model
from export.source import open_source
from v1keras.data import SHAPES, draw_shapes, load_dataset
from v1keras.prediction.exported import open_exported
from v1keras.training import Run

# All of the validation fold, so that every class is among them.
IMAGES = 16


# What an untrained model reaches; the tests of thresholds ask for more.
LEAST = 0.001


def export(run, out, **settings):
    settings = {"min_accuracy": LEAST, "images": IMAGES, **settings}
    return export_run(ExportConfig(run=(str(run),), out=str(out), **settings))


def rejections(out):
    """The markers of refused exports, oldest first."""
    return [
        {path.name: json.loads(path.read_text()) for path in folder.iterdir()}
        for folder in sorted((out / ".rejected").iterdir())
    ]


@pytest.fixture(scope="module")
def exported(runs, keys, tmp_path_factory):
    out = tmp_path_factory.mktemp("serving") / "standard"
    return export(runs / "standard", out, sign=str(keys / "ours.pem"))


@pytest.fixture(scope="module")
def test_images():
    return load_dataset("shapes:40:40", image_size=32).split("test").images[:4]


@pytest.mark.parametrize("form", ["versions", "version", "LiteRT file"])
def test_predictions_are_those_of_the_run(form, exported, runs, test_images, tmp_path):
    for index, image in enumerate(test_images):
        keras.utils.save_img(tmp_path / f"{index}.png", image)
    model = {
        "versions": exported.path.parent,
        "version": exported.path,
        "LiteRT file": exported.litert,
    }[form]
    found = v1keras.predict(model, tmp_path)
    expected = v1keras.predict(runs / "standard", tmp_path, noise="off")
    assert found.class_labels == expected.class_labels
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)


def test_a_crop_of_the_run_is_served(runs, tmp_path):
    """Files, the run and both formats show the model the same pixels."""
    run = tmp_path / "runs" / "cropped"
    shutil.copytree(runs / "standard", run)
    config = json.loads((run / "config.json").read_text())
    photos, labels = draw_shapes(48, image_size=60, seed=3)
    for index, (photo, label) in enumerate(zip(photos, labels, strict=True)):
        file = tmp_path / "photos" / SHAPES[label] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        keras.utils.save_img(file, photo[: 60 - index % 7])
    names = sorted(SHAPES)  # as those of folders are
    config |= {"crop_fraction": 0.75, "class_names": names, "display_names": names}
    config["data"]["name"] = str(tmp_path / "photos")
    (run / "config.json").write_text(json.dumps(config))
    result = export(run, tmp_path / "serving")
    for model in (result.path, result.litert):
        found = v1keras.predict(model, tmp_path / "photos")
        expected = v1keras.predict(run, tmp_path / "photos", noise="off")
        np.testing.assert_allclose(
            found.probabilities, expected.probabilities, atol=1e-4
        )
    files = [Path(path).read_bytes() for path in expected.paths]
    signatures = tf.saved_model.load(str(result.path)).signatures
    served = signatures["serve_bytes"](image_bytes=tf.constant(files))
    # Both readers agree to one grey level.
    np.testing.assert_allclose(
        served["probabilities"], expected.probabilities, atol=0.02
    )
    (run / "config.json").write_text(json.dumps({**config, "crop_fraction": 1.0}))
    other = v1keras.predict(run, tmp_path / "photos", noise="off").probabilities
    assert np.abs(other - expected.probabilities).max() > 0.1
    description = json.loads((result.path / "metadata.json").read_text())["input"]
    assert description["crop_fraction"] == 0.75
    assert "shorter side to 43 pixels" in description["resize"]


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_version_folder_holds_what_servers_look_for(exported):
    assert exported.path.name == str(exported.version)
    assert exported.saved_model == exported.path
    assert exported.litert == exported.path / "model.tflite"
    assert set(tree(exported.path)) >= {
        "saved_model.pb",
        "variables/variables.index",
        "assets/labels.txt",
        "labels.txt",
        "model.tflite",
        "metadata.json",
        "INFRA_BLESSED",
        "BLESSED",
        "MODEL_CARD.md",
    }
    assert [entry.name for entry in exported.path.parent.iterdir()] == [
        str(exported.version)
    ]


def test_card_and_checksums_are_those_of_the_files(exported, keys):
    lines = (exported.path / "SHA256SUMS").read_text().splitlines()
    digests = {name: digest for digest, name in (line.split("  ") for line in lines)}
    own = {"SHA256SUMS", "SHA256SUMS.sig"}
    files = {p for p in exported.path.rglob("*") if p.is_file()}
    assert (
        set(digests)
        == {path.relative_to(exported.path).as_posix() for path in files} - own
    )
    for name, digest in digests.items():
        content = (exported.path / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == digest
    flags = [f"--out={exported.path.parent}", f"--public_key={keys / 'ours.pub'}"]
    assert main(["verify", *flags]) == 0
    card = (exported.path / "MODEL_CARD.md").read_text()
    assert str(exported.version) in card and "fit to be served" in card
    assert exported.warnings[-1].startswith("the checks rest on 16 images")
    assert json.loads((exported.path / "BLESSED").read_text())["warnings"]
    assert f"{exported.accuracy['litert']['clean']:.1%}" in card
    assert "Not evaluated" in card


def test_litert_file_holds_its_labels_and_its_input(exported):
    with zipfile.ZipFile(exported.litert) as archive:
        assert archive.testzip() is None
        content = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(content) == {"labels.txt", "metadata.json"}
    flatbuffer = exported.litert.read_bytes()
    assert b"TFLITE_METADATA" in flatbuffer and b"M001" in flatbuffer
    assert content["labels.txt"] == (exported.path / "labels.txt").read_text()
    whole = json.loads((exported.path / "metadata.json").read_text())
    inside = json.loads(content["metadata.json"])
    assert inside.items() <= whole.items()
    assert inside["input"]["shape"] == [None, 32, 32, 3]
    assert inside["input"]["range"] == [0, 255]
    assert "central square" in inside["input"]["resize"]


def test_every_way_to_ask_was_compared(exported):
    endpoints = {item.endpoint for item in exported.parity}
    assert endpoints == {*INPUT_NAMES, "litert"}
    assert all(item.reasons == () for item in exported.parity)
    assert {item.images for item in exported.parity} == {8, IMAGES}
    assert set(exported.milliseconds) == endpoints
    assert exported.sizes["tflite"] == exported.litert.stat().st_size
    marker = json.loads((exported.path / "INFRA_BLESSED").read_text())
    assert marker["milliseconds"] == exported.milliseconds
    assert marker["bytes"] == exported.sizes
    assert {item["endpoint"] for item in marker["parity"]} == endpoints


def test_noise_is_off_unless_asked_for(exported, runs, test_images):
    model = open_source([str(runs / "standard")], noise="off").model
    expected = model.predict(test_images.astype(np.float32), verbose=0)
    for _ in range(2):
        answers = ask_all(exported.path, test_images)
        for endpoint in ("serving_default", "litert"):
            np.testing.assert_allclose(
                answers[endpoint].logits, expected, rtol=1e-4, atol=1e-4
            )
    metadata = json.loads((exported.path / "metadata.json").read_text())
    assert metadata["noise"]["mode"] == "off"


@pytest.mark.slow
def test_fixed_noise_is_the_same_in_every_batch(runs, tmp_path, test_images):
    result = export(runs / "standard", tmp_path / "out", noise="fixed", noise_seed=5)
    together = ask_all(result.path, test_images)
    alone = ask_all(result.path, test_images[2:3])
    model = open_source([str(runs / "standard")], noise="fixed", noise_seed=5).model
    expected = model.predict(test_images.astype(np.float32), verbose=0)
    quiet = open_source([str(runs / "standard")]).model
    quiet = quiet.predict(test_images.astype(np.float32), verbose=0)
    assert np.abs(expected - quiet).max() > 1e-2
    for endpoint in ("serving_default", "litert"):
        logits = together[endpoint].logits
        np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            alone[endpoint].logits[0], logits[2], rtol=1e-4, atol=1e-4
        )


@pytest.mark.slow
def test_stochastic_noise_differs_from_image_to_image(runs, tmp_path, test_images):
    result = export(
        runs / "standard", tmp_path / "out", noise="stochastic", formats=("savedmodel",)
    )
    answers = ask_all(result.path, np.repeat(test_images[:1], 3, axis=0))
    logits = answers["serving_default"].logits
    assert np.ptp(logits, axis=0).max() > 1e-2


@pytest.mark.slow
def test_stochastic_noise_of_a_model_without_noise_is_none(runs, tmp_path):
    result = export(
        runs / "no_noise", tmp_path / "out", noise="stochastic", formats=("savedmodel",)
    )
    assert max(item.logits or 0 for item in result.parity) < 1e-4


@pytest.mark.slow
def test_ensemble_averages_its_runs(runs, tmp_path, test_images):
    config = ExportConfig(
        run=(str(runs / "standard"), str(runs / "base")),
        out=str(tmp_path / "ensemble"),
        min_accuracy=LEAST,
        images=IMAGES,
        quantize="dynamic",
    )
    result = export_run(config)
    pixels = test_images.astype(np.float32)
    members = [
        open_source([run]).model.predict(pixels, verbose=0) for run in config.run
    ]
    answers = ask_all(result.path, test_images)
    np.testing.assert_allclose(
        answers["serving_default"].logits, np.mean(members, 0), rtol=1e-4, atol=1e-4
    )
    metadata = json.loads((result.path / "metadata.json").read_text())
    assert [run["name"] for run in metadata["runs"]] == ["standard", "base"]


def test_ensemble_holds_a_common_front_end_once(runs, tmp_path):
    kernels = []
    for names in (["no_noise"], ["standard", "no_noise"]):
        source = open_source([str(runs / name) for name in names])
        write_saved_model(source.model, source.labels, tmp_path / str(len(names)))
        variables = tf.train.list_variables(
            str(tmp_path / str(len(names)) / "variables/variables")
        )
        # The only kernels of this size are Gabors.
        kernels.append(sorted(shape for _, shape in variables if shape[:2] == [9, 9]))
    assert kernels[0] == kernels[1] != []


@pytest.mark.slow
def test_two_exports_make_two_versions_and_keep_forgets(runs, tmp_path):
    out = tmp_path / "base"
    first = export(runs / "base", out, formats=("tflite",))
    second = export(runs / "base", out, formats=("tflite",))
    assert list_versions(out) == (first.version, second.version)
    assert "saved_model.pb" not in tree(second.path)
    third = export(runs / "base", out, keep=1)
    assert list_versions(out) == (third.version,)
    with pytest.raises(ValueError, match="`formats` must hold savedmodel"):
        export(runs / "base", out, formats=("tflite",))
    assert list_versions(out) == (third.version,)


def test_a_failed_check_changes_nothing(exported, runs, monkeypatch):
    from export import pipeline

    out = exported.path.parent
    before = tree(out)
    write = pipeline._write

    def write_wrongly(config, source, dataset, folder, diagnosis):
        """Files of another model: what a faulty converter would give."""
        other = open_source([str(runs / "base")])
        write(config, other, dataset, folder, diagnosis)

    monkeypatch.setattr(pipeline, "_write", write_wrongly)
    with pytest.raises(RejectedError, match="serving_default: logits differ") as error:
        export(runs / "standard", out)
    assert "litert: logits differ" in str(error.value)
    assert str(out / ".rejected") in str(error.value)
    (markers,) = rejections(out)
    assert list(markers) == ["INFRA_NOT_BLESSED"]
    assert any("litert: logits" in r for r in markers["INFRA_NOT_BLESSED"]["reasons"])
    assert len(markers["INFRA_NOT_BLESSED"]["parity"]) == len(INPUT_NAMES) + 1
    shutil.rmtree(out / ".rejected")
    assert tree(out) == before


@pytest.mark.parametrize("output", ["probabilities", "logits"])
def test_a_litert_file_with_one_output_is_checked_and_answers(
    output, exported, runs, test_images, tmp_path
):
    flags = {"formats": ("tflite",), "litert_outputs": (output,)}
    baseline = str(exported.path)
    result = export(runs / "standard", tmp_path / "out", baseline=baseline, **flags)
    interpreter = Interpreter(model_path=str(result.litert))
    signature = interpreter.get_signature_list()["serving_default"]
    assert signature["outputs"] == [output]
    (parity,) = result.parity
    assert (parity.logits is None) == (output == "probabilities")
    assert result.accuracy["litert"] == result.accuracy["baseline"]
    found = open_exported(result.litert)[-1](test_images)
    expected = open_exported(exported.path)[-1](test_images)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.slow
def test_thresholds_on_accuracy(exported, runs, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RejectedError, match=r"litert: accuracy .* < 100.0%"):
        export(runs / "standard", out, formats=("tflite",), min_accuracy=1.0)
    assert list_versions(out) == ()
    (markers,) = rejections(out)
    assert set(markers) == {"INFRA_BLESSED", "NOT_BLESSED"}
    assert markers["INFRA_BLESSED"]["reasons"] == []
    assert markers["NOT_BLESSED"]["thresholds"]["min_accuracy"] == 1.0
    baseline = str(exported.path.parent)
    result = export(
        runs / "standard", out, formats=("tflite",), baseline=baseline, max_loss=0.0
    )
    accuracy = result.accuracy
    assert accuracy["litert"] == accuracy["baseline"] == accuracy["keras"]
    assert set(accuracy["keras"]) == {
        "clean",
        "gaussian_noise/3",
        "defocus_blur/3",
        "contrast/3",
        "corrupted",
    }
    blessing = json.loads((result.path / "BLESSED").read_text())
    assert blessing["accuracy"] == accuracy
    assert blessing["split"] == result.split == "validation"
    assert set(blessing["per_class"]) == set(accuracy)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["model.tflite", "saved_model.pb", "variables/variables.data-00000-of-00001"],
)
def test_files_that_do_not_load_are_refused(
    exported, runs, tmp_path, monkeypatch, name
):
    from export import pipeline

    def write_damaged(config, source, dataset, folder, diagnosis):
        """Files cut off, as by a disk that lies, before the export is checked."""
        shutil.copytree(exported.path, folder, dirs_exist_ok=True)
        path = folder / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    monkeypatch.setattr(pipeline, "_write", write_damaged)
    with pytest.raises(RejectedError, match="do not work in a fresh process"):
        export(runs / "standard", tmp_path / "out")
    assert list_versions(tmp_path / "out") == ()
    (markers,) = rejections(tmp_path / "out")
    (reason,) = markers["INFRA_NOT_BLESSED"]["reasons"]
    assert "fresh process" in reason


@pytest.mark.slow
def test_a_baseline_that_does_not_answer_is_no_permission(exported, runs, tmp_path):
    broken = tmp_path / "served" / "1"
    shutil.copytree(exported.path, broken)
    (broken / "saved_model.pb").write_bytes(b"no model")
    for message in ("is damaged .*saved_model.pb changed", "does not answer"):
        with pytest.raises(ValueError, match=f"the baseline .*{message}") as error:
            export(runs / "standard", broken.parent)
        # The new model is not to blame, and is not refused.
        assert not isinstance(error.value, RejectedError)
        assert [entry.name for entry in broken.parent.iterdir()] == ["1"]
        (broken / "SHA256SUMS").unlink(missing_ok=True)
        (broken / "metadata.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--out=OUT"], "--run is required"),
        (["--run=RUNS/base"], "--out is required"),
        (["--run=RUNS/nothing", "--out=OUT"], "run directory must exist"),
        (["--run=RUNS", "--out=OUT"], "must hold config.json"),
        (["--run=RUNS/unfinished", "--out=OUT"], "is not finished"),
        (["--run=RUNS/base,RUNS/other", "--out=OUT"], "must have the same classes"),
        (["--run=RUNS/base", "--out=RUNS/base/config.json"], "must be a folder"),
        (["--run=RUNS/base", "--out=OUT", "--formats=onnx"], "`formats` must be"),
        (["--run=RUNS/base", "--out=OUT", "--quantize=int4"], "quantize"),
        (["--run=RUNS/base", "--out=OUT", "--litert_outputs=top"], "`litert_outputs`"),
        (["--run=RUNS/base", "--out=OUT", "--images=0"], "`images` must be at least 1"),
        (["--run=RUNS/base", "--out=OUT", "--keep=0"], "`keep` must be at least 1"),
        (["--run=RUNS/base", "--out=OUT", "--min_accuracy=60"], "at most 1"),
        (["--run=RUNS/base", "--out=OUT", "--max_loss=2"], "between 0 and 1"),
        (["--run=RUNS/base", "--out=OUT", "--corruptions=mist"], "must be one of"),
        (["--run=RUNS/base", "--out=OUT", "--severity=6"], "`severity` must be"),
        (
            ["--run=RUNS/base", "--out=OUT", "--baseline=OUT"],
            "must hold an exported version",
        ),
        (
            ["--run=RUNS/base", "--out=OUT", "--noise=stochastic"],
            "`formats` must be savedmodel when noise=stochastic",
        ),
        (
            ["--run=RUNS/base", "--out=OUT", "--quantize=int8", "--formats=savedmodel"],
            "`quantize` must be none unless",
        ),
        (["--run=RUNS/base", "--out=OUT", "--sign=RUNS/base/config.json"], "`sign`"),
        (["--run=RUNS/base", "--out=OUT", "--sign=RUNS/key.pem"], "No such file"),
        (["--run=RUNS/other", "--out=OUT"], "must have the same classes in the same"),
        (["--run=RUNS/base", "--out=OUT", "--dataset=/no/data"], "--dataset"),
        (["--run=RUNS/base", "--out=OUT", "--surprise=1"], "surprise"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    flags, message, runs, tmp_path, fails
):
    out = tmp_path / "out"
    flags = [f.replace("RUNS", str(runs)).replace("OUT", str(out)) for f in flags]
    if not any(flag.startswith("--min_accuracy") for flag in flags):
        flags.append("--min_accuracy=0.5")
    fails(main, flags, message)
    assert not out.exists()
    Run.open(runs / "base")


def test_thresholds_are_not_optional(runs, tmp_path, fails):
    flags = [f"--run={runs / 'base'}", f"--out={tmp_path / 'out'}"]
    fails(main, flags, "--min_accuracy is required")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_command_line_prints_what_was_measured(runs, tmp_path, capsys):
    flags = [f"--run={runs / 'base'}", f"--out={tmp_path}", f"--images={IMAGES}"]
    assert main([*flags, f"--min_accuracy={LEAST}"]) == 0
    shown = capsys.readouterr().out
    (version,) = list_versions(tmp_path)
    assert str(tmp_path / str(version)) in shown
    assert "serve_examples" in shown and "tflite" in shown
    interpreter = Interpreter(model_path=str(tmp_path / str(version) / "model.tflite"))
    assert interpreter.get_signature_list()["serving_default"]["inputs"] == ["images"]
