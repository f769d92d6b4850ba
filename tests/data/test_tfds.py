"""Sets of TensorFlow Datasets, written here: no network is needed."""

import numpy as np
import pytest

from v1keras.data import load_dataset, training_batches
from v1keras.data.images import EncodedImages

tfds = pytest.importorskip("tensorflow_datasets")


def _examples(labels, channels):
    return [
        {
            "image": np.full((12, 12, channels), 10 * index, np.uint8),
            "label": label,
        }
        for index, label in enumerate(labels)
    ]


def _features(channels=3):
    return {
        "image": tfds.features.Image(shape=(12, 12, channels)),
        "label": tfds.features.ClassLabel(names=["red_fox", "owl"]),
    }


@pytest.mark.parametrize("channels", [1, 3])
def test_train_and_test(write_tfds, channels):
    splits = {
        "train": _examples([0, 1] * 10, channels),
        "test": _examples([1, 0, 1, 0], channels),
    }
    data_dir = write_tfds("tiny_set", splits, _features(channels))
    dataset = load_dataset("tiny_set", data_dir=data_dir, validation_fraction=0.2)
    assert dataset.class_names == ("red_fox", "owl")
    assert dataset.display_names == ("red fox", "owl")
    assert dataset.image_size == 12
    assert dataset.sizes == {"train": 16, "validation": 4, "test": 4}
    train = dataset.split("train")
    assert train.images.shape == (16, 12, 12, 3)
    # Grey level 10 i belongs to label i % 2, in whatever order the set is stored.
    np.testing.assert_array_equal(train.images[:, 5, 5, 0] // 10 % 2, train.labels)
    assert not set(train.ids) & set(dataset.split("validation").ids)


def test_test_images_without_labels_are_not_used(write_tfds):
    splits = {
        "train": _examples([0, 1] * 4, 3),
        "validation": _examples([0, 1, 1], 3),
        "test": _examples([-1, -1], 3),
    }
    data_dir = write_tfds("unlabelled", splits, _features())
    dataset = load_dataset("unlabelled", data_dir=data_dir, image_size=8)
    assert sorted(dataset.split("test").labels) == [0, 1, 1]
    assert dataset.split("test").images.shape == (3, 8, 8, 3)


def test_training_images_alone_are_divided(write_tfds):
    data_dir = write_tfds("alone", {"train": _examples([0, 1] * 10, 3)}, _features())
    dataset = load_dataset("alone", data_dir=data_dir)
    assert dataset.sizes == {"train": 14, "validation": 2, "test": 4}


def test_test_images_alone(write_tfds):
    features = {
        "image": tfds.features.Image(shape=(12, 12, 3)),
        "label": tfds.features.ClassLabel(names=["owl", "bat", "red_fox", "asp"]),
    }
    data_dir = write_tfds("hard", {"test": _examples([3, 1, 3, 1, 1], 3)}, features)
    dataset = load_dataset("hard", data_dir=data_dir)
    # Classes without images are no classes of the set.
    assert dataset.class_names == ("bat", "asp")
    assert dataset.sizes == {"test": 5}
    test = dataset.split("test")
    np.testing.assert_array_equal(
        test.labels, np.array([1, 0, 1, 0, 0])[test.images[:, 5, 5, 0] // 10]
    )


def test_test_images_without_labels_alone_are_refused(write_tfds):
    data_dir = write_tfds("unknown", {"test": _examples([-1, -1], 3)}, _features())
    with pytest.raises(ValueError, match=r"with labels. Received: \['test'\]"):
        load_dataset("unknown", data_dir=data_dir)


def test_sets_without_labels_are_refused(write_tfds):
    features = {"image": tfds.features.Image(shape=(12, 12, 3))}
    images = [{"image": np.zeros((12, 12, 3), np.uint8)}]
    data_dir = write_tfds("pictures", {"train": images}, features)
    with pytest.raises(ValueError, match="one image and one class label"):
        load_dataset("pictures", data_dir=data_dir)


@pytest.mark.parametrize("memory_limit", [4.0, 0.0])
def test_images_are_those_that_tensorflow_datasets_reads(write_tfds, memory_limit):
    labels = [0, 1] * 10
    splits = {"train": _examples(labels, 3), "test": _examples([1, 0, 1], 3)}
    data_dir = write_tfds("sharded", splits, _features(), shards=3)
    assert len(list(data_dir.glob("sharded/1.0.0/*train*"))) == 3
    dataset = load_dataset("sharded", data_dir=data_dir, memory_limit=memory_limit)
    whole = dataset.sources["train"]()
    expected = tfds.load("sharded", split="train", data_dir=data_dir)
    expected = list(tfds.as_numpy(expected))
    np.testing.assert_array_equal(whole.labels, [row["label"] for row in expected])
    np.testing.assert_array_equal(whole.images, [row["image"] for row in expected])
    train = dataset.split("train")
    assert isinstance(train.images, EncodedImages) == (memory_limit == 0)
    batches = training_batches(train, batch_size=6)
    for images, labels in batches.take(3):
        np.testing.assert_array_equal(images[:, 5, 5, 0] // 10 % 2, labels)


@pytest.mark.parametrize("memory_limit", [4.0, 0.0])
def test_damaged_images_are_named(write_tfds, memory_limit):
    data_dir = write_tfds("alone", {"train": _examples([0, 1] * 3, 3)}, _features())
    dataset = load_dataset("alone", data_dir=data_dir, memory_limit=memory_limit)
    whole = dataset.sources["all"]()  # labels and checksums are read here
    (file,) = data_dir.glob("alone/1.0.0/*tfrecord*")
    content = file.read_bytes()
    file.write_bytes(content.replace(b"IHDR", b"IHDX", 2))
    with pytest.raises(ValueError, match=r"2 images cannot be used.*, byte \d+"):
        whole.images.check()
    file.write_bytes(content[:-40])
    with pytest.raises(ValueError, match=r"is damaged .*prepared again"):
        whole.in_memory()


def test_files_that_are_fetched_by_hand_are_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"files are there.*img_val\.tar") as raised:
        load_dataset("imagenet2012", data_dir=tmp_path)
    assert "\n" not in str(raised.value)
    assert str(tmp_path / "downloads" / "manual") in str(raised.value)


def test_other_formats_are_refused(write_tfds):
    data_dir = write_tfds("alone", {"train": _examples([0, 1], 3)}, _features())
    record = data_dir / "alone" / "1.0.0" / "dataset_info.json"
    text = record.read_text()
    assert '"fileFormat": "tfrecord"' in text
    record.write_text(text.replace('"tfrecord"', '"array_record"'))
    with pytest.raises(ValueError, match=r"stored as TFRecord.*as array_record"):
        load_dataset("alone", data_dir=data_dir)
