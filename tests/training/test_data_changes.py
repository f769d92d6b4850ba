"""A run goes on with the data that it was begun with, or not at all."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from v1keras.data import load_dataset
from v1keras.data.folders import find_images, fingerprint
from v1keras.evaluation import EvaluateConfig, evaluate
from v1keras.files import write_json
from v1keras.training import DistillConfig, Run, distill, open_dataset, train
from v1keras.training.data_changes import data_changes
from v1keras.training.held_out import open_run_dataset
from v1keras.training.opening import make_record
from v1keras.training.teacher import teacher_changes

CLASSES = ("cat", "dog", "fox")


@pytest.fixture
def folder(tmp_path):
    """Class folders of 20 images each."""
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "pets" / name).mkdir(parents=True)
        for index in range(20):
            image = generator.integers(0, 256, (32, 32, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "pets" / name / f"{index:02d}.png"), image)
    return tmp_path / "pets"


def rename_class(folder):
    (folder / "dog").rename(folder / "wolf")


def add_images(folder):
    for index in range(5):
        shutil.copy(folder / "cat" / "00.png", folder / "cat" / f"new_{index}.png")


def remove_images(folder):
    for index in range(10):
        (folder / "dog" / f"{index:02d}.png").unlink()


def add_class(folder):
    shutil.copytree(folder / "dog", folder / "owl")


def remove_class(folder):
    shutil.rmtree(folder / "dog")


def change_pixels(folder):
    file = folder / "cat" / "03.png"
    cv2.imwrite(str(file), 255 - cv2.imread(str(file)))


def enlarge(folder):
    for file in folder.rglob("*.png"):
        cv2.imwrite(str(file), cv2.resize(cv2.imread(str(file)), (48, 48)))


CHANGES = {
    rename_class: "class dog where `dataset` now has class wolf",
    add_class: "no class owl, which `dataset` now has",
    remove_class: "class dog, which `dataset` no longer has",
    add_images: r"36 train images where `dataset` now has 39 \(3 more\)",
    remove_images: r"36 train images where `dataset` now has 30 \(6 fewer\)",
    change_pixels: "other images, or other names of them, than `dataset` now has",
    enlarge: "images of 32 pixels where `dataset` now has 48",
}


FINISHED = {"best_epoch": 1, "validation_accuracy": 0.5}


def begin(config, **entries):
    """Writes what a run notes at its beginning, and an empty file for its model."""
    record = make_record(config, "member", open_dataset(config))
    write_json(f"{config.out}/config.json", {**record, **entries})
    Path(config.out, "model.keras").touch()


@pytest.fixture
def config(tiny, change, folder):
    return change(tiny, dataset=str(folder), image_size=None, visual_degrees=None)


@pytest.mark.parametrize("result", [None, FINISHED], ids=["begun", "finished"])
@pytest.mark.parametrize("alter", CHANGES, ids=lambda alter: alter.__name__)
def test_changed_data_are_refused(config, folder, alter, result):
    begin(config, result=result)
    before = Path(config.out, "config.json").read_bytes()
    alter(folder)
    with pytest.raises(FileExistsError, match=f"hold the same run.*{CHANGES[alter]}"):
        train(config)
    assert Path(config.out, "config.json").read_bytes() == before


def test_the_same_data_are_the_same(config):
    begin(config)
    run = Run.open(config.out)
    assert data_changes(run, open_dataset(config)) == []


def test_another_crop_is_refused(config, change):
    begin(config)
    assert Run.open(config.out).crop_fraction == 1
    with pytest.raises(
        FileExistsError, match=r"`crop_fraction` of 1 where .* has 0\.5"
    ):
        train(change(config, crop_fraction=0.5))


def test_a_student_sees_the_crop_of_its_members(tiny, members, tmp_path):
    settings = {**vars(tiny), "out": str(tmp_path / "student")}
    config = DistillConfig(**settings, members=(members["no_noise"],))
    run = Run.open(members["no_noise"])
    teacher = dataclasses.replace(run, config={**run.config, "crop_fraction": 0.5})
    with pytest.raises(ValueError, match=r"crop_fraction=1, members with 0\.5"):
        distill(config, members=[teacher])
    assert not Path(config.out).exists()


def test_data_are_opened_with_the_crop_of_the_run(golden_dir, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(golden_dir / "saved_by_0.1.0" / "runs" / "base", run)
    record = json.loads((run / "config.json").read_text())
    write_json(run / "config.json", {**record, "crop_fraction": 0.5})
    evaluation = EvaluateConfig(
        models=(str(run),), dataset="shapes:24:24", out=str(tmp_path / "evaluation")
    )
    # Drawn images are not cropped, and so tell that it was asked for.
    for open_data in (
        lambda: open_run_dataset(Run.open(run)),
        lambda: evaluate(evaluation),
    ):
        with pytest.raises(ValueError, match=r"shapes.*crop_fraction=0\.5"):
            open_data()


def test_a_run_keeps_the_crop_of_version_0_1_0(config, folder):
    """That version showed all of the shorter side of ImageNet's photographs, too."""
    for number, name in enumerate(CLASSES):
        (folder / name).rename(folder / f"n0000000{number}")
    for file in folder.rglob("*.png"):
        cv2.imwrite(str(file), cv2.imread(str(file))[:-2])
    dataset = open_dataset(config)
    assert dataset.crop_fraction == 0.875
    begin(config, result=FINISHED)
    record = Path(config.out, "config.json")
    entries = json.loads(record.read_text())
    assert entries.pop("crop_fraction") == 0.875
    write_json(record, entries)
    run = train(config)
    assert run.crop_fraction == open_dataset(config, run).crop_fraction == 1
    with pytest.raises(FileExistsError, match=r"`crop_fraction` of 1 where .* 0\.875"):
        train(config, dataset)


def test_images_that_lay_on_their_side_are_other_images(folder):
    """Version 0.1.0 did not turn images as their EXIF data say."""
    file = folder / "cat" / "00.png"
    exif = Image.Exif()
    for orientation in (1, 6):
        exif[274] = orientation
        with Image.open(file) as image:
            image.save(file, exif=exif)
        changed = find_images(folder).splits
        as_before = hashlib.sha256()
        for name, files in changed.items():
            for index, path in enumerate(files.paths):
                size = Path(path).stat().st_size
                line = [name, files.ids[index], int(files.labels[index]), size]
                as_before.update(repr(line).encode())
                as_before.update(hashlib.sha256(Path(path).read_bytes()).digest())
        same = fingerprint(changed) == as_before.hexdigest()
        assert same == (orientation == 1)


def test_classes_in_another_order_are_refused(config):
    begin(config, class_names=["fox", "dog", "cat"])
    with pytest.raises(FileExistsError, match="its classes in another order"):
        train(config)


def test_a_finished_run_outlives_its_images(config, folder):
    begin(config, result=FINISHED)
    shutil.rmtree(folder)
    assert train(config).is_finished


def test_a_student_is_refused_too(tiny, members, tmp_path):
    settings = {**vars(tiny), "out": str(tmp_path / "student")}
    config = DistillConfig(**settings, members=(members["no_noise"],))
    write_json(
        f"{config.out}/config.json",
        {
            **make_record(config, "student", open_dataset(config)),
            "data": {"name": tiny.dataset, "fingerprint": "0" * 64, "sizes": {}},
        },
    )
    with pytest.raises(FileExistsError, match="other images"):
        distill(config)


def test_a_changed_teacher_is_refused(tiny, members, tmp_path):
    shutil.copytree(members["no_noise"], tmp_path / "teacher")
    settings = {**vars(tiny), "out": str(tmp_path / "student")}
    config = DistillConfig(**settings, members=(str(tmp_path / "teacher"),))
    teacher = Run.open(tmp_path / "teacher")
    record = make_record(config, "student", open_dataset(config), [teacher])
    write_json(f"{config.out}/config.json", record)
    assert teacher_changes(Run.open(config.out), [teacher]) == []
    shutil.copy(Path(members["standard"], "model.keras"), teacher.path)
    for result in (None, FINISHED):
        write_json(f"{config.out}/config.json", {**record, "result": result})
        Path(config.out, "model.keras").touch()
        with pytest.raises(
            FileExistsError,
            match=f"learnt from another model.keras than {teacher.path} now has",
        ):
            distill(config)


def test_a_teacher_may_move_and_must_stay_whole(tiny, members, tmp_path):
    shutil.copytree(members["no_noise"], tmp_path / "teacher")
    settings = {**vars(tiny), "out": str(tmp_path / "student")}
    config = DistillConfig(**settings, members=(str(tmp_path / "teacher"),))
    record = make_record(
        config, "student", open_dataset(config), [Run.open(tmp_path / "teacher")]
    )
    write_json(f"{config.out}/config.json", {**record, "result": FINISHED})
    Path(config.out, "model.keras").touch()
    (tmp_path / "teacher").rename(tmp_path / "elsewhere")
    moved = dataclasses.replace(config, members=(str(tmp_path / "elsewhere"),))
    assert distill(moved).is_finished
    more = dataclasses.replace(moved, members=(*moved.members, members["standard"]))
    with pytest.raises(FileExistsError, match=r"learnt from other members \(teacher\)"):
        distill(more)
    twice = dataclasses.replace(moved, members=moved.members * 2)
    with pytest.raises(ValueError, match="must not name a run twice"):
        distill(twice)


@pytest.mark.parametrize("name", ["base", "member", "interrupted", "student"])
def test_runs_of_version_0_1_0_know_their_data(golden_dir, name):
    run = Run.open(golden_dir / "saved_by_0.1.0" / "runs" / name)
    settings = run.config["settings"]
    dataset = load_dataset(settings["dataset"], image_size=settings["image_size"])
    assert data_changes(run, dataset) == []
