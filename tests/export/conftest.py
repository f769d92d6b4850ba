import contextlib
import dataclasses
import json
import multiprocessing
import threading

import keras
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from werkzeug.serving import make_server

import v1keras
from export.check_images import open_check_dataset
from export.development_server import DevelopmentServer
from export.diagnosis import fit_diagnosis
from export.models_config import models_config
from export.saved_model import write_saved_model
from export.source import open_source
from v1keras.data import SHAPES, load_dataset
from v1keras.v1 import get_variant

SIZE = 16
LABELS = ("circle", "square", "goldfish, Carassius auratus", "naïve", "star")


@pytest.fixture(scope="session")
def classifier():
    """A small model with padding, strides and normalisation of its own."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.Conv2D(16, 3, strides=2, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(16, 3, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(len(LABELS))(x)
    model = keras.Model(inputs, outputs)
    # Statistics and logits as of a trained model.
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "moving" in weight.path or "gamma" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        elif weight.path.startswith("dense"):
            weight.assign(generator.normal(0, 2, weight.shape))
    return model


@pytest.fixture(scope="session")
def images():
    """Images of one colour each with some noise, so that classes differ."""
    generator = np.random.default_rng(1)
    colors = generator.integers(0, 256, (24, 1, 1, 3))
    noise = generator.integers(-40, 40, (24, SIZE, SIZE, 3))
    return np.clip(colors + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def labels():
    return LABELS


@pytest.fixture(scope="session")
def logits(classifier, images):
    return classifier.predict(images.astype(np.float32), verbose=0)


@pytest.fixture(scope="session")
def served_version():
    return 1234567890


@pytest.fixture(scope="session")
def served_root(classifier, labels, served_version, tmp_path_factory):
    """A folder that holds one version of the small model, labelled stable."""
    root = tmp_path_factory.mktemp("serving")
    write_saved_model(classifier, labels, root / "shapes" / str(served_version))
    (root / "models.config").write_text(
        models_config(
            {"shapes": [served_version]}, {"shapes": {"stable": served_version}}
        )
    )
    return root


@pytest.fixture(scope="session")
def serving():
    """Serves a folder by the development server; gives its address."""

    @contextlib.contextmanager
    def serve(root):
        application = DevelopmentServer(root)
        server = make_server("127.0.0.1", 0, application, threaded=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.port}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return serve


@pytest.fixture(scope="session")
def served_address(served_root, serving):
    with serving(served_root) as address:
        yield address


DATA = "shapes:40:40"


def make_run(folder, variant, *, classes=SHAPES, size=32, seed=0, split_seed=3):
    """A run directory as training leaves it, with a model that was not trained."""
    folder.mkdir(parents=True)
    model = v1keras.models.build_classifier(
        "resnet18",
        variant,
        num_classes=len(classes),
        input_shape=(size, size, 3),
        width=16,
        stride=4,
        kernel_size=9,
        seed=seed,
    )
    # It takes every image for the first class, and so is right about some.
    *_, bias = model.layers[-1].weights
    bias.assign(10.0 * np.eye(len(classes))[0])
    model.save(folder / "model.keras")
    config = {
        "kind": "member",
        "name": folder.name,
        "settings": {
            "variant": variant,
            "seed": seed,
            "validation_fraction": 0.4,
            "validation_source": "fold",
            "split_seed": split_seed,
        },
        "variant": dataclasses.asdict(get_variant(variant)),
        "class_names": list(classes),
        "display_names": list(classes),
        "image_size": size,
        "data": {
            "name": DATA,
            "fingerprint": load_dataset(DATA, image_size=size).fingerprint,
            "sizes": {},
        },
        "versions": {},
        "result": {"best_epoch": 1, "validation_accuracy": 0.1},
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """V1 members with one filter bank, a plain one, and one in training."""
    folder = tmp_path_factory.mktemp("runs")
    make_run(folder / "standard", "standard", seed=1)
    make_run(folder / "no_noise", "no_noise", seed=3)
    make_run(folder / "base", "base", seed=2)
    make_run(folder / "other", "base", classes=("cat", "dog"))
    unfinished = make_run(folder / "unfinished", "base") / "config.json"
    config = json.loads(unfinished.read_text())
    unfinished.write_text(json.dumps({**config, "result": None}))
    return folder


@pytest.fixture(scope="session")
def diagnosed(runs):
    """An ensemble to be exported with a diagnosis."""
    return open_source([str(runs / "no_noise"), str(runs / "base")])


@pytest.fixture(scope="session")
def held_out(diagnosed):
    """Its data set, and the images that it held out."""
    dataset = open_check_dataset(diagnosed)
    return dataset, dataset.split("validation").spread(16).images


@pytest.fixture(scope="session")
def diagnosis(runs, held_out):
    # Of its front-end, which is that of the ensemble too.
    return fit_diagnosis(open_source([str(runs / "no_noise")]), held_out[0], 16)


def write_keys(folder):
    """Two Ed25519 keys and one of another kind, as `openssl genpkey` writes them."""
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = serialization.PrivateFormat.PKCS8
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    keys = {
        "ours": ed25519.Ed25519PrivateKey.generate(),
        "theirs": ed25519.Ed25519PrivateKey.generate(),
        "curve": ec.generate_private_key(ec.SECP256R1()),
    }
    for name, key in keys.items():
        content = key.private_bytes(pem, private, plain)
        (folder / f"{name}.pem").write_bytes(content)
        content = key.public_key().public_bytes(pem, public)
        (folder / f"{name}.pub").write_bytes(content)
    locked = serialization.BestAvailableEncryption(b"secret")
    content = keys["ours"].private_bytes(pem, private, locked)
    (folder / "locked.pem").write_bytes(content)


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """A folder of keys: `ours` and `theirs` fit, `curve` and `locked` do not."""
    folder = tmp_path_factory.mktemp("keys")
    write_keys(folder)
    return folder


@pytest.fixture
def fails(capsys):
    """Runs a command line that must end with one line that says what is wrong."""

    def check(main, flags, message):
        assert main(flags) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.strip().splitlines()) == 1

    return check


@pytest.fixture
def in_processes():
    """Calls a function in several processes at once, or in one that ends badly."""
    context = multiprocessing.get_context("fork")

    def run(function, *arguments, count=4, exit_code=0):
        processes = [
            context.Process(target=function, args=arguments) for _ in range(count)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
            assert process.exitcode == exit_code

    return run
