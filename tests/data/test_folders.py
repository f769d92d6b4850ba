"""Layouts of folders that people have: splits by any name, links, strays."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from v1keras.data import load_dataset
from v1keras.data.folders import find_images
from v1keras.data.images import UnusableImages
from v1keras.training import TrainConfig, train


@pytest.mark.parametrize(
    "names",
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("Train", "Test"),
        ("TRAIN", "VAL"),
        ("train", "valid"),
        ("train", "validation"),
        ("train-images", "testing-images"),
        ("train", "test", "val"),
        ("Training", "Testing", "Validation"),
        ("train_data", "test data", "ValidationSet"),
    ],
)
def test_split_folders_by_any_usual_name(tmp_path, write_classes, names):
    counts = (5, 2, 3)
    for name, count in zip(names, counts, strict=False):
        write_classes(tmp_path / name, count=count)
    folders = find_images(tmp_path)
    assert folders.class_names == ("cat", "dog", "owl")
    roles = ("train", "test", "validation")[: len(names)]
    assert {role: len(f.paths) for role, f in folders.splits.items()} == {
        role: 3 * count for role, count in zip(roles, counts, strict=False)
    }
    for role, name in zip(roles, names, strict=True):
        assert folders.splits[role].paths[0].startswith(str(tmp_path / name) + os.sep)


def test_the_usual_names_win(tmp_path, write_classes):
    """What was read before synonyms were known is read still."""
    for count, name in enumerate(("train", "Training", "val", "validation"), start=2):
        write_classes(tmp_path / name, count=count)
    splits = find_images(tmp_path).splits
    assert {role: Path(files.paths[0]).parts[-3] for role, files in splits.items()} == {
        "train": "train",
        "test": "val",
        "validation": "validation",
    }


def test_archives_that_repeat_the_name_of_a_split(tmp_path, write_classes):
    write_classes(tmp_path / "seg_train" / "seg_train", count=5)
    write_classes(tmp_path / "seg_test" / "seg_test", count=2)
    (tmp_path / "seg_pred").mkdir()
    splits = find_images(tmp_path).splits
    assert len(splits["train"].paths) == 15 and len(splits["test"].paths) == 6
    assert splits["test"].ids[0] == "cat/cat_0.png"


def test_training_images_alone_in_a_split_folder(tmp_path, write_classes):
    write_classes(tmp_path / "Training")
    with pytest.raises(ValueError, match=r"must hold train/.*Training"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("names", [("val",), ("Test",), ("test", "val")])
def test_test_images_alone(tmp_path, write_classes, names):
    root = tmp_path / "data"
    for count, name in enumerate(names, start=2):
        write_classes(root / name, count=count)
    dataset = load_dataset(root)
    assert dataset.sizes == {"test": 6}
    assert dataset.split("test").ids[0] == "cat/cat_0.png"
    dataset.check_images()
    with pytest.raises(ValueError, match=r"must be one of test, .*name='train'"):
        dataset.split("train")
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="must have images to train on"):
        train(TrainConfig(dataset=str(root), out=str(out)))
    assert not out.exists()


@pytest.mark.parametrize("name", ["Train", "train"])
def test_split_folders_without_classes(tmp_path, write_classes, name):
    write_classes(tmp_path, (name, "Test"))
    with pytest.raises(ValueError, match="all with class folders"):
        load_dataset(tmp_path)


def test_two_folders_of_one_split(tmp_path, write_classes):
    for name in ("Training", "training_set", "Test"):
        write_classes(tmp_path / name)
    with pytest.raises(
        ValueError, match=r"one folder of train .* Training, training_s"
    ):
        load_dataset(tmp_path)


def test_a_class_may_be_called_like_a_split(tmp_path, write_classes):
    write_classes(tmp_path, ("Bus", "Train", "Valid"))
    assert find_images(tmp_path).class_names == ("Bus", "Train", "Valid")


@pytest.mark.parametrize("root", ["", "train"])
def test_classes_that_hold_the_same_folders_are_none(tmp_path, write_classes, root):
    for name in ("colour", "grey", "segmented"):
        write_classes(tmp_path / root / name)
    write_classes(tmp_path / "colour" / "extra", ())
    if root:
        for name in ("colour", "grey", "segmented"):
            write_classes(tmp_path / "val" / name)
    with pytest.raises(
        ValueError, match=r"colour, grey, segmented hold nothing .* cat, dog, owl"
    ):
        load_dataset(tmp_path)


def test_deeper_folders_within_classes_are_allowed(tmp_path, write_classes):
    write_classes(tmp_path / "cat", ("images",))
    write_classes(tmp_path / "dog", ("images",))
    write_classes(tmp_path / "dog", ("puppies",))
    assert len(find_images(tmp_path).splits["all"].paths) == 12


def test_a_folder_of_images_asks_for_its_parent(tmp_path, write_classes):
    write_classes(tmp_path, count=7)
    with pytest.raises(
        ValueError,
        match=r"cat, which holds 7 images and no class folders; did you mean",
    ):
        load_dataset(tmp_path / "cat")
    shutil.rmtree(tmp_path / "owl")
    shutil.rmtree(tmp_path / "dog")
    with pytest.raises(ValueError, match="holds the class folder cat alone"):
        load_dataset(tmp_path)


def test_links_to_folders_within_a_class_are_followed(tmp_path, write_classes):
    write_classes(tmp_path / "set", count=4)
    elsewhere = write_classes(tmp_path / "more", ("cats",), count=3) / "cats"
    (tmp_path / "set" / "cat" / "linked").symlink_to(elsewhere)
    files = find_images(tmp_path / "set").splits["all"]
    np.testing.assert_array_equal(np.bincount(files.labels), [7, 4, 4])
    assert "cat/linked/cats_2.png" in files.ids


@pytest.mark.parametrize("link", ["aaa", "zzz", "cat/up", "cat/deep/up"])
@pytest.mark.parametrize("target", [".", "cat", "dog"])
def test_links_to_images_of_the_set_itself_are_refused(
    tmp_path, write_classes, link, target
):
    write_classes(tmp_path)
    write_classes(tmp_path / "cat", ("deep",))
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(ValueError, match=r"there once\. Received: .*, a link to "):
        find_images(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path, write_classes):
    write_classes(tmp_path)
    locked = tmp_path / "cat" / "locked"
    locked.mkdir(mode=0)
    with pytest.raises(PermissionError, match="locked"):
        find_images(tmp_path)


def test_files_that_are_left_out_are_counted(tmp_path, write_classes):
    write_classes(tmp_path / "train", count=3)
    write_classes(tmp_path / "test", count=2)
    for name in (
        "train/cat/a.HEIC",
        "train/dog/b.heic",
        "test/owl/c.gif",
        "train/cat/d",
    ):
        (tmp_path / name).write_bytes(b"x")
    shutil.copy(tmp_path / "train/cat/cat_0.png", tmp_path / "train/stray.png")
    dataset = load_dataset(tmp_path)
    assert dataset.left_out == {
        "*.heic": 2,
        "*.gif": 1,
        "without an ending": 1,
        "images outside of class folders": 1,
    }
    assert dataset.summary().endswith(
        "20 px; left out: 1 *.gif, 2 *.heic, 1 images outside of class folders, "
        "1 without an ending"
    )


def test_folders_of_systems_are_no_data(tmp_path, write_classes):
    write_classes(tmp_path, count=5)
    found = find_images(tmp_path)
    for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        shutil.copytree(tmp_path / "cat", tmp_path / "dog" / name)
        shutil.copytree(tmp_path / "cat", tmp_path / name)
    again = find_images(tmp_path)
    assert again.class_names == found.class_names
    assert again.splits["all"].ids == found.splits["all"].ids


def test_a_class_may_begin_with_an_underscore(tmp_path, write_classes):
    write_classes(tmp_path, count=5)
    shutil.copytree(tmp_path / "cat", tmp_path / "_other")
    assert "_other" in find_images(tmp_path).class_names


def test_a_class_of_skipped_files_only(tmp_path, write_classes):
    write_classes(tmp_path)
    (tmp_path / "elk").mkdir()
    (tmp_path / "elk" / "a.avif").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"no image in .*elk, only 1 \*\.avif"):
        find_images(tmp_path)


def test_the_summary_names_the_classes_in_one_line(tmp_path, write_classes):
    write_classes(tmp_path, [f"class {letter}" for letter in "abcdefg"], count=10)
    summary = load_dataset(tmp_path, validation_fraction=0.2).summary()
    assert summary == (
        f"{tmp_path}: 7 classes (class a, class b, class c, class d, class e and 2 "
        "more), 42 train, 14 validation, 14 test images of 20 px"
    )


def test_a_class_of_one_image_is_named(tmp_path, write_classes):
    write_classes(tmp_path / "train", ("cat", "dog"))
    write_classes(tmp_path / "train", ("owl", "rat"), count=1)
    write_classes(tmp_path / "val", ("cat", "dog", "owl", "rat"))
    with pytest.raises(ValueError, match="one image of owl, rat"):
        load_dataset(tmp_path).check_images()


@pytest.mark.parametrize("layout", ["split", "classes"])
@pytest.mark.parametrize("memory_limit", [4.0, 0.0])
def test_all_damaged_images_are_named_at_once(
    tmp_path, write_classes, layout, memory_limit
):
    if layout == "split":
        write_classes(tmp_path / "train", count=80)
        write_classes(tmp_path / "test", count=4)
        names = ["train/cat/cat_3.png", "train/owl/owl_71.png", "test/dog/dog_0.png"]
    else:
        write_classes(tmp_path, count=70)
        names = [f"dog/dog_{i}.png" for i in range(70)]
    load_dataset(tmp_path, memory_limit=memory_limit).check_images()
    for name in names:
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
    dataset = load_dataset(tmp_path, memory_limit=memory_limit)
    with pytest.raises(UnusableImages, match=f"^{len(names)} images") as caught:
        dataset.check_images()
    assert len(caught.value.problems) == len(names)
    for name in names:
        assert str(tmp_path / name) in str(caught.value)


@pytest.mark.parametrize("position", [0, 7, -1])
@pytest.mark.parametrize("size", [(20, 21), (24, 24)])
def test_one_image_of_another_size_makes_a_set_mixed(
    tmp_path, write_classes, position, size
):
    write_classes(tmp_path, count=9)
    assert load_dataset(tmp_path).image_size == 20
    path = sorted((tmp_path / "dog").iterdir())[position]
    cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))
    assert load_dataset(tmp_path).image_size == 224


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif"])
def test_the_size_of_every_format_is_found(tmp_path, write_classes, suffix):
    write_classes(tmp_path, size=(26, 26), suffix=suffix)
    assert load_dataset(tmp_path).image_size == 26


def test_pipes_are_not_opened(tmp_path, write_classes):
    write_classes(tmp_path)
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    with pytest.raises(ValueError, match=r"must be a file.*pipe\.png"):
        load_dataset(tmp_path)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/secret.png", "a/../../b.png"])
def test_annotations_stay_in_their_folder(tmp_path, write_classes, name):
    write_classes(tmp_path / "train")
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "val_annotations.txt").write_text(f"{name}\tcat\n")
    with pytest.raises(
        ValueError, match=r"must name files of val/images.*(secret|b)\.png"
    ):
        load_dataset(tmp_path)
