import shutil

import cv2
import numpy as np
import pytest

from v1keras.data import SHAPES, load_dataset
from v1keras.data.images import ImageFiles, read_image
from v1keras.data.splits import stratified_split


def _write_tiny_imagenet(write_classes, root, class_names=("n01", "n02", "n03")):
    """The official layout with 6 training and 2 validation images a class."""
    staging = write_classes(root / "staging", class_names, count=8)
    lines = []
    (root / "val" / "images").mkdir(parents=True)
    for name in class_names:
        (root / "train" / name / "images").mkdir(parents=True)
        (root / "train" / name / f"{name}_boxes.txt").write_text("boxes")
        for index in range(8):
            source = staging / name / f"{name}_{index}.png"
            if index < 6:
                target = root / "train" / name / "images" / f"{name}_{index}.JPEG"
            else:
                target = root / "val" / "images" / f"val_{name}_{index}.JPEG"
                lines.insert(0, f"{target.name}\t{name}\t0\t0\t9\t9")
            shutil.move(source, target)
    shutil.rmtree(staging)
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "words.txt").write_text(
        "n01\tcrane, wading bird\nn02\tgoldfish, Carassius auratus\n"
        "n03\tcrane, machine\nn04\tother\n"
    )
    return root


@pytest.fixture
def tiny(tmp_path, write_classes):
    return _write_tiny_imagenet(write_classes, tmp_path / "tiny")


def test_shapes_are_opened_by_name():
    dataset = load_dataset("shapes:120:48")
    assert dataset.class_names == SHAPES
    assert dataset.sizes == {"train": 108, "validation": 12, "test": 48}
    train, test = dataset.split("train"), dataset.split("test")
    assert train.images.shape == (108, 64, 64, 3) and train.images.dtype == np.uint8
    # No test image is a training image.
    assert not set(map(bytes, train.images)) & set(map(bytes, test.images))


def test_shapes_fingerprints_tell_sizes_apart():
    names = ["shapes:120:48", "shapes:132:48"]
    prints = {
        load_dataset(n, image_size=s).fingerprint for n in names for s in (32, 64)
    }
    assert len(prints) == 4


@pytest.mark.parametrize("name", ["shapes:x", "shapes:3", "shapes:100:100:100"])
def test_bad_numbers_of_shapes(name):
    with pytest.raises(ValueError, match=f"TRAIN:TEST.*Received: name={name}"):
        load_dataset(name)


def test_tiny_imagenet_layout(tiny):
    dataset = load_dataset(tiny, validation_fraction=0.3)
    assert dataset.class_names == ("n01", "n02", "n03")
    assert dataset.display_names == (
        "crane, wading bird",
        "goldfish",
        "crane, machine",
    )
    assert dataset.image_size == 20
    assert dataset.sizes == {"train": 12, "validation": 6, "test": 6}
    test = dataset.split("test")
    np.testing.assert_array_equal(test.labels, [0, 0, 1, 1, 2, 2])
    assert test.ids[2] == "n02/val_n02_6.JPEG"
    # The grey level of an image is 40 times its class plus its number.
    np.testing.assert_array_equal(test.images[:, 0, 0, 0], [6, 7, 46, 47, 86, 87])


def test_the_fold_divides_the_training_images(tiny):
    dataset = load_dataset(tiny, validation_fraction=0.3)
    train, fold = dataset.split("train"), dataset.split("validation")
    assert not set(train.ids) & set(fold.ids)
    assert len(set(train.ids) | set(fold.ids)) == 18
    np.testing.assert_array_equal(np.bincount(fold.labels), [2, 2, 2])
    for split in (train, fold):
        expected = [
            40 * label + int(name[-6])
            for label, name in zip(split.labels, split.ids, strict=True)
        ]
        np.testing.assert_array_equal(split.images[:, 0, 0, 0], expected)


def test_the_seed_draws_the_fold_and_nothing_else(tiny):
    opened = [load_dataset(tiny, validation_fraction=0.3, seed=s) for s in (0, 0, 1)]
    folds = [set(dataset.split("validation").ids) for dataset in opened]
    assert folds[0] == folds[1] != folds[2]
    assert opened[0].split("test").ids == opened[2].split("test").ids
    assert opened[0].fingerprint == opened[2].fingerprint


def test_choosing_on_the_test_images_keeps_all_training_images(tiny):
    dataset = load_dataset(tiny, validation_source="test")
    assert dataset.sizes == {"train": 18, "validation": 6, "test": 6}
    assert dataset.split("validation").ids == dataset.split("test").ids
    assert dataset.validation_source == "test"


def test_a_subset_of_tiny_imagenet_is_made_by_removing_training_folders(tiny):
    shutil.rmtree(tiny / "train" / "n02")
    dataset = load_dataset(tiny)
    assert dataset.class_names == ("n01", "n03")
    np.testing.assert_array_equal(dataset.split("test").labels, [0, 0, 1, 1])


def test_missing_validation_images_are_named(tiny):
    (tiny / "val" / "images" / "val_n02_6.JPEG").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 images .*val_n02_6\.JPEG"):
        load_dataset(tiny)


def test_a_class_without_validation_images_is_named(tiny):
    annotations = tiny / "val" / "val_annotations.txt"
    lines = [line for line in annotations.read_text().splitlines() if "n02" not in line]
    annotations.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="none for n02"):
        load_dataset(tiny)


@pytest.mark.parametrize("held_out", ["val", "test", "validation"])
def test_train_and_held_out_folders(tmp_path, write_classes, held_out):
    write_classes(tmp_path / "train", count=5)
    write_classes(tmp_path / held_out, count=2)
    dataset = load_dataset(tmp_path, validation_fraction=0.2)
    assert dataset.sizes == {"train": 12, "validation": 3, "test": 6}
    assert dataset.class_names == dataset.display_names == ("cat", "dog", "owl")


def test_a_set_of_three_folders_brings_its_own_validation_images(
    tmp_path, write_classes
):
    for name, count in (("train", 5), ("val", 2), ("test", 3)):
        write_classes(tmp_path / name, count=count)
    dataset = load_dataset(tmp_path)
    assert dataset.sizes == {"train": 15, "validation": 6, "test": 9}
    assert dataset.validation_source == "folder"
    chosen_on_test = load_dataset(tmp_path, validation_source="test")
    assert chosen_on_test.sizes == {"train": 15, "validation": 9, "test": 9}


def test_test_images_without_labels_are_not_used(tmp_path, write_classes):
    write_classes(tmp_path / "train")
    write_classes(tmp_path / "val", count=2)
    (tmp_path / "test").mkdir()
    cv2.imwrite(str(tmp_path / "test" / "a.png"), np.zeros((20, 20, 3), np.uint8))
    assert load_dataset(tmp_path).sizes["test"] == 6


def test_class_folders_only_are_divided(tmp_path, write_classes):
    write_classes(tmp_path, count=10)
    (tmp_path / ".hidden").mkdir()
    opened = [load_dataset(tmp_path, validation_fraction=0.2, seed=s) for s in (0, 1)]
    assert opened[0].sizes == {"train": 18, "validation": 6, "test": 6}
    ids = [{n: set(d.split(n).ids) for n in d.sizes} for d in opened]
    assert not ids[0]["train"] & (ids[0]["test"] | ids[0]["validation"])
    assert not ids[0]["validation"] & ids[0]["test"]
    # Runs with different seeds must not train on each other's test images.
    assert ids[0]["test"] == ids[1]["test"]


def test_folders_of_different_classes(tmp_path, write_classes):
    write_classes(tmp_path / "train", ("cat", "dog", "owl"))
    write_classes(tmp_path / "val", ("cat", "dog", "elk"))
    with pytest.raises(ValueError, match="missing there: owl; only there: elk"):
        load_dataset(tmp_path)


def test_an_empty_class_is_named(tmp_path, write_classes):
    write_classes(tmp_path)
    (tmp_path / "elk").mkdir()
    (tmp_path / "elk" / "notes.txt").write_text("none yet")
    with pytest.raises(ValueError, match=r"no image in .*elk"):
        load_dataset(tmp_path)


def test_an_unreadable_image_is_named(tmp_path, write_classes):
    write_classes(tmp_path, count=6)
    bad = tmp_path / "dog" / "dog_3.png"
    bad.write_bytes(b"not an image")
    dataset = load_dataset(tmp_path)
    with pytest.raises(ValueError, match=r"dog_3\.png is damaged"):
        for name in ("train", "validation", "test"):
            dataset.split(name)


def test_image_size_of_mixed_images(tmp_path, write_classes):
    write_classes(tmp_path, ("a", "b"), size=(20, 30))
    assert load_dataset(tmp_path).image_size == 224
    dataset = load_dataset(tmp_path, image_size=16)
    assert dataset.split("test").images.shape == (2, 16, 16, 3)


def test_large_sets_stay_on_disk(tiny):
    here, there = (
        load_dataset(tiny, memory_limit=limit).split("train") for limit in (4.0, 0.0)
    )
    assert isinstance(there.images, ImageFiles)
    np.testing.assert_array_equal(np.asarray(there.images), here.images)
    np.testing.assert_array_equal(there.labels, here.labels)


def test_the_fingerprint_sees_a_changed_image(tiny):
    before = load_dataset(tiny).fingerprint
    path = tiny / "train" / "n02" / "images" / "n02_1.JPEG"
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(bytes(data))
    assert load_dataset(tiny).fingerprint != before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "`image_size` must be positive"),
        ({"validation_fraction": 0.0}, "between 0 and 1"),
        ({"validation_fraction": 1.0}, "between 0 and 1"),
        ({"validation_source": "train"}, "one of fold, test"),
        ({"seed": -1}, "`seed` must be at least 0"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        load_dataset("shapes", **arguments)


def test_unknown_split():
    with pytest.raises(ValueError, match=r"train, validation, test.*'val'"):
        load_dataset("shapes:24:24").split("val")


def test_a_missing_folder():
    with pytest.raises(
        FileNotFoundError, match=r"name='\./nowhere/images', which is no folder"
    ):
        load_dataset("./nowhere/images")


def test_an_unknown_name_lists_what_is_accepted(tmp_path):
    with pytest.raises(ValueError, match=r"Tiny ImageNet layout.*'nowhere'"):
        load_dataset("nowhere", data_dir=tmp_path)


def test_stratified_split_takes_the_same_share_of_every_class():
    labels = np.repeat([0, 1, 2], [100, 40, 2])
    kept, held_out = stratified_split(labels, 0.1, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[held_out]), [10, 4, 1])
    np.testing.assert_array_equal(np.sort(np.r_[kept, held_out]), np.arange(142))
    with pytest.raises(ValueError, match="at least two images"):
        stratified_split(np.array([0, 0, 1]), 0.5, seed=0)


def test_real_tiny_imagenet(real_data_dir):
    root = real_data_dir / "tiny-imagenet-50"
    dataset = load_dataset(root)
    assert dataset.num_classes == 50 and dataset.image_size == 64
    assert dataset.display_names[dataset.class_names.index("n01443537")] == "goldfish"
    assert dataset.sizes == {"train": 23750, "validation": 1250, "test": 2500}
    test = dataset.split("test")
    np.testing.assert_array_equal(np.bincount(test.labels), [50] * 50)
    annotated = dict(
        line.split("\t")[:2]
        for line in (root / "val" / "val_annotations.txt").read_text().splitlines()
    )
    for index in range(0, 2500, 100):
        wnid, _, name = test.ids[index].partition("/")
        assert annotated[name] == wnid == dataset.class_names[test.labels[index]]
        image = cv2.imread(str(root / "val" / "images" / name))
        np.testing.assert_array_equal(test.images[index], image[..., ::-1])


_WORDNET_IDS = ("n01440764", "n01443537")


@pytest.mark.parametrize(
    ("class_names", "size", "arguments", "expected"),
    [
        (_WORDNET_IDS, (24, 20), {}, 0.875),
        (_WORDNET_IDS, (24, 20), {"image_size": 14}, 0.875),
        (_WORDNET_IDS, (24, 20), {"crop_fraction": 1.0}, 1.0),
        # As Tiny ImageNet: someone has scaled and cropped them already.
        (_WORDNET_IDS, (20, 20), {}, 1.0),
        (_WORDNET_IDS, (20, 20), {"image_size": 14}, 1.0),
        (_WORDNET_IDS, (20, 20), {"crop_fraction": 0.7}, 0.7),
        (("cat", "n01443537"), (24, 20), {}, 1.0),
    ],
)
@pytest.mark.parametrize("memory_limit", [0.0, 4.0])
def test_photographs_of_imagenet_are_cropped(
    tmp_path, write_classes, class_names, size, arguments, expected, memory_limit
):
    folder = write_classes(tmp_path / "data", class_names, count=5, size=size)
    dataset = load_dataset(folder, memory_limit=memory_limit, **arguments)
    assert dataset.crop_fraction == expected
    for name in ("train", "validation", "test"):
        split = dataset.split(name)
        path = folder / split.ids[0]
        shown = read_image(path, dataset.image_size, expected)
        np.testing.assert_array_equal(split.images[0], shown)
    assert ("the centre of" in dataset.summary()) == (expected < 1)


@pytest.mark.parametrize("crop_fraction", [0.0, -1.0, 1.5, float("nan")])
def test_impossible_crops_are_refused(tmp_path, crop_fraction):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        load_dataset(tmp_path, crop_fraction=crop_fraction)


def test_drawn_shapes_are_not_cropped():
    assert load_dataset("shapes:24:24", crop_fraction=1.0).crop_fraction == 1
    with pytest.raises(ValueError, match="must be 1 for shapes"):
        load_dataset("shapes:24:24", crop_fraction=0.875)
