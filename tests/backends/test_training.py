"""Training, distillation, evaluation and prediction without TensorFlow."""

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from scipy.special import softmax
from stopping import StopIn, Stopped

import v1keras
from v1keras import __main__ as front_door
from v1keras.data import load_dataset
from v1keras.evaluation import EvaluateConfig, evaluate
from v1keras.evaluation.cache import LogitCache
from v1keras.evaluation.cells import CLEAN
from v1keras.evaluation.costs import measure_cost
from v1keras.models import Distiller, build_ensemble
from v1keras.models.disagreement import DisagreementSeeker
from v1keras.studies import RecommendConfig, recommend
from v1keras.training import DistillConfig, Run, TrainConfig, distill, train

# One shape of a batch: JAX compiles for each.
TINY = {
    "variant": "standard",
    "arch": "resnet18",
    "width": 4,
    "image_size": 32,
    "visual_degrees": 1.0,
    "stride": 8,
    "simple_channels": 8,
    "complex_channels": 8,
    "epochs": 2,
    "batch_size": 24,
    "validation_fraction": 0.25,
    "learning_rate": 0.05,
}
EVALUATION = {
    "corruptions": ("contrast",),
    "severities": (5,),
    "noise_samples": 2,
    "batch_size": 24,
    "bootstrap": 20,
}
ON_TWO_DEVICES = """
import json, sys
from v1keras.training import TrainConfig, train
from v1keras.training.strategy import get_strategy

assert get_strategy("mirrored").count == 2
train(TrainConfig(**json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The embedded shapes as a folder of images."""
    folder = tmp_path_factory.mktemp("images")
    dataset = load_dataset("shapes:96:24", image_size=32)
    for split, name in (("train", "train"), ("validation", "train"), ("test", "val")):
        images = dataset.split(split)
        for index, label in enumerate(images.labels):
            file = folder / name / dataset.class_names[label] / f"{split}{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(file), images.images[index][..., ::-1])
    return folder


@pytest.fixture(scope="module")
def config(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return TrainConfig(out=str(out), dataset=str(folder), **TINY)


@pytest.fixture(scope="module")
def run(config):
    return train(config)


def figures(run):
    columns = run.history
    columns.pop("seconds")
    return columns


def test_a_run_directory(run):
    assert {path.name for path in run.path.iterdir()} == {
        "checkpoint", "config.json", "history.csv", "model.keras"
    }  # fmt: skip
    assert run.is_finished and len(run.history["val_loss"]) == 2
    backend = keras.backend.backend()
    version = importlib.import_module(backend).__version__
    assert run.config["versions"][backend] == version
    assert "tensorflow" not in run.config["versions"]
    assert "tensorflow" not in sys.modules


def test_resuming_equals_not_stopping(run, config, tmp_path):
    config = dataclasses.replace(config, out=str(tmp_path / "run"))
    with pytest.raises(Stopped):
        train(config, callbacks=[StopIn(2)])
    assert not Run.open(config.out).is_finished
    resumed = train(config)
    for name, values in figures(run).items():
        np.testing.assert_allclose(figures(resumed)[name], values, rtol=1e-4)
    for ours, theirs in zip(
        resumed.load_model().get_weights(), run.load_model().get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_evaluation(run, folder, tmp_path):
    models = (str(run.path),)
    config = EvaluateConfig(
        models=models, dataset=str(folder), out=str(tmp_path / "e"), **EVALUATION
    )
    evaluate(config)
    assert (tmp_path / "e" / "report.html").is_file()
    costs = json.loads((tmp_path / "e" / "costs.json").read_text())
    assert costs[run.name]["cost"]["parameters"] == run.load_model().count_params()
    logits = LogitCache.open(tmp_path / "e" / "logits").read(CLEAN, [run.name])[2]
    draws = logits[run.name]
    assert draws.shape == (2, 24, 12) and np.abs(draws[0] - draws[1]).max() > 1e-3


def test_operations_of_a_known_layer():
    inputs = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(16, 3, padding="valid", use_bias=False)(inputs)
    outputs = keras.layers.GlobalAveragePooling2D()(maps)
    cost = measure_cost(keras.Model(inputs, outputs))
    # 6 x 6 places, 27 products and sums a channel; the mean adds a little.
    convolution = 2 * 6 * 6 * 16 * 27
    assert convolution <= cost.operations <= 1.1 * convolution


def test_prediction_is_the_softmax_of_the_logits(run, folder):
    (file, *_) = sorted((folder / "val").rglob("*.png"))
    answers = v1keras.predict(run, [file, file], noise="off")
    model = run.load_model()
    v1keras.set_noise(model, "off")
    image = cv2.imread(str(file))[..., ::-1][None].astype("float32")
    logits = keras.ops.convert_to_numpy(model(image))[0]
    shares = np.exp(logits - logits.max())
    expected = np.tile(shares / shares.sum(), (2, 1))
    np.testing.assert_allclose(answers.probabilities, expected, rtol=1e-4)
    assert answers.labels == (run.labels[int(logits.argmax())],) * 2


def test_a_blurred_camera_is_recognised(run, folder, tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for file in (folder / "val").rglob("*.png"):
        blurred = cv2.GaussianBlur(cv2.imread(str(file)), (0, 0), 3)
        cv2.imwrite(str(photographs / file.name), blurred)
    config = RecommendConfig(
        photos=(str(photographs),),
        models=(str(run.path),),
        out=str(tmp_path / "out"),
        images=24,
        bootstrap=20,
    )
    likeness = recommend(config).likeness
    likeliest = likeness.cells[int(np.argmax(likeness.shares))]
    assert likeliest.corruption == "defocus_blur"


@pytest.mark.parametrize("disagreement", [0.0, 1.0])
def test_distillation(disagreement, run, folder, tmp_path):
    settings = {
        **TINY,
        "variant": "no_noise",
        "epochs": 1,
        "disagreement": disagreement,
    }
    config = DistillConfig(
        out=str(tmp_path / "student"),
        dataset=str(folder),
        members=(str(run.path),),
        **settings,
    )
    student = distill(config)
    assert student.config["kind"] == "student"
    assert {"soft_target_loss", "teacher_agreement"} <= set(student.history)


def test_the_noise_of_a_teacher_is_switched_in_a_compiled_step(run, folder):
    teacher, student = run.load_model(), run.load_model()
    v1keras.set_noise(student, "off")
    distiller = Distiller(teacher, student, alpha=1.0, temperature=1.0, teacher_draws=2)
    distiller.compile("sgd")
    images = np.random.default_rng(0).uniform(0, 255, (24, 32, 32, 3)).astype("float32")

    def divergence(noise):
        v1keras.set_noise(teacher, noise)
        labels = np.zeros(24, "int32")
        logs = distiller.evaluate(
            images, labels, batch_size=24, verbose=0, return_dict=True
        )
        return logs["soft_target_loss"]

    noisy, again, off, on, fixed = map(
        divergence, ("stochastic", "stochastic", "off", "stochastic", "fixed")
    )
    assert noisy == again == on > 1e-4
    assert abs(off) < 1e-6
    assert fixed > 1e-4 and fixed != noisy
    v1keras.layers.set_noise_share(teacher, 0.1)
    assert 0 < divergence("stochastic") < noisy / 2


def test_disagreement_by_formula():
    """Of two classes the random direction decides the sign of the step alone."""
    inputs = keras.Input((4, 4, 3))
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, outputs)
    images = np.random.default_rng(0).uniform(40, 215, (8, 4, 4, 3)).astype("float32")
    seeker = DisagreementSeeker(model, 3.0, 200.0)
    change = keras.ops.convert_to_numpy(seeker(images)) - images
    kernel = keras.ops.convert_to_numpy(model.weights[0])
    direction = (kernel[:, 0] - kernel[:, 1]).reshape(images[0].shape)
    logits = keras.ops.convert_to_numpy(model(images)) / 200.0
    confidence = softmax(logits, -1).max(-1)[:, None, None, None]
    step = 3.0 * confidence * direction / np.sqrt(np.mean(direction**2))
    np.testing.assert_allclose(np.abs(change), np.abs(step), atol=1e-3)
    signs = np.sign(np.sum(change * step, axis=(1, 2, 3)))
    assert set(signs) == {-1.0, 1.0}


def test_a_teacher_draws_new_noise_in_each_step(run):
    teacher, student = (run.load_model() for _ in range(2))
    v1keras.set_noise(student, "off")
    student.trainable = False
    distiller = v1keras.models.Distiller(build_ensemble([teacher]), student, alpha=1.0)
    distiller.compile(keras.optimizers.SGD(0.0))
    images = np.random.default_rng(0).uniform(0, 255, (24, 32, 32, 3))
    labels = np.zeros(24, "int32")
    losses = [
        distiller.evaluate(images, labels, batch_size=24, verbose=0, return_dict=True)
        for _ in range(2)
    ]
    first, second = (each["soft_target_loss"] for each in losses)
    assert abs(first - second) > 1e-4 * abs(first)


def test_models_saved_by_tensorflow_answer_the_same(golden_dir):
    saved = golden_dir / "saved_by_0.1.0"
    with np.load(saved / "logits.npz") as expected:
        for name in ("base", "member", "student"):
            model = Run.open(saved / "runs" / name).load_model()
            v1keras.set_noise(model, "off")
            logits = model(expected["images"].astype("float32"), training=False)
            logits = keras.ops.convert_to_numpy(logits)
            np.testing.assert_allclose(logits, expected[name], atol=2e-4)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX alone shares batches")
def test_two_devices_train_as_one(run, config, tmp_path):
    config = dataclasses.replace(config, out=str(tmp_path), strategy="mirrored")
    subprocess.run(
        [sys.executable, "-c", ON_TWO_DEVICES, json.dumps(dataclasses.asdict(config))],
        env={
            **os.environ,
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        },
        check=True,
    )
    shared = Run.open(tmp_path)
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(shared.history[name], run.history[name], rtol=1e-3)
    for ours, theirs in zip(
        shared.load_model().get_weights(), run.load_model().get_weights(), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mixup": 0.2}, "`mixup` needs TensorFlow"),
        ({"augmentation": "prime"}, "prime needs TensorFlow"),
        ({"strategy": "tpu"}, "`strategy` tpu needs TensorFlow"),
        ({"dataset": "cifar10"}, "needs TensorFlow Datasets"),
    ],
)
def test_what_needs_tensorflow_is_refused(config, tmp_path, changes, message):
    changed = dataclasses.replace(config, out=str(tmp_path / "run"), **changes)
    with pytest.raises(ValueError, match=message):
        train(changed)
    assert not Path(changed.out).exists()


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX joins processes")
def test_several_processes_are_refused(config, tmp_path):
    changed = dataclasses.replace(
        config, out=str(tmp_path / "run"), strategy="multi_worker"
    )
    with pytest.raises(ValueError, match="unless JAX computes, needs TensorFlow"):
        train(changed)


def test_exporting_says_what_it_needs(run, tmp_path):
    command = [
        sys.executable, "-m", "export", f"--run={run.path}", f"--out={tmp_path}/served",
        "--min_accuracy=0.1",
    ]  # fmt: skip
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 2
    assert "needs TensorFlow" in finished.stderr and finished.stderr.count("\n") == 1


COMMANDS = [module for _, module, _ in front_door._COMMANDS]
COMMANDS += [
    f"export {verb}" for verb in ("list", "verify", "rollback", "undo", "diff")
]
COMMANDS += ["export.client", "export.serve", "export.server"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_opens_without_tensorflow(command):
    arguments = [sys.executable, "-m", *command.split()]
    helped = subprocess.run([*arguments, "--help"], capture_output=True, text=True)
    assert (helped.returncode, helped.stderr) == (0, "")
    wrong = subprocess.run([*arguments, "--wrong=1"], capture_output=True, text=True)
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1


def test_serving_says_what_it_needs(tmp_path):
    command = [sys.executable, "-m", "export.serve", f"--root={tmp_path}", "--port=0"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 2
    assert "not installed: No module named 'tensorflow'" in finished.stderr
    assert finished.stderr.count("\n") == 1
