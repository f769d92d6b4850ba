import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from export.requests import encode_png
from export.runtimes import ask_saved_model
from export.trainer import run_fn
from v1keras.data import draw_shapes
from v1keras.training import Run

CLASSES = ["circle", "square", "triangle"]
SIZE = 32
# Not the name that requests have by default.
IMAGE_KEY = "photo"
SETTINGS = {
    "class_names": CLASSES,
    "image_size": SIZE,
    "image_key": IMAGE_KEY,
    "variant": "no_noise",
    "arch": "resnet18",
    "width": 16,
    "stride": 8,
    "simple_channels": 4,
    "complex_channels": 4,
    "kernel_size": 9,
    "batch_size": 8,
}


def example(image, label):
    features = {
        IMAGE_KEY: tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[encode_png(image)])
        ),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features))


def write_records(path, count, seed, *, label=lambda index: index % 3):
    # Larger than what the model sees: they must be resized.
    images, _ = draw_shapes(count, image_size=40, seed=seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = tf.io.TFRecordOptions(
        compression_type="GZIP" if path.suffix == ".gz" else ""
    )
    with tf.io.TFRecordWriter(str(path), options) as writer:
        for index, image in enumerate(images):
            writer.write(example(image, label(index)).SerializeToString())


@pytest.fixture
def fn_args(tmp_path):
    """What TFX's Trainer gives: the files as ExampleGen lays them."""
    for part, count in ((0, 13), (1, 11)):
        name = f"data_tfrecord-0000{part}-of-00002.gz"
        write_records(tmp_path / "examples/Split-train" / name, count, part)
    write_records(tmp_path / "examples/Split-eval/data_tfrecord-00000", 9, 2)
    return types.SimpleNamespace(
        train_files=[str(tmp_path / "examples/Split-train/*")],
        eval_files=[str(tmp_path / "examples/Split-eval/*")],
        train_steps=4,
        eval_steps=None,
        serving_model_dir=str(tmp_path / "model/Format-Serving"),
        model_run_dir=str(tmp_path / "model_run"),
        custom_config=dict(SETTINGS),
    )


@pytest.mark.slow
def test_examples_in_saved_model_out(fn_args):
    run_fn(fn_args)
    run = Run.open(fn_args.model_run_dir)
    assert run.is_finished and run.class_names == tuple(CLASSES)
    # Four steps of eight images, of 24: two epochs of three steps.
    assert run.config["settings"]["epochs"] == 2
    assert run.config["data"]["sizes"] == {"train": 24, "validation": 9, "test": 9}
    images, _ = draw_shapes(5, image_size=SIZE, seed=9)
    expected = run.load_model().predict(images.astype(np.float32), verbose=0)
    for signature in ("serving_default", "serve_uint8", "serve_bytes"):
        folder = fn_args.serving_model_dir
        (answer,) = ask_saved_model(folder, images, endpoint=signature).values()
        np.testing.assert_allclose(answer.logits, expected, rtol=1e-4, atol=1e-4)
        assert set(answer.classes.ravel()) == set(CLASSES)
    # Examples are named as those that it was trained on.
    serve = tf.saved_model.load(folder).signatures["serve_examples"]
    examples = [example(image, 0).SerializeToString() for image in images]
    answer = serve(examples=tf.constant(examples))
    np.testing.assert_allclose(answer["logits"], expected, rtol=1e-4, atol=1e-4)

    # A Trainer that is started again does not train again.
    before = (run.path / "model.keras").stat().st_mtime_ns
    run_fn(fn_args)
    assert (run.path / "model.keras").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "changes,error,message",
    [
        ({"class_names": None}, ValueError, "must hold 'class_names'"),
        ({"image_size": None}, ValueError, "must hold 'image_size'"),
        ({"speed": 3}, ValueError, "Received: speed"),
        ({"out": "elsewhere"}, ValueError, "Received: out"),
        ({"display_names": ["one"]}, ValueError, "1 and 3"),
        ({"class_names": ["a", "b"]}, ValueError, r"labels must lie in 0\.\.1"),
        ({"image_key": "picture"}, ValueError, "cannot be read.*picture"),
    ],
)
def test_bad_settings_are_named(fn_args, changes, error, message):
    config = fn_args.custom_config | changes
    fn_args.custom_config = {k: v for k, v in config.items() if v is not None}
    with pytest.raises(error, match=f"(?s){message}"):
        run_fn(fn_args)
    assert not tf.io.gfile.exists(fn_args.serving_model_dir)


def test_files_that_are_not_there(fn_args, tmp_path):
    fn_args.eval_files = [str(tmp_path / "nothing/*")]
    with pytest.raises(FileNotFoundError, match="nothing"):
        run_fn(fn_args)


def test_importable_without_tfx():
    code = (
        "import sys; sys.modules['tfx'] = None; import export.trainer as t; "
        "assert callable(t.run_fn)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
