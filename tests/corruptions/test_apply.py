import subprocess
import sys

import numpy as np
import pytest

from v1keras.corruptions import CORRUPTIONS, SEVERITIES, corrupt, default_scale

ALL = tuple(CORRUPTIONS)
RANDOM = tuple(name for name in ALL if CORRUPTIONS[name].random)


@pytest.mark.parametrize("name", ALL)
def test_shape_dtype_and_change(name, images):
    before = images.copy()
    for severity in SEVERITIES:
        result = corrupt(images, name, severity, seed=0)
        assert result.dtype == np.uint8
        assert result.shape == images.shape
        assert np.any(result != images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_give_the_same_grey_levels(name, dtype, images):
    result = corrupt(images.astype(dtype), name, 3, seed=1)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result, corrupt(images, name, 3, seed=1))


@pytest.mark.parametrize("name", ALL)
def test_independent_of_batch_and_order(name, images):
    whole = corrupt(images, name, 4, seed=3)
    order = np.array([3, 0, 4, 1, 2])
    shuffled = corrupt(images[order], name, 4, seed=3, index=order)
    np.testing.assert_array_equal(shuffled, whole[order])
    single = corrupt(images[2:3], name, 4, seed=3, index=[2])
    np.testing.assert_array_equal(single, whole[2:3])


@pytest.mark.parametrize("name", RANDOM)
def test_randomness_depends_on_seed_and_index(name, images):
    same = np.repeat(images[:1], 2, axis=0)
    first = corrupt(same, name, 5, seed=0, index=[7, 8])
    assert np.any(first[0] != first[1])
    assert np.any(first != corrupt(same, name, 5, seed=1, index=[7, 8]))
    repeated = corrupt(same, name, 5, seed=0, index=[8, 8])
    np.testing.assert_array_equal(repeated[0], first[1])


@pytest.mark.parametrize("name", sorted(set(ALL) - set(RANDOM)))
def test_deterministic_ones_ignore_the_seed(name, images):
    np.testing.assert_array_equal(
        corrupt(images, name, 3, seed=0), corrupt(images, name, 3, seed=9)
    )


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(32, 32), (33, 70), (101, 47), (130, 300)])
def test_any_size(name, size, make_images):
    images = make_images(1, *size)
    for severity in SEVERITIES:
        for scale in ("tiny", "imagenet"):
            result = corrupt(images, name, severity, seed=0, scale=scale)
            assert result.shape == images.shape


@pytest.mark.parametrize("name", ALL)
def test_black_and_white_images_are_no_trouble(name):
    with np.errstate(all="raise"):
        for level in (0, 255):
            flat = np.full((1, 40, 40, 3), level, np.uint8)
            for severity in SEVERITIES:
                assert corrupt(flat, name, severity, seed=0).shape == flat.shape


@pytest.mark.parametrize("name", ALL)
def test_transposed_batches_and_empty_batches(name, images):
    view = images[:, ::-1, ::-1]
    np.testing.assert_array_equal(
        corrupt(view, name, 2, seed=0), corrupt(view.copy(), name, 2, seed=0)
    )
    assert corrupt(images[:0], name, 2, seed=0).shape == (0, 64, 64, 3)


def test_scale_follows_the_size(make_images):
    assert default_scale(64, 100) == "tiny"
    assert default_scale(64, 101) == "imagenet"
    images = make_images(1, 64, 64)
    automatic = corrupt(images, "contrast", 1, seed=0)
    np.testing.assert_array_equal(
        automatic, corrupt(images, "contrast", 1, seed=0, scale="tiny")
    )
    assert np.any(
        corrupt(images, "pixelate", 1, seed=0, scale="imagenet")
        != corrupt(images, "pixelate", 1, seed=0)
    )


def test_names_of_other_sources_are_accepted(images):
    np.testing.assert_array_equal(
        corrupt(images, "frosted_glass_blur", 2, seed=0),
        corrupt(images, "glass_blur", 2, seed=0),
    )


GOOD = np.zeros((2, 32, 32, 3), np.uint8)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"name": "rain"}, ValueError, "must be one of gaussian_noise"),
        ({"severity": 0}, ValueError, "`severity` must be integers in 1..5"),
        ({"severity": 6}, ValueError, "`severity` must be integers in 1..5"),
        ({"severity": 2.0}, TypeError, "`severity` must be an integer"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0"),
        ({"seed": None}, TypeError, "`seed` must be an integer"),
        ({"scale": "cifar"}, ValueError, "`scale` must be one of imagenet, tiny"),
        ({"index": [1]}, ValueError, "one integer for each of the 2 images"),
        ({"index": [0.5, 1]}, ValueError, "one integer for each of the 2 images"),
        ({"index": [-1, 1]}, ValueError, "`index` must be at least 0"),
        ({"images": GOOD[0]}, ValueError, r"\(B, H, W, 3\)"),
        ({"images": GOOD[..., :1]}, ValueError, r"\(B, H, W, 3\)"),
        ({"images": GOOD[..., [0, 1, 2, 2]]}, ValueError, r"\(B, H, W, 3\)"),
        ({"images": GOOD[:, :31]}, ValueError, "at least 32 x 32 pixels"),
        ({"images": GOOD.astype(np.int32)}, TypeError, "uint8 or float"),
        ({"images": GOOD.astype(bool)}, TypeError, "uint8 or float"),
        ({"images": GOOD - 1.0}, ValueError, r"must lie in 0..255"),
        ({"images": GOOD + 256.0}, ValueError, r"must lie in 0..255"),
        ({"images": GOOD * np.nan}, ValueError, r"must lie in 0..255"),
        (
            {"name": "frost", "frost_textures": "no/such/folder"},
            FileNotFoundError,
            "must be a folder with",
        ),
    ],
)
def test_bad_input(changes, error, message):
    arguments = {"images": GOOD, "name": "fog", "severity": 1, "seed": 0} | changes
    with pytest.raises(error, match=f"{message}.*Received: "):
        corrupt(**arguments)


def test_import_needs_no_tensorflow():
    code = (
        "import sys, types, pathlib;"
        "import importlib.util as u;"
        "spec = u.find_spec('v1keras');"
        "package = types.ModuleType('v1keras');"
        "package.__path__ = list(spec.submodule_search_locations);"
        "sys.modules['v1keras'] = package;"
        "import v1keras.corruptions;"
        "loaded = {'tensorflow', 'keras', 'apache_beam'} & set(sys.modules);"
        "assert not loaded, loaded"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
