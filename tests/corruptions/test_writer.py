import json
import multiprocessing
import os
import pickle

import cv2
import numpy as np
import pytest

from v1keras.corruptions import (
    BENCHMARK,
    CorruptionsConfig,
    corrupt,
    write_corrupted,
)
from v1keras.corruptions.chunks import chunks_of
from v1keras.corruptions.writer import MANIFEST, file_names
from v1keras.data import Split
from v1keras.data.images import ImageFiles

NAMES = ("cat", "dog")
IDS = ("cat/a.JPEG", "dog/b.png", "cat/c.JPEG", "test/3", "dog/e.x.JPEG")
LABELS = (0, 1, 0, 1, 1)
FILES = ("cat/a", "dog/b", "cat/c", "dog/test_3", "dog/e.x")


class Clean:
    """As much of a data set as the writer needs."""

    def __init__(self, images, labels=LABELS, ids=IDS, fingerprint="f"):
        self.fingerprint = fingerprint
        self.class_names = NAMES
        self.image_size = images.shape[1]
        self.crop_fraction = 1.0
        self._split = Split("test", images, np.array(labels), tuple(ids))

    def split(self, name):
        return self._split


def write(images, out, fingerprint="f", **changes):
    settings = {"corruptions": ("fog", "contrast"), "severities": (1, 4), "workers": 1}
    clean = images if isinstance(images, Clean) else Clean(images)
    clean.fingerprint = fingerprint
    config = CorruptionsConfig(dataset="clean", out=str(out), **settings | changes)
    return write_corrupted(config, clean)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_layout_and_content(images, tmp_path):
    write(images, tmp_path / "c", format="png")
    expected = {
        f"{name}/{severity}/{file}.png"
        for name in ("fog", "contrast")
        for severity in (1, 4)
        for file in FILES
    }
    assert set(files_of(tmp_path / "c")) == expected | {MANIFEST}
    corrupted = corrupt(images, "fog", 4, seed=0)
    for image, file in zip(corrupted, FILES, strict=True):
        stored = cv2.imread(str(tmp_path / "c" / "fog" / "4" / f"{file}.png"))
        np.testing.assert_array_equal(stored[..., ::-1], image)


def test_jpeg_files_are_near(images, tmp_path):
    write(images, tmp_path / "c")
    stored = cv2.imread(str(tmp_path / "c" / "contrast" / "4" / "cat" / "a.JPEG"))
    expected = corrupt(images[:1], "contrast", 4, seed=0)[0]
    assert np.abs(stored[..., ::-1].astype(int) - expected).mean() < 3


def test_all_fifteen_by_five_by_default(images, tmp_path):
    config = CorruptionsConfig(dataset="clean", out=str(tmp_path / "c"), workers=1)
    folder = write_corrupted(config, Clean(images[:1], LABELS[:1], IDS[:1]))
    cells = {path.parts[-4:-2] for path in folder.glob("*/*/*/*")}
    assert cells == {
        (name, str(severity)) for name in BENCHMARK for severity in range(1, 6)
    }


def test_resumes_and_keeps_finished_files(images, tmp_path):
    out = tmp_path / "c"
    whole = files_of(write(images, out))
    missing = out / "fog" / "4" / "cat" / "c.JPEG"
    kept = out / "fog" / "4" / "cat" / "a.JPEG"
    missing.unlink()
    kept.write_bytes(b"kept")
    write(images, out)
    again = files_of(out)
    assert again.pop("fog/4/cat/a.JPEG") == b"kept"
    whole.pop("fog/4/cat/a.JPEG")
    assert again == whole


def test_more_cells_may_be_added_later(images, tmp_path):
    out = tmp_path / "c"
    write(images, out, corruptions=("fog",), severities=(1,))
    write(images, out)
    assert files_of(out) == files_of(write(images, tmp_path / "at_once"))


@pytest.mark.slow
def test_processes_write_the_same(make_images, tmp_path):
    clean = Clean(make_images(70, 32, 32), [0] * 70, map(str, range(70)))
    one, two = (
        write(
            clean,
            tmp_path / str(workers),
            corruptions=("glass_blur", "snow"),
            severities=(2,),
            seed=4,
            workers=workers,
        )
        for workers in (1, 2)
    )
    assert files_of(one) == files_of(two)


class EndsItsProcess:
    """Images that end the process that reads them, as the kernel does for memory."""

    shape = (40, 32, 32, 3)

    def __len__(self):
        return 40

    def subset(self, indices):
        return self

    def __getitem__(self, key):
        if multiprocessing.parent_process():
            os._exit(9)
        return np.zeros((len(range(40)[key]), 32, 32, 3), np.uint8)


def test_no_more_than_its_own_images_travel_with_a_chunk():
    names = [f"image_{index}.png" for index in range(100)]
    chunks = list(chunks_of(ImageFiles(names, 32), names))
    sent = [pickle.dumps(chunk) for chunk in chunks]
    for name in names:
        assert sum(name.encode() in each for each in sent) == 1


@pytest.mark.slow
def test_a_process_that_ends_is_one_error(tmp_path):
    clean = Clean(EndsItsProcess(), [0] * 40, map(str, range(40)))
    with pytest.raises(OSError, match=r"the same call resumes.*workers=2"):
        write(clean, tmp_path / "c", workers=2)


@pytest.mark.slow
def test_beam_writes_the_same(images, tmp_path):
    pytest.importorskip("apache_beam")
    write(images, tmp_path / "beam", runner="beam")
    assert files_of(tmp_path / "beam") == files_of(write(images, tmp_path / "local"))


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--runner=NoRunner", "--direct_num_workers=x"])
def test_wrong_options_of_beam_are_refused_at_once(option, images, tmp_path):
    pytest.importorskip("apache_beam")
    with pytest.raises(ValueError, match=r"beam_options` must be.*Received: "):
        write(images, tmp_path / "c", runner="beam", beam_options=(option,))
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed=0"),
        ({"format": "png"}, "format='jpeg'"),
        ({"fingerprint": "x"}, "source='f/test/64' instead of source='x/test/64'"),
    ],
)
def test_other_settings_need_another_folder(images, tmp_path, changes, message):
    write(images, tmp_path / "c")
    with pytest.raises(FileExistsError, match=f"same corrupted set.*{message}"):
        write(images, tmp_path / "c", **changes)


def test_a_folder_of_something_else_is_not_touched(images, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="no readable corruptions"):
        write(images, tmp_path)
    assert set(files_of(tmp_path)) == {"thesis.txt"}


@pytest.mark.parametrize(
    "changes",
    [
        {"corruptions": ()},
        {"corruptions": ("rain",)},
        {"severities": (0,)},
        {"severities": ()},
        {"scale": "cifar"},
        {"format": "webp"},
        {"workers": -1},
        {"runner": "spark"},
    ],
)
def test_bad_arguments_write_nothing(images, tmp_path, changes):
    with pytest.raises(ValueError, match="Received: "):
        write(images, tmp_path / "c", **changes)
    assert not (tmp_path / "c").exists()


def test_unfit_images_and_textures_write_nothing(images, tmp_path):
    with pytest.raises(ValueError, match="at least 32 x 32"):
        write(images[:, :31], tmp_path / "c")
    with pytest.raises(ValueError, match="RGB"):
        write(images[..., :1], tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="frost_textures"):
        write(
            images, tmp_path / "c", corruptions=("fog", "frost"), frost_textures="/no"
        )
    assert not (tmp_path / "c").exists()


def test_names_of_files_must_differ():
    with pytest.raises(ValueError, match=r"of its own. Received: cat/a\.JPEG"):
        file_names([0, 0], ["cat/a.png", "cat/a.JPEG"], NAMES)
    with pytest.raises(ValueError, match="names of folders"):
        file_names([0], ["a"], ["../cat"])


def test_manifest_says_what_was_written(images, tmp_path):
    write(images, tmp_path / "c")
    manifest = json.loads((tmp_path / "c" / MANIFEST).read_text())
    assert manifest["source"] == "f/test/64"
    assert manifest["images"] == 5
    assert manifest["scale"] == "tiny"
