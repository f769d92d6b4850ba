import csv
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

import v1keras
from v1keras import command_line
from v1keras.corruptions import corrupt
from v1keras.data import SHAPES, draw_shapes
from v1keras.data.images import fit_image
from v1keras.evaluation import stored_calibrations
from v1keras.prediction import (
    PredictConfig,
    open_classifier,
    predict_batches,
    print_predictions,
)

NAMES = ("a.png", "b/c.PNG", "b/d/e.png", "f.png", "g.png")


@pytest.fixture(scope="module")
def saved_runs(golden_dir):
    return golden_dir / "saved_by_0.1.0" / "runs"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images of several sizes, and what is not an image of it."""
    folder = tmp_path_factory.mktemp("photos")
    for size, name in zip((64, 80, 96, 64, 64), NAMES, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image = draw_shapes(1, image_size=size, seed=size)[0][0]
        cv2.imwrite(str(folder / name), image[: size - 7, :, ::-1])
    (folder / "notes.txt").write_text("no image")
    (folder / ".g.png").write_bytes(b"no image")
    (folder / ".thumbnails").mkdir()
    (folder / ".thumbnails" / "a.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def pixels(photos):
    images = [cv2.imread(str(photos / name))[..., ::-1] for name in NAMES]
    return np.stack([fit_image(image, 64) for image in images])


def logits_of(run, pixels):
    model = keras.models.load_model(run / "model.keras")
    v1keras.set_noise(model, "off")
    return keras.ops.convert_to_numpy(model(pixels.astype("float32"), training=False))


@pytest.mark.parametrize("batch_size", [2, 32])
def test_probabilities_are_those_of_the_model(batch_size, saved_runs, photos, pixels):
    run = saved_runs / "student"
    found = v1keras.predict(run, photos, noise="off", batch_size=batch_size)
    expected = softmax(logits_of(run, pixels), axis=1)
    assert found.paths == tuple(str(photos / name) for name in NAMES)
    assert found.class_labels == SHAPES
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    order = np.argsort(expected, axis=1)[:, ::-1]
    assert found.labels == tuple(SHAPES[i] for i in order[:, 0])
    for best, row, places in zip(found.top(2), expected, order, strict=True):
        assert [label for label, _ in best] == [SHAPES[i] for i in places[:2]]
        np.testing.assert_allclose([p for _, p in best], row[places[:2]], atol=1e-5)
    assert [len(best) for best in found.top(99)] == [len(SHAPES)] * len(NAMES)


def test_several_runs_are_their_ensemble(saved_runs, photos, pixels):
    runs = [saved_runs / "student", saved_runs / "base"]
    # An open run counts like its path, and a file like a folder.
    found = v1keras.predict(
        [v1keras.Run.open(runs[0]), str(runs[1])], photos / NAMES[0], noise="off"
    )
    mean = np.mean([logits_of(run, pixels[:1]) for run in runs], axis=0)
    np.testing.assert_allclose(found.probabilities, softmax(mean, axis=1), atol=1e-5)


def test_a_corrupted_image_depends_on_its_place_and_not_on_the_batch(
    saved_runs, photos, pixels
):
    run = saved_runs / "base"
    found = v1keras.predict(run, photos, corrupt="fog:3", seed=4, batch_size=2)
    expected = logits_of(run, corrupt(pixels, "fog", 3, seed=4))
    np.testing.assert_allclose(
        found.probabilities, softmax(expected, axis=1), atol=1e-5
    )


def test_noise_is_that_of_the_saved_model_unless_it_is_switched(saved_runs, photos):
    def draws(noise, **options):
        # One image twice in one batch.
        images = [photos / NAMES[0]] * 2
        run = saved_runs / "student"
        return v1keras.predict(run, images, noise=noise, **options).probabilities

    off, saved, fixed = draws("off"), draws(None), draws("fixed")
    assert np.ptp(off, axis=0).max() < 1e-6 and np.ptp(fixed, axis=0).max() < 1e-6
    assert np.ptp(saved, axis=0).max() > 1e-4
    assert np.abs(fixed - off).max() > 1e-4
    assert np.abs(fixed - draws("fixed", seed=1)).max() > 1e-4


def test_images_stream(saved_runs, photos, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"no image")
    paths = [str(photos / "a.png")] * 4 + [str(tmp_path / "damaged.png")]
    batches = predict_batches(open_classifier(saved_runs / "base"), paths, batch_size=1)
    assert [next(batches).paths for _ in range(4)] == [(path,) for path in paths[:4]]
    with pytest.raises(ValueError, match=r"damaged\.png is damaged"):
        next(batches)


@pytest.mark.parametrize(
    "imports",
    [
        "import v1keras.predict",
        "import v1keras; v1keras.predict; import v1keras.predict",
        "import v1keras; from v1keras import predict; assert predict is v1keras.predict",
        "import v1keras.prediction; import v1keras.predict as predict",
    ],
)
def test_predict_is_the_function_however_it_is_imported(imports):
    program = (
        f"{imports}; import v1keras\n"
        "assert v1keras.predict is v1keras.prediction.predictions.predict"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_command_prints_a_line_an_image(saved_runs, photos):
    command = [sys.executable, "-m", "v1keras.predict", "--top=2", "--noise=off"]
    result = subprocess.run(
        [*command, f"--run={saved_runs}/student", f"--images={photos}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    expected = v1keras.predict(saved_runs / "student", photos, noise="off")
    assert result.stderr == ""
    for line, path, best in zip(
        result.stdout.splitlines(), expected.paths, expected.top(2), strict=True
    ):
        assert line == f"{path}: " + ", ".join(f"{name} {p:.3f}" for name, p in best)


def test_the_command_writes_a_table(saved_runs, photos, tmp_path, capsys):
    run, file = saved_runs / "base", tmp_path / "new" / "predictions.csv"
    config = PredictConfig(
        run=(str(run),), images=(str(photos),), csv=str(file), top=2, batch_size=2
    )
    print_predictions(config)
    assert capsys.readouterr().out.splitlines()[-1] == f"{file}: 5 images"
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    expected = v1keras.predict(run, photos)
    assert [row["file"] for row in rows] == list(expected.paths)
    for row, best in zip(rows, expected.top(2), strict=True):
        assert (row["label_1"], row["label_2"]) == tuple(name for name, _ in best)
        found = [float(row[f"probability_{place}"]) for place in (1, 2)]
        np.testing.assert_allclose(found, [p for _, p in best], atol=1e-5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"run": "nowhere"}, "must exist. Received: nowhere"),
        ({"run": "empty"}, "must hold config.json"),
        ({"run": "x.tflite"}, "must exist. Received: x.tflite"),
        ({"run": "broken.tflite"}, "broken.tflite is damaged"),
        ({"run": "serving"}, "metadata.json"),
        ({"run": "serving", "noise": "off"}, "`noise` must not be given"),
        ({"run": "runs/base,serving"}, "`run` must be run directories"),
        ({"images": "none.jpg"}, "must be files or folders that exist"),
        ({"images": "empty"}, "no image in empty"),
        ({"images": "serving"}, "no image in serving, only 1 *.pb"),
        ({"images": "broken.tflite"}, "broken.tflite is damaged"),
        ({"corrupt": "fog"}, "`corrupt` must be"),
        ({"corrupt": "frog:3"}, "`corrupt` must be"),
        ({"corrupt": "fog:6"}, "`corrupt` must be"),
        ({"corrupt": "fog:three"}, "`corrupt` must be"),
        ({"top": "0"}, "`top` must be at least 1"),
        ({"seed": "-1"}, "`seed` must be from 0 to 4294967295"),
        ({"batch_size": "0"}, "`batch_size` must be at least 1"),
        ({"csv": "empty"}, "`csv` must be a file"),
        ({"noise": "loud"}, "noise"),
    ],
)
def test_bad_input_is_one_line(
    flags, words, saved_runs, photos, tmp_path, monkeypatch, capsys
):
    shutil.copytree(saved_runs / "base", tmp_path / "runs" / "base")
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("broken.tflite").write_bytes(b"no model")
    Path("serving/7").mkdir(parents=True)
    Path("serving/7/saved_model.pb").write_bytes(b"no model")
    flags = {"run": "runs/base", "images": str(photos), **flags}
    code = command_line.run(
        print_predictions,
        PredictConfig,
        [f"--{name}={value}" for name, value in flags.items()],
        prog="v1keras.predict",
        description="",
    )
    shown = capsys.readouterr()
    assert code == 2 and shown.out == ""
    assert shown.err.count("\n") == 1 and words in shown.err


@pytest.mark.parametrize(
    "outputs",
    [
        lambda logits: {"logits": logits, "features": logits},
        lambda logits: [logits, logits],
        lambda logits: logits[:, :5],
    ],
    ids=["dict", "list", "other classes"],
)
def test_a_model_that_gives_more_than_logits_is_refused(
    outputs, saved_runs, photos, tmp_path, capsys
):
    shutil.copytree(saved_runs / "base", run := tmp_path / "run")
    model = keras.models.load_model(run / "model.keras")
    keras.Model(model.input, outputs(model.output)).save(run / "model.keras")
    arguments = [f"--run={run}", f"--images={photos}"]
    code = command_line.run(
        print_predictions, PredictConfig, arguments, prog="tool", description=""
    )
    shown = capsys.readouterr()
    assert code == 2 and shown.out == "" and shown.err.count("\n") == 1
    assert f"logits (batch, 12) of its classes. Received: {run}" in shown.err


class Scores(tf.Module):
    """What others may export: scores under another name."""

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), name="images")])
    def serve(self, images):
        return {"scores": tf.reduce_mean(images, (1, 2)), "features": images}


@pytest.mark.parametrize("form", ["savedmodel", "litert"])
def test_an_exported_model_of_others_is_refused(form, photos, tmp_path):
    module, path = Scores(), tmp_path / "7"
    tf.saved_model.save(module, str(path), {"serving_default": module.serve})
    (path / "metadata.json").write_text('{"input": {"shape": [null, 8, 8, 3]}}')
    (path / "labels.txt").write_text("a\nb\nc\n")
    expected = "serving_default must give probabilities, not"
    if form == "litert":
        content = tf.lite.TFLiteConverter.from_saved_model(str(path)).convert()
        (file := tmp_path / "model.tflite").write_bytes(content)
        with zipfile.ZipFile(file, "a") as archive:
            for name in ("metadata.json", "labels.txt"):
                archive.write(path / name, name)
        path, expected = file, "serving_default must give probabilities or logits, not"
    with pytest.raises(ValueError, match=f"{expected} features, scores"):
        v1keras.predict(path, photos)


def test_calibrated_probabilities_are_of_divided_logits(saved_runs, photos, tmp_path):
    run = tmp_path / "student"
    shutil.copytree(saved_runs / "student", run)
    flags = {"noise": "off", "calibrated": True}
    found = v1keras.predict(run, photos, **flags)
    fitted = stored_calibrations(v1keras.Run.open(run))["off"]
    plain = v1keras.predict(run, photos, noise="off").probabilities
    expected = softmax(np.log(plain) / fitted.temperature, axis=-1)
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-5)
    assert abs(fitted.temperature - 1) > 0.01


def test_an_exported_model_is_not_calibrated(tmp_path):
    (tmp_path / "model.tflite").touch()
    with pytest.raises(ValueError, match=r"`calibrated` must be False .* `diagnose`"):
        open_classifier(tmp_path / "model.tflite", calibrated=True)
