import pytest

from v1keras.corruptions import (
    BENCHMARK,
    CATEGORIES,
    CORRUPTIONS,
    EXTRA,
    PARAMETERS,
    SCALES,
    canonical_name,
)


def test_fifteen_and_four_extra():
    assert len(BENCHMARK) == 15
    assert EXTRA == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert (*BENCHMARK, *EXTRA) == tuple(CORRUPTIONS)


def test_categories_hold_the_fifteen_in_their_published_order():
    assert tuple(CATEGORIES) == ("noise", "blur", "weather", "digital")
    assert sum(CATEGORIES.values(), ()) == BENCHMARK


@pytest.mark.parametrize("scale", SCALES)
def test_every_corruption_has_five_severities(scale):
    assert set(PARAMETERS[scale]) == set(CORRUPTIONS)
    assert all(len(row) == 5 for row in PARAMETERS[scale].values())


def test_zooms_end_where_the_published_ranges_end():
    ends = {
        scale: [round(zooms[-1], 2) for zooms in PARAMETERS[scale]["zoom_blur"]]
        for scale in SCALES
    }
    assert ends["imagenet"] == [1.11, 1.15, 1.20, 1.24, 1.30]
    assert ends["tiny"] == [1.06, 1.11, 1.15, 1.20, 1.25]


@pytest.mark.parametrize(
    ("other", "ours"),
    [
        ("frosted_glass_blur", "glass_blur"),
        ("frosted_glass_blur_3", "glass_blur"),
        ("elastic", "elastic_transform"),
        ("elastic_5", "elastic_transform"),
        ("fog.npy", "fog"),
        ("jpeg_compression.npy", "jpeg_compression"),
        ("Gaussian Noise", "gaussian_noise"),
        ("gaussian_blur_2", "gaussian_blur"),
        ("pixelate", "pixelate"),
    ],
)
def test_names_of_other_sources(other, ours):
    assert canonical_name(other) == ours


@pytest.mark.parametrize("name", ["", "labels.npy", "fogg", "noise", "fog_6"])
def test_unknown_names(name):
    with pytest.raises(ValueError, match=r"must be one of gaussian_noise.*Received"):
        canonical_name(name)
