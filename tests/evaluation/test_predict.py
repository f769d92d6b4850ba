import hashlib
import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest

from v1keras.evaluation import (
    CLEAN,
    Cell,
    CleanImages,
    LogitCache,
    OnlineImages,
    StoredImages,
    corrupted_cells,
    open_cache,
    predict_cells,
)
from v1keras.evaluation.metrics import ensemble_logits
from v1keras.evaluation.predict import weights_fingerprint
from v1keras.layers import set_noise
from v1keras.models import build_ensemble

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (22, 32, 32, 3), dtype=np.uint8)
LABELS = RNG.integers(0, 5, 22)
NAMES = [f"image {i}" for i in range(22)]
CELLS = (CLEAN, *corrupted_cells(["gaussian_noise", "contrast"], (1, 5)))


def online(**options):
    return OnlineImages(CleanImages(IMAGES, LABELS, **options), CELLS)


def predict(path, models, cells=CELLS, **options):
    images = options.pop("images", None) or online()
    fingerprints = {name: weights_fingerprint(m) for name, m in models.items()}
    cache = open_cache(path, fingerprints, images, **options)
    predict_cells(cache, models, images, cells, batch_size=8, progress=False)
    return cache


class CountingImages(OnlineImages):
    """Counts how often each cell is made."""

    def __init__(self, *args):
        super().__init__(*args)
        self.made = []

    def batches(self, cell, batch_size):
        self.made.append(cell)
        return super().batches(cell, batch_size)


def test_logits_are_those_of_the_model(tmp_path, make_model):
    model = make_model(0)
    cache = predict(tmp_path / "logits", {"m": model})
    read = cache.read(CLEAN)
    expected = model.predict(IMAGES.astype("float32"), verbose=0)
    np.testing.assert_allclose(read.logits["m"][0], expected, atol=1e-4)
    np.testing.assert_array_equal(read.labels, LABELS)
    assert not np.allclose(cache.read(CELLS[2]).logits["m"][0], expected)


def test_resumed_equals_uninterrupted(tmp_path, make_model):
    models = {"noisy": make_model(0, noise=True), "plain": make_model(1)}
    whole = predict(tmp_path / "whole", models, noise_samples=3)
    predict(tmp_path / "parts", models, CELLS[:2], noise_samples=3)
    parts = predict(tmp_path / "parts", models, noise_samples=3)
    for cell in CELLS:
        first, second = whole.read(cell).logits, parts.read(cell).logits
        for name in models:
            np.testing.assert_array_equal(first[name], second[name])


def test_noise_draws_differ_and_a_model_without_noise_is_called_once(
    tmp_path, make_model
):
    models = {"noisy": make_model(0, noise=True), "plain": make_model(1)}
    logits = predict(tmp_path / "logits", models, noise_samples=3).read(CLEAN).logits
    assert logits["noisy"].shape == (3, 22, 5)
    assert logits["plain"].shape == (1, 22, 5)
    assert not np.allclose(logits["noisy"][0], logits["noisy"][1])


def test_each_cell_is_made_once_for_all_models(tmp_path, make_model):
    models = {str(i): make_model(i) for i in range(3)}
    images = CountingImages(CleanImages(IMAGES, LABELS), CELLS)
    for cells in (CELLS[:3], CELLS):
        predict(tmp_path / "logits", models, cells, images=images)
    assert images.made == list(CELLS)


def test_models_are_added_to_finished_cells(tmp_path, make_model):
    models = {"a": make_model(0, noise=True), "b": make_model(1, noise=True)}
    together = predict(tmp_path / "together", models)
    predict(tmp_path / "added", {"a": models["a"]})
    added = predict(tmp_path / "added", {"b": models["b"]})
    for cell in CELLS:
        logits = added.read(cell).logits
        assert set(logits) == {"a", "b"}
        for name, values in together.read(cell).logits.items():
            np.testing.assert_array_equal(logits[name], values)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_ensemble_from_the_cache_equals_the_keras_ensemble(
    tmp_path, make_model, average
):
    models = {str(i): make_model(i) for i in range(3)}
    logits = predict(tmp_path / "logits", models).read(CLEAN).logits
    combined = ensemble_logits(list(logits.values()), average=average)[0]
    if average == "logits":
        ensemble = build_ensemble(list(models.values()))
        expected = ensemble.predict(IMAGES.astype("float32"), verbose=0)
    else:
        answers = [
            m.predict(IMAGES.astype("float32"), verbose=0) for m in models.values()
        ]
        expected = np.log(np.mean(keras.ops.softmax(np.stack(answers)), axis=0))
    np.testing.assert_allclose(combined, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "seed=0 instead of seed=1"),
        ({"noise_samples": 2}, "noise_samples=1"),
        ({"dtype": "float16"}, "dtype='float32'"),
        ({"images": online(max_images=5)}, "images=22 instead of images=5"),
    ],
)
def test_other_settings_are_refused(tmp_path, make_model, change, message):
    models = {"m": make_model(0)}
    predict(tmp_path / "logits", models, CELLS[:1])
    with pytest.raises(FileExistsError, match=message):
        predict(tmp_path / "logits", models, CELLS[:1], **change)


def test_changed_weights_are_refused(tmp_path, make_model):
    predict(tmp_path / "logits", {"m": make_model(0)}, CELLS[:1])
    with pytest.raises(FileExistsError, match="other weights of m"):
        predict(tmp_path / "logits", {"m": make_model(1)}, CELLS[:1])


@pytest.mark.parametrize(
    ("file", "content"),
    [("notes.txt", "mine"), ("manifest.json", "{}"), ("manifest.json", "{half")],
)
def test_a_folder_of_something_else_is_refused(tmp_path, file, content):
    (tmp_path / file).write_text(content)
    with pytest.raises(FileExistsError, match="hold the same evaluation"):
        LogitCache(tmp_path, {}, {})


def test_only_models_that_a_cell_lacks_are_looked_up(tmp_path, make_model):
    class Models(dict):
        def __getitem__(self, name):
            looked_up.append(name)
            return super().__getitem__(name)

    models = {"a": make_model(0), "b": make_model(1)}
    cache = predict(tmp_path / "logits", {"a": models["a"]})
    cache = open_cache(cache.path, {**cache.fingerprints, "b": "b"}, online())
    for expected in (["b"], []):
        looked_up = []
        predict_cells(cache, Models(models), online(), CELLS, progress=False)
        assert looked_up == expected


@pytest.mark.parametrize("mode", ["off", "fixed", "stochastic"])
def test_noise_is_as_before_afterwards(tmp_path, make_model, mode):
    model = make_model(0, noise=True)
    set_noise(model, mode, seed=5)
    answers = [model.predict(IMAGES, verbose=0)]
    set_noise(model, mode, seed=5)
    logits = predict(tmp_path / "logits", {"m": model}, noise_samples=2).read(CLEAN)
    assert not np.array_equal(*logits.logits["m"])
    answers.append(model.predict(IMAGES, verbose=0))
    np.testing.assert_array_equal(*answers)


def test_refused_models_leave_nothing_behind(tmp_path, make_model):
    models = {"a": make_model(0), "b": make_model(1, classes=6)}
    with pytest.raises(ValueError, match=r"know the same classes.*of b"):
        predict(tmp_path / "logits", models)
    assert not (tmp_path / "logits").exists()


def test_other_images_in_a_cell_are_refused(tmp_path):
    cache = LogitCache(tmp_path / "logits", {}, {"a": "", "b": ""})
    cache.add(CLEAN, np.zeros(2, int), ["x", "y"], {"a": np.zeros((1, 2, 3))})
    with pytest.raises(ValueError, match="other images"):
        cache.add(CLEAN, np.zeros(2, int), ["x", "z"], {"b": np.zeros((1, 2, 3))})
    assert cache.models(CLEAN) == {"a"}


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 cut off"])
def test_a_damaged_cell_is_named(tmp_path, make_model, content):
    models = {"m": make_model(0)}
    file = predict(tmp_path / "logits", models, CELLS[:1]).file(CLEAN)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"clean-0\.npz is damaged .*: remove it"):
        predict(tmp_path / "logits", models, CELLS[:1])
    file.unlink()
    predict(tmp_path / "logits", models, CELLS[:1]).read(CLEAN)


def test_half_precision_is_close(tmp_path, make_model):
    models = {"m": make_model(0)}
    full = predict(tmp_path / "full", models, CELLS[:1]).read(CLEAN).logits["m"]
    half = predict(tmp_path / "half", models, CELLS[:1], dtype="float16")
    assert half.read(CLEAN).logits["m"].dtype == np.float16
    np.testing.assert_allclose(half.read(CLEAN).logits["m"], full, rtol=2e-3, atol=2e-3)


def test_corruption_of_an_image_does_not_depend_on_the_subset_or_batch():
    whole = next(online().batches(CELLS[1], 22))
    part = next(online(max_images=7).batches(CELLS[1], 7))
    chosen = np.flatnonzero(np.isin(whole.ids, part.ids))
    assert len(chosen) == 7
    np.testing.assert_array_equal(whole.images[chosen], part.images)
    small = np.concatenate([b.images for b in online().batches(CELLS[1], 5)])
    np.testing.assert_array_equal(small, whole.images)


def test_online_images_may_be_compressed_as_stored_sets_are():
    clean = CleanImages(IMAGES, LABELS)
    sets = [OnlineImages(clean, CELLS[1:], jpeg=jpeg) for jpeg in (False, True)]
    assert sets[0].settings != sets[1].settings
    plain, compressed = (next(each.batches(CELLS[1], 3)).images for each in sets)
    for image, result in zip(plain, compressed, strict=True):
        options = [cv2.IMWRITE_JPEG_QUALITY, 85]
        encoded = cv2.imencode(".jpg", image[..., ::-1], options)[1]
        expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(result, expected)
    untouched = next(sets[1].batches(CLEAN, 3)).images
    np.testing.assert_array_equal(untouched, IMAGES[:3])


class Stored:
    """A corrupted set of two cells that show every second image."""

    cells = (("fog", 1), ("fog", 2))

    def read(self, corruption, severity):
        split = CleanImages(IMAGES[::2] // severity, LABELS[::2])
        split.ids = np.array(NAMES[::2])
        return split

    def fingerprint(self, corruption, severity):
        return f"as published, {corruption} {severity}"


def test_stored_images_are_the_same_subset_in_every_cell():
    clean = CleanImages(IMAGES, LABELS, ids=NAMES)
    images = StoredImages(clean, Stored(), max_images=4)
    assert images.cells == (CLEAN, Cell("fog", 1), Cell("fog", 2))
    first, second = (next(images.batches(cell, 99)) for cell in images.cells[1:])
    assert first.ids.tolist() == second.ids.tolist()
    assert len(first.ids) == 4
    assert images.sample_id in first.ids
    np.testing.assert_array_equal(first.images // 2, second.images)


@pytest.mark.parametrize("suffix", ["", ".JPEG"])
def test_the_clean_subset_is_that_of_the_stored_images(suffix):
    ids = [f"image {i}{suffix}" for i in range(22)]
    clean = CleanImages(IMAGES, LABELS, ids=ids, max_images=4, seed=1)
    images = StoredImages(clean, Stored(), max_images=4)
    shown, corrupted = (next(images.batches(cell, 99)) for cell in images.cells[:2])
    assert shown.ids.tolist() == corrupted.ids.tolist()
    np.testing.assert_array_equal(shown.images, corrupted.images)
    np.testing.assert_array_equal(shown.labels, corrupted.labels)
    assert images.sample_id in shown.ids
    assert images.settings["clean"]["images"] == 4
    # Names of images of other classes name other images.
    other = CleanImages(IMAGES, LABELS[::-1], ids=ids, max_images=4, seed=1)
    images = StoredImages(other, Stored(), max_images=4)
    assert images.settings["clean"] == other.settings


def test_a_stored_set_must_show_the_clean_images():
    clean = CleanImages(IMAGES[:8], LABELS[:8])
    with pytest.raises(ValueError, match="at most as many images of a class"):
        StoredImages(clean, Stored())


def test_the_fingerprint_of_images_is_that_of_their_bytes():
    """As of version 0.1.0, whether they are hashed in one or in several parts."""
    images = np.random.default_rng(0).integers(0, 256, (1100, 2, 3, 3), np.uint8)
    labels = np.arange(1100)
    digest = hashlib.sha256(b"((1100, 2, 3, 3), 'uint8')" + images.tobytes())
    digest.update(b"((1100,), 'int64')" + labels.tobytes())
    settings = CleanImages(images, labels).settings
    assert settings["fingerprint"] == digest.hexdigest()


def test_images_are_checked():
    with pytest.raises(ValueError, match="uint8 RGB"):
        CleanImages(IMAGES.astype("float32"), LABELS)
    with pytest.raises(ValueError, match="uint8 RGB"):
        CleanImages(IMAGES[..., :1], LABELS)
    with pytest.raises(ValueError, match="length of `images`"):
        CleanImages(IMAGES, LABELS[:3])
    with pytest.raises(ValueError, match="max_images=0"):
        CleanImages(IMAGES, LABELS, max_images=0)


REPLICAS = """
import sys

import cv2
import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from v1keras.evaluation import CLEAN, CleanImages, open_cache, predict_cells
from v1keras.layers import NeuronalNoise

def make(noise):
    inputs = keras.Input((32, 32, 3))
    x = NeuronalNoise(1.0)(inputs) if noise else inputs
    x = keras.layers.AveragePooling2D(16)(x)
    return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Flatten()(x)))

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    models = {"plain": make(False), "noisy": make(True)}
images = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)
clean = CleanImages(images, np.zeros(7, int))
cache = open_cache(sys.argv[1], dict.fromkeys(models, ""), clean, noise_samples=2)
predict_cells(cache, models, clean, [CLEAN], batch_size=7, progress=False)
logits = cache.read(CLEAN).logits
expected = models["plain"](images.astype("float32"))
np.testing.assert_allclose(logits["plain"][0], expected, rtol=1e-4, atol=1e-3)
assert logits["noisy"].shape == (2, 7, 4)
assert not np.allclose(logits["noisy"][0], logits["noisy"][1])
"""


@pytest.mark.slow
def test_replicas_share_a_batch_that_they_do_not_divide(tmp_path):
    # In a process of its own: logical devices must exist before TensorFlow is used.
    result = subprocess.run(
        [sys.executable, "-c", REPLICAS, tmp_path / "logits"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_logits_that_are_not_finite_are_neither_stored_nor_read(tmp_path, wrong):
    cache = LogitCache(tmp_path, {}, {"good": "1", "bad": "2"})
    logits = {name: np.zeros((1, 22, 5)) for name in ("good", "bad")}
    cache.add(CLEAN, LABELS, np.arange(22), logits)
    cell = CELLS[1]
    logits["bad"][0, 3, 1] = wrong
    with pytest.raises(ValueError, match=f"finite logits.* of bad for {cell}"):
        cache.add(cell, LABELS, np.arange(22), logits)
    assert cache.cells() == {CLEAN}
    # As an earlier version left them.
    arrays = {f"logits/{name}": value for name, value in logits.items()}
    ids = np.arange(22).astype(str)
    np.savez(cache.file(CLEAN), labels=LABELS, ids=ids, **arrays)
    assert cache.read(CLEAN, ["good"]).logits["good"].shape == (1, 22, 5)
    with pytest.raises(ValueError, match=r"finite logits.* of bad for clean"):
        cache.read(CLEAN)


def test_logits_beyond_half_precision_are_refused(tmp_path, make_model):
    model = make_model(0)
    model.layers[-1].bias.assign(np.full(5, 1e5))
    with pytest.raises(ValueError, match="float16 holds none beyond 65504"):
        predict(tmp_path / "half", {"m": model}, dtype="float16")
    assert predict(tmp_path / "single", {"m": model}).cells() == set(CELLS)


def test_a_stored_set_may_grow_and_must_not_change(tmp_path):
    clean = CleanImages(IMAGES, LABELS, ids=NAMES)

    def opened(cells, ending=""):
        stored = Stored()
        stored.cells = cells
        stored.fingerprint = lambda *cell: f"{cell}{ending * (cell == ('fog', 2))}"
        images = StoredImages(clean, stored)
        cache = open_cache(tmp_path, {"m": "1"}, images)
        for cell in images.cells:
            labels, ids = LABELS[::2], NAMES[::2]
            cache.add(cell, labels, ids, {"m": np.zeros((1, len(ids), 5))})

    opened([("fog", 2)])
    opened([("fog", 1), ("fog", 2)])
    opened([("fog", 1)])
    with pytest.raises(FileExistsError, match="other images of fog-2"):
        opened([("fog", 1), ("fog", 2)], "!")


@pytest.mark.parametrize("clean_only", [True, False])
def test_images_of_another_crop_are_other_images(tmp_path, clean_only):
    def opened(**options):
        clean = CleanImages(IMAGES, LABELS, fingerprint="that of the files", **options)
        images = clean if clean_only else OnlineImages(clean, CELLS[1:])
        cache = open_cache(tmp_path, {"m": "1"}, images)
        cache.add(CLEAN, LABELS, NAMES, {"m": np.zeros((1, len(NAMES), 5))})

    # Version 0.1.0 did not note it.
    opened()
    opened(shown={"image_size": 8, "crop_fraction": 1.0})
    with pytest.raises(FileExistsError, match=r"crop_fraction=1.0 instead of .*=0.5"):
        opened(shown={"image_size": 8, "crop_fraction": 0.5})


@pytest.mark.parametrize("options", [{}, {"max_images": 9}])
def test_a_single_picture_is_that_of_its_cell(options):
    clean = CleanImages(IMAGES, LABELS, **options)
    for images in (
        OnlineImages(clean, CELLS, seed=3),
        OnlineImages(clean, CELLS, jpeg=True),
        StoredImages(CleanImages(IMAGES, LABELS, ids=NAMES), Stored(), **options),
    ):
        for cell in (CLEAN, images.cells[2]):
            for batch in images.batches(cell, 4):
                for image, name in zip(batch.images, batch.ids, strict=True):
                    np.testing.assert_array_equal(images.picture(cell, name), image)


def test_a_log_file_has_a_line_for_each_corruption(tmp_path, make_model, capsys):
    models = {"m": make_model(0)}
    images = online()
    cache = open_cache(tmp_path / "logits", {"m": "1"}, images)
    predict_cells(cache, models, images, images.cells)
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(":")[0] for line in lines]
    assert names == ["1/3 clean", "2/3 gaussian_noise", "3/3 contrast"]
