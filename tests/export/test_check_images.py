import json
import shutil

import numpy as np
import pytest

from export.check_images import open_check_dataset, select_images
from export.source import open_source
from v1keras.corruptions import corrupt
from v1keras.data import load_dataset

DATA = "shapes:40:40"


def select(*paths, **settings):
    source = open_source([str(path) for path in paths])
    return select_images(source, open_check_dataset(source), count=10, **settings)


@pytest.fixture
def run(runs, tmp_path):
    """A copy whose settings can be changed."""

    def change(name="base", **settings):
        folder = tmp_path / f"{name}{len(list(tmp_path.iterdir()))}"
        shutil.copytree(runs / name, folder)
        config = json.loads((folder / "config.json").read_text())
        config["settings"] |= settings
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return change


def fold(seed):
    dataset = load_dataset(
        DATA,
        image_size=32,
        validation_fraction=0.4,
        validation_source="fold",
        seed=seed,
    )
    return dataset.split("validation")


def test_images_are_those_that_training_held_out(run):
    found = select(run(), run("standard"))
    assert found.split == "validation"
    expected = fold(3)
    assert len(found.truth) == 10 < len(expected)
    held_out = {image.tobytes() for image in expected.images}
    assert all(image.tobytes() in held_out for image in found.slices["clean"])
    other = {image.tobytes() for image in fold(4).images}
    assert held_out != other


def test_images_are_test_images_where_no_fold_is_unseen(run):
    test_images = load_dataset(DATA, image_size=32).split("test").images
    known = {image.tobytes() for image in test_images}
    for paths in (
        # The paper's way: no images were held out.
        [run(validation_source="test")],
        # One run trained on what the other held out.
        [run(split_seed=1), run(split_seed=2)],
    ):
        found = select(*paths)
        assert found.split == "test"
        assert all(image.tobytes() in known for image in found.slices["clean"])


def test_slices_show_the_same_images_corrupted(run):
    found = select(run(), corruptions=("contrast", "gaussian_noise"), severity=5)
    assert list(found.slices) == ["clean", "contrast/5", "gaussian_noise/5"]
    clean = found.slices["clean"]
    np.testing.assert_array_equal(
        found.slices["contrast/5"], corrupt(clean, "contrast", 5, seed=0)
    )
    stacked = found.stacked()
    assert stacked.shape == (30, 32, 32, 3)
    parts = found.divide(np.arange(30)[:, None])
    assert parts["contrast/5"][:, 0].tolist() == list(range(10, 20))
    np.testing.assert_array_equal(stacked[10:20], found.slices["contrast/5"])
