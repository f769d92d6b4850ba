import json
import multiprocessing
import os

import cv2
import numpy as np
import pytest

from v1keras.corruptions import BENCHMARK, corrupt
from v1keras.corruptions.writer import MANIFEST, file_names, write_corrupted

NAMES = ("cat", "dog")
IDS = ("cat/a.JPEG", "dog/b.png", "cat/c.JPEG", "test/3", "dog/e.x.JPEG")
LABELS = (0, 1, 0, 1, 1)
FILES = ("cat/a", "dog/b", "cat/c", "dog/test_3", "dog/e.x")


def write(images, out, **changes):
    arguments = {"seed": 0, "corruptions": ("fog", "contrast"), "severities": (1, 4)}
    return write_corrupted(images, LABELS, IDS, NAMES, out, **arguments | changes)


def files_of(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_layout_and_content(images, tmp_path):
    ready = []
    write(images, tmp_path / "c", format="png", progress=lambda *x: ready.append(x))
    expected = {
        f"{name}/{severity}/{file}.png"
        for name in ("fog", "contrast")
        for severity in (1, 4)
        for file in FILES
    }
    assert set(files_of(tmp_path / "c")) == expected | {MANIFEST}
    assert ready[-1] == (20, 20)
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
    folder = write_corrupted(
        images[:1], LABELS[:1], IDS[:1], NAMES, tmp_path / "c", seed=0
    )
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
    images = make_images(70, 32, 32)
    arguments = {
        "labels": [0] * 70,
        "ids": [str(number) for number in range(70)],
        "class_names": NAMES,
        "corruptions": ("glass_blur", "snow"),
        "severities": (2,),
        "seed": 4,
    }
    one = write_corrupted(images, out=tmp_path / "one", workers=1, **arguments)
    two = write_corrupted(images, out=tmp_path / "two", workers=2, **arguments)
    assert files_of(one) == files_of(two)


class EndsItsProcess:
    """Images that end the process that reads them, as the kernel does for memory."""

    shape = (40, 32, 32, 3)

    def __len__(self):
        return 40

    def __getitem__(self, key):
        if multiprocessing.parent_process():
            os._exit(9)
        return np.zeros((len(range(40)[key]), 32, 32, 3), np.uint8)


@pytest.mark.slow
def test_a_process_that_ends_is_one_error(tmp_path):
    with pytest.raises(OSError, match=r"the same call goes on.*workers=2"):
        write_corrupted(
            EndsItsProcess(),
            [0] * 40,
            [str(number) for number in range(40)],
            NAMES,
            tmp_path / "c",
            seed=0,
            workers=2,
        )


@pytest.mark.slow
def test_beam_writes_the_same(images, tmp_path):
    pytest.importorskip("apache_beam")
    from v1keras.corruptions.beam import beam_runner

    write(images, tmp_path / "beam", runner=beam_runner())
    assert files_of(tmp_path / "beam") == files_of(write(images, tmp_path / "local"))


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--runner=NoRunner", "--direct_num_workers=x"])
def test_wrong_options_of_beam_are_refused_at_once(option):
    pytest.importorskip("apache_beam")
    from v1keras.corruptions.beam import beam_runner

    with pytest.raises(ValueError, match=r"beam_options must be.*Received: "):
        beam_runner([option])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed=0"),
        ({"format": "png"}, "format='jpeg'"),
        ({"source": "x"}, "source='' instead of source='x'"),
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
        {"workers": 0},
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
    with pytest.raises(ValueError, match=r"same name. Received: cat/a\.JPEG"):
        file_names([0, 0], ["cat/a.png", "cat/a.JPEG"], NAMES)
    with pytest.raises(ValueError, match="name of a folder"):
        file_names([0], ["a"], ["../cat"])


def test_manifest_says_what_was_written(images, tmp_path):
    write(images, tmp_path / "c", source="data")
    manifest = json.loads((tmp_path / "c" / MANIFEST).read_text())
    assert manifest["source"] == "data"
    assert manifest["images"] == 5
    assert manifest["scale"] == "tiny"
