import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from v1keras.data import (
    Mixing,
    Split,
    augmented_view,
    batch_sizes,
    evaluation_batches,
    load_dataset,
    steps_per_epoch,
    training_batches,
)


@pytest.fixture(scope="module")
def split():
    return load_dataset("shapes:96:24", image_size=16).split("train")


@pytest.fixture
def numbered():
    """Image i is grey level i with label i."""
    images = np.tile(np.arange(50, dtype=np.uint8)[:, None, None, None], (1, 4, 4, 3))
    return Split("train", images, np.arange(50, dtype=np.int32), tuple("x" * 50))


def _batches(dataset, count=None):
    dataset = dataset if count is None else dataset.take(count)
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def _assert_equal(left, right):
    assert len(left) == len(right)
    for (images, labels), (other_images, other_labels) in zip(left, right, strict=True):
        np.testing.assert_array_equal(labels, other_labels)
        np.testing.assert_array_equal(images, other_images)


def test_evaluation_is_one_pass_in_order(numbered):
    batches = _batches(evaluation_batches(numbered, batch_size=16))
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 2]
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    assert images.dtype == np.float32 and labels.dtype == np.int32
    np.testing.assert_array_equal(images, numbered.images)
    np.testing.assert_array_equal(labels, numbered.labels)


def test_images_stay_with_their_labels_when_shuffled(numbered):
    for images, labels in _batches(training_batches(numbered, batch_size=7), 20):
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


@pytest.mark.parametrize("drop_remainder", [False, True])
def test_every_epoch_shows_each_image_once_in_a_new_order(numbered, drop_remainder):
    steps = steps_per_epoch(50, 8, drop_remainder=drop_remainder)
    assert steps == (6 if drop_remainder else 7)
    dataset = training_batches(numbered, batch_size=8, drop_remainder=drop_remainder)
    batches = _batches(dataset, 3 * steps)
    epochs = [
        np.concatenate([labels for _, labels in batches[k * steps : (k + 1) * steps]])
        for k in range(3)
    ]
    for epoch in epochs:
        assert len(set(epoch)) == len(epoch) == (48 if drop_remainder else 50)
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()


def test_the_seed_decides(split):
    def first(seed):
        return _batches(
            training_batches(split, batch_size=16, augment="paper", seed=seed), 3
        )

    _assert_equal(first(0), first(0))
    assert (first(0)[0][1] != first(1)[0][1]).any()


@pytest.mark.parametrize("augment", ["paper", "prime", "augmix"])
def test_a_resumed_training_sees_what_an_uninterrupted_one_sees(split, augment):
    arguments = {
        "batch_size": 16,
        "augment": augment,
        "seed": 5,
    }
    steps = steps_per_epoch(len(split), 16)
    whole = _batches(training_batches(split, **arguments), 4 * steps)
    resumed = _batches(training_batches(split, **arguments, start_epoch=2), 2 * steps)
    _assert_equal(resumed, whole[2 * steps :])


def test_fit_resumes_with_the_same_images(split):
    steps = steps_per_epoch(len(split), 32)

    def losses(start, epochs, weights=None):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [keras.Input((16, 16, 3)), keras.layers.Flatten(), keras.layers.Dense(12)]
        )
        model.compile(
            keras.optimizers.SGD(1e-7),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        if weights is not None:
            model.set_weights(weights)
        batches = training_batches(
            split, batch_size=32, augment="paper", start_epoch=start
        )
        history = model.fit(
            batches,
            initial_epoch=start,
            epochs=epochs,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
        )
        return history.history["loss"], model.get_weights()

    whole, _ = losses(0, 4)
    first, weights = losses(0, 2)
    second, _ = losses(2, 4, weights)
    np.testing.assert_allclose(first + second, whole, rtol=1e-5)


def test_augmentation_differs_between_epochs():
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    split = Split("train", image, np.zeros(1, np.int32), ("a",))
    dataset = training_batches(split, batch_size=1, augment="paper")
    images = np.concatenate([images for images, _ in _batches(dataset, 6)])
    assert len(np.unique(images.reshape(6, -1), axis=0)) == 6


def _by_image(dataset, count, steps):
    """The image of each label, in the order of the labels, for each epoch."""
    epochs = []
    for _ in range(count):
        parts = _batches(dataset, steps)
        dataset = dataset.skip(steps)
        images, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        epochs.append((images[np.argsort(labels)], labels))
    return epochs


def test_views_repeat_for_each_image_whatever_its_place():
    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 3), np.uint8)
    split = Split("train", images, np.arange(10, dtype=np.int32), tuple("x" * 10))
    common = {"augment": "paper", "seed": 3}
    dataset = training_batches(split, batch_size=4, views=2, **common)
    epochs = _by_image(dataset, 4, 3)
    np.testing.assert_array_equal(epochs[0][0], epochs[2][0])
    np.testing.assert_array_equal(epochs[1][0], epochs[3][0])
    assert (epochs[0][0] != epochs[1][0]).any(axis=(1, 2, 3)).all()
    assert (epochs[0][1] != epochs[2][1]).any()  # shuffled anew
    for view in (0, 1):
        parts = _batches(augmented_view(split, view, batch_size=7, **common))
        shown = np.concatenate([images for images, _ in parts])
        np.testing.assert_array_equal(shown, epochs[view][0])
    # Without a limit the first epochs are the same views.
    ((first, _),) = _by_image(training_batches(split, batch_size=4, **common), 1, 3)
    np.testing.assert_array_equal(first, epochs[0][0])


def test_teacher_logits_stay_with_image_and_view(numbered):
    logits = [
        np.stack([np.full(50, view), np.arange(50)], axis=1).astype(np.float16)
        for view in range(3)
    ]
    arguments = {"batch_size": 20, "views": 3}
    dataset = training_batches(
        numbered, **arguments, start_epoch=1, teacher_logits=logits
    )
    assert dataset.element_spec[1][1].shape.as_list() == [None, 2]
    for step, (_, (labels, taught)) in enumerate(dataset.take(9)):
        assert taught.dtype == tf.float32
        np.testing.assert_array_equal(taught[:, 1], labels)
        assert set(taught[:, 0].numpy()) == {(1 + step // 3) % 3}
    held_out = evaluation_batches(numbered, batch_size=20, teacher_logits=logits[0])
    for _, (labels, taught) in held_out:
        np.testing.assert_array_equal(taught[:, 1], labels)


def test_mixtures_mix_labels_and_teacher_logits_alike(numbered):
    logits = [np.eye(50, dtype=np.float32)[::-1]]
    dataset = training_batches(
        numbered, batch_size=10, views=1, mixing=Mixing(mixup=1.0),
        num_classes=50, teacher_logits=logits,
    )  # fmt: skip
    whole = list(dataset.take(10).as_numpy_iterator())
    for images, (labels, taught) in whole:
        np.testing.assert_allclose(labels.sum(axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(taught, labels[:, ::-1], atol=1e-6)
        # Image i has grey level i: the mixed level is the labels' mean.
        np.testing.assert_allclose(
            images[:, 0, 0, 0], labels @ np.arange(50), rtol=1e-4
        )
    again = list(dataset.take(10).as_numpy_iterator())
    np.testing.assert_array_equal(whole[9][0], again[9][0])
    assert (np.sort(whole[0][1][0].max(1)) != np.sort(whole[5][1][0].max(1))).any()


def test_images_on_disk_give_the_same_batches(tmp_path, write_classes):
    write_classes(tmp_path, count=10)
    here, there = (
        load_dataset(tmp_path, memory_limit=limit).split("train")
        for limit in (4.0, 0.0)
    )
    arguments = {"batch_size": 4, "augment": "paper"}
    _assert_equal(
        _batches(training_batches(here, **arguments), 8),
        _batches(training_batches(there, **arguments), 8),
    )


def test_replicas_share_each_batch(numbered):
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    dataset = training_batches(numbered, batch_size=10, drop_remainder=True)
    plain = _batches(dataset, 5)
    distributed = iter(strategy.experimental_distribute_dataset(dataset))
    for _, labels in plain:
        _, other_labels = next(distributed)
        np.testing.assert_array_equal(other_labels, labels)
    policy = dataset.options().experimental_distribute.auto_shard_policy
    assert policy == tf.data.experimental.AutoShardPolicy.DATA


def test_shapes_are_static_where_they_can_be(split):
    images, labels = training_batches(
        split, batch_size=16, drop_remainder=True
    ).element_spec
    assert images.shape == (16, 16, 16, 3) and labels.shape == (16,)
    images, labels = evaluation_batches(split, batch_size=16).element_spec
    assert images.shape.as_list() == [None, 16, 16, 3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
        ({"batch_size": 4, "seed": -1}, "must be at least 0"),
        ({"batch_size": 4, "start_epoch": -1}, "must be at least 0"),
        ({"batch_size": 4, "augment": "fog"}, "one of paper, prime, augmix, none"),
        ({"batch_size": 4, "views": -1}, "must be at least 0"),
        ({"batch_size": 4, "mixing": Mixing(1.0)}, "num_classes"),
        (
            {
                "batch_size": 4,
                "views": 2,
                "teacher_logits": [np.zeros((84, 3))],
            },
            r"2 arrays of shape \(84, classes\).*1 of shapes \(84, 3\)",
        ),
        ({"batch_size": 999, "drop_remainder": True}, "must not exceed the 84 images"),
    ],
)
def test_bad_arguments(split, arguments, message):
    with pytest.raises(ValueError, match=message):
        training_batches(split, **arguments)
    if set(arguments) <= {"batch_size"}:
        with pytest.raises(ValueError, match=message):
            evaluation_batches(split, **arguments)


def test_logits_of_other_images_are_refused(split):
    with pytest.raises(ValueError, match=r"1 arrays of shape \(84, classes\)"):
        evaluation_batches(split, batch_size=4, teacher_logits=np.zeros((83, 3)))


@pytest.mark.parametrize("replicas", [1, 2, 4, 8])
def test_batches_serve_all_replicas(replicas):
    for count in range(320, 360):
        sizes = batch_sizes(count, 32, replicas=replicas)
        assert sum(sizes) == count and len(sizes) == steps_per_epoch(count, 32)
        assert set(sizes[:-1]) <= {31, 32}
    assert batch_sizes(40, 32, replicas=replicas, drop_remainder=True) == [32]
    if replicas > 1:
        for batch_size, count in ((1, 30), (32, 1), (replicas + 1, 30)):
            if replicas == 2 and batch_size == 3:
                continue  # shares of 2 and 1
            with pytest.raises(ValueError, match=f"multiple of {replicas}"):
                batch_sizes(count, batch_size, replicas=replicas)


DISTRIBUTED = """
import sys
import numpy as np
import tensorflow as tf
from v1keras.data import Split, evaluation_batches, training_batches

(cpu,) = tf.config.list_physical_devices("CPU")
halves = [tf.config.LogicalDeviceConfiguration() for _ in range(4)]
tf.config.set_logical_device_configuration(cpu, halves)
replicas = int(sys.argv[1])
devices = [device.name for device in tf.config.list_logical_devices("CPU")]
strategy = tf.distribute.MirroredStrategy(devices[:replicas])
for count in range(32, 41):
    images = np.zeros((count, 4, 4, 3), np.uint8)
    split = Split("train", images, np.zeros(count, np.int32), ("",) * count)
    for batches in (
        evaluation_batches(split, batch_size=8, replicas=replicas),
        training_batches(split, batch_size=8, replicas=replicas),
    ):
        seen = 0
        for images, labels in strategy.experimental_distribute_dataset(batches):
            sizes = [len(part) for part in strategy.experimental_local_results(labels)]
            assert min(sizes) > 0, (len(split), sizes)
            seen += sum(sizes)
            if seen >= len(split):
                break
        assert seen == len(split)
"""


@pytest.mark.parametrize("replicas", [2, 4])
def test_no_replica_is_left_without_images(replicas):
    subprocess.run([sys.executable, "-c", DISTRIBUTED, str(replicas)], check=True)


@pytest.mark.parametrize("batch_size", [8, 11])
def test_parts_of_replicas_make_the_whole_batches(numbered, batch_size):
    common = {"batch_size": batch_size, "replicas": 4}
    steps = len(batch_sizes(len(numbered), **common))
    for batches, settings in (
        (evaluation_batches, {}),
        (training_batches, {"seed": 3, "augment": "paper"}),
    ):
        whole = _batches(batches(numbered, **common, **settings), steps)
        workers = [
            _batches(batches(numbered, **common, own=own, **settings), 2 * steps)
            for own in (range(2), range(2, 4))
        ]
        for step, (images, labels) in enumerate(whole):
            parts = [part for own in workers for part in own[2 * step : 2 * step + 2]]
            sizes = [len(part) for _, part in parts]
            # As a strategy hands out: rounded up, and the rest.
            assert sizes[:3] == 3 * [-(-len(labels) // 4)] and sizes[3] > 0
            joined, answers = map(np.concatenate, zip(*parts, strict=True))
            np.testing.assert_array_equal(answers, labels)
            np.testing.assert_allclose(joined, images, atol=1e-4)


def test_replicas_mix_differently():
    split = Split(
        "train",
        np.zeros((8, 4, 4, 3), np.uint8),
        np.arange(8, dtype=np.int32),
        ("",) * 8,
    )
    batches = training_batches(
        split, batch_size=8, mixing=Mixing(1.0), num_classes=8, replicas=2, own=range(2)
    )  # fmt: skip
    (_, first), (_, second) = _batches(batches, 2)
    assert not np.array_equal(np.sort(first.max(1)), np.sort(second.max(1)))
