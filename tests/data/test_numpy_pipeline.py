"""The NumPy pipeline against TensorFlow's, image by image, and against published values."""

import numpy as np
import pytest
import tensorflow as tf

from v1keras.data import (
    AffineAugmentation,
    Split,
    augmented_view,
    evaluation_batches,
    load_dataset,
    numpy_pipeline,
    philox,
    training_batches,
)


@pytest.fixture(scope="module")
def split():
    return load_dataset("shapes:97:24", image_size=20).split("train")


@pytest.fixture
def on_numpy(monkeypatch):
    """A function that makes batches as JAX and PyTorch are given them."""

    def make(batches, *arguments, **settings):
        with monkeypatch.context() as patch:
            patch.setattr("v1keras.data.pipeline.uses_tensorflow", lambda: False)
            result = batches(*arguments, **settings)
        assert isinstance(result, numpy_pipeline.NumpyBatches)
        return result

    return make


def _assert_same(ours, theirs, count):
    theirs = list(theirs.take(count).as_numpy_iterator())
    for number, (images, targets) in enumerate(theirs):
        made, answers = ours[number]
        assert made.dtype == images.dtype and made.flags.c_contiguous
        np.testing.assert_allclose(made, images, atol=2e-3)
        tf.nest.map_structure(np.testing.assert_array_equal, answers, targets)
    return len(theirs)


# Random123's kat_vectors, philox 4x32 of 10 rounds.
@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_known_answers_of_philox(counter, key, expected):
    words = philox.philox(np.array(counter, np.uint32), np.array(key, np.uint32))
    assert " ".join(f"{word:08x}" for word in words) == expected


@pytest.mark.parametrize("seed", [(0, 1), (7, -3), (2**40 + 5, 2)])
def test_draws_are_those_of_tensorflow(seed):
    theirs = tf.constant(seed, tf.int64)
    uniform = tf.random.stateless_uniform((37, 5), theirs)
    np.testing.assert_array_equal(philox.uniform(seed, (37, 5)), uniform)
    random = tf.random.experimental
    folded = random.stateless_fold_in(theirs, tf.constant(9, tf.int64))
    assert philox.fold_in(seed, 9) == tuple(folded.numpy())
    for count in (0, 1, 2, 101):
        order = random.stateless_shuffle(tf.range(count), theirs)
        np.testing.assert_array_equal(philox.shuffled(count, seed), order)


@pytest.mark.parametrize("shape", [(32, 32), (9, 40)])
def test_affine_maps_are_those_of_tensorflow(shape):
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (64, *shape, 3)).astype("float32")
    unit = rng.random((64, 5), "float32")
    # Some images leave the frame altogether.
    augment = AffineAugmentation(180.0, translation=0.9, scale=(0.2, 3.0))
    expected = augment.apply(tf.constant(images), tf.constant(unit))
    np.testing.assert_allclose(augment.apply(images, unit), expected, atol=5e-3)


@pytest.mark.parametrize("views", [0, 2])
def test_training_batches_are_those_of_tensorflow(split, on_numpy, views):
    settings = {
        "batch_size": 20, "augment": "paper", "seed": 3, "start_epoch": 1,
        "views": views,
    }  # fmt: skip
    if views:
        logits = np.random.default_rng(0).normal(size=(views, len(split), 12))
        settings["teacher_logits"] = list(logits.astype("float16"))
    ours = on_numpy(training_batches, split, **settings)
    steps = -(-len(split) // 20)
    _assert_same(ours, training_batches(split, **settings), 3 * steps)
    # Whatever was asked for before.
    first = next(iter(ours))[0]
    np.testing.assert_array_equal(first, ours[0][0])


def test_a_view_is_that_of_tensorflow(split, on_numpy):
    settings = {"batch_size": 32, "augment": "paper", "seed": 1}
    ours = on_numpy(augmented_view, split, 2, **settings)
    theirs = augmented_view(split, 2, **settings)
    assert _assert_same(ours, theirs, -1) == len(ours)


def test_evaluation_batches_are_those_of_tensorflow(split, on_numpy):
    ours = on_numpy(evaluation_batches, split, batch_size=16)
    theirs = evaluation_batches(split, batch_size=16)
    assert _assert_same(ours, theirs, -1) == len(ours) == len(list(ours))


def _split_of(count):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None]
    labels = np.arange(count, dtype=np.int32)
    return Split("validation", images, labels, ("",) * count)


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_devices_get_equal_shares(on_numpy, replicas):
    split, size = _split_of(37), 12
    shares = on_numpy(training_batches, split, batch_size=size, replicas=replicas)
    whole = on_numpy(training_batches, split, batch_size=size)
    seen = []
    for step in range(4):
        labels, expected = shares[step][1], whole[step][1]
        assert len(labels) % replicas == 0
        np.testing.assert_array_equal(labels[: len(expected)], expected)
        seen += list(labels)
    assert set(seen) == set(range(37)) and len(seen) < 37 + replicas


def test_weights_make_means_over_the_images(on_numpy):
    split = _split_of(37)
    total, images = 0.0, 0
    for shown, labels, weights in on_numpy(
        evaluation_batches, split, batch_size=12, replicas=4
    ):
        # As Keras averages losses: within a batch, then over all images in batches.
        total += np.mean(labels**2 * weights) * len(shown)
        images += len(shown)
    assert images == 40
    np.testing.assert_allclose(total / images, np.mean(np.arange(37) ** 2), rtol=1e-6)


def test_what_fails_in_a_thread_is_raised(split):
    def make(number):
        raise ValueError(f"no batch {number}")

    with pytest.raises(ValueError, match="no batch 0"):
        next(iter(numpy_pipeline.NumpyBatches(make, 3)))


@pytest.mark.parametrize("augment", ["prime", "augmix"])
def test_what_needs_tensorflow_says_so(split, augment, monkeypatch):
    monkeypatch.setattr("v1keras.hardware.uses_tensorflow", lambda: False)
    with pytest.raises(ValueError, match=f"{augment} needs TensorFlow"):
        training_batches(split, batch_size=8, augment=augment)
