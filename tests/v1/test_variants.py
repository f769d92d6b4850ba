import dataclasses
import json

import numpy as np
import pytest

from v1keras.v1 import (
    NAMED_VARIANTS,
    NORMALIZING_CONTROLS,
    NORMALIZING_VARIANTS,
    V1_VARIANTS,
    VARIANTS,
    Variant,
    get_variant,
    sample_gabors,
    similar_cells,
)

# The table of the paper: noise gain, SF range, simple and complex cells. Where there is
# no highest frequency, that of the setting holds: 11.3 at the paper's size.
PAPER = {
    "standard": (1.0, 0.0, None, 256, 256),
    "sf_low": (1.0, 0.0, 2.0, 256, 256),
    "sf_mid": (1.0, 2.0, 5.6, 256, 256),
    "sf_high": (1.0, 5.6, None, 256, 256),
    "no_noise": (0.0, 0.0, None, 256, 256),
    "low_noise": (0.5, 0.0, None, 256, 256),
    "only_simple": (1.0, 0.0, None, 512, 0),
    "only_complex": (1.0, 0.0, None, 0, 512),
}


def test_the_eight_and_base():
    assert set(V1_VARIANTS) == set(PAPER)
    assert set(VARIANTS) == {*PAPER, "base"}
    for name, values in PAPER.items():
        v = VARIANTS[name]
        assert values == (
            v.noise_gain, v.sf_min, v.sf_max, v.simple_channels, v.complex_channels
        )  # fmt: skip
        assert v == Variant(
            name=name, noise_gain=values[0], sf_min=values[1], sf_max=values[2],
            simple_channels=values[3], complex_channels=values[4],
        )  # fmt: skip
        assert (v.gabor_seed, v.sf_corr, v.distribution) == (0, 0.75, "v1")


def test_five_share_one_bank():
    shared = ("standard", "no_noise", "low_noise", "only_simple", "only_complex")
    banks = [VARIANTS[name].sample() for name in shared]
    assert all(bank == banks[0] for bank in banks[1:])


def test_full_range_is_the_papers():
    assert VARIANTS["standard"].sample() == sample_gabors(512, sf_max=11.3)
    assert VARIANTS["sf_high"].sf_range == (5.6, 11.2)


def test_evnet_is_the_published_bank(golden_dir):
    golden = np.load(golden_dir / "evnet_gabors.npz")
    gabors = get_variant("evnet").sample()
    np.testing.assert_allclose(gabors.sf, golden["standard_seed0/sf"], rtol=1e-9)
    np.testing.assert_array_equal(gabors.channel_q0, golden["standard_seed0/channel"])
    without_m = dataclasses.replace(get_variant("evnet"), subcortical="no_m_cells")
    np.testing.assert_array_equal(
        without_m.sample().channel_q0, golden["no_m_seed0/channel"]
    )


def test_tables_do_not_overlap():
    tables = VARIANTS, NORMALIZING_VARIANTS, NORMALIZING_CONTROLS
    assert len(NAMED_VARIANTS) == sum(map(len, tables))
    plain = [name for name, variant in NAMED_VARIANTS.items() if variant.is_plain]
    assert plain == ["base"]


@pytest.mark.parametrize("variant", NAMED_VARIANTS.values())
def test_fields_survive_json(variant):
    assert Variant(**json.loads(json.dumps(variant.to_dict()))) == variant


def test_numbers_of_numpy_become_those_of_python():
    numbers = {"simple_channels": np.int64(8), "gabor_seed": np.uint32(7)}
    variant = Variant(name="own", **numbers, push_pull=np.float32(0.5))
    assert variant == Variant(
        name="own", simple_channels=8, gabor_seed=7, push_pull=0.5
    )
    assert Variant(**json.loads(json.dumps(variant.to_dict()))) == variant


@pytest.mark.parametrize("seed", [-1, 2**32, True, 0.0])
def test_a_seed_that_is_none_is_named(seed):
    with pytest.raises(ValueError, match=f"`gabor_seed` must be .*gabor_seed={seed}"):
        Variant(name="own", gabor_seed=seed)


def test_receptive_fields_of_ones_own():
    gabors = sample_gabors(5, seed=4)
    own = Variant(name="own", simple_channels=2, complex_channels=3, gabors=gabors)
    assert own.sample() is gabors
    assert own.sf_range == (gabors.sf.min(), gabors.sf.max())
    loaded = Variant(**json.loads(json.dumps(own.to_dict())))
    assert loaded == own and hash(loaded) == hash(own)
    with pytest.raises(ValueError, match="5 parameters, simple_channels=3"):
        dataclasses.replace(own, simple_channels=3)
    with pytest.raises(ValueError, match=r"below 1, .* channel 2"):
        dataclasses.replace(own, subcortical="no_p_cells")


def test_fields_of_version_0_1_0():
    old = {
        "name": "standard", "v1": True, "sf_min": 0.0, "sf_max": 11.3,
        "sf_corr": 0.75, "simple_channels": 256, "complex_channels": 256,
        "noise_gain": 1.0, "gabor_seed": 0, "distribution": "v1",
    }  # fmt: skip
    assert Variant(**old).sample() == VARIANTS["standard"].sample()


def test_similar_cells():
    gabors = sample_gabors(512)
    groups = similar_cells(gabors)
    assert set(groups) == set(range(groups.max() + 1))
    for group in (0, groups.max()):
        inside = groups == group
        assert gabors.sf[inside].max() / gabors.sf[inside].min() < 1.5
        # Twice the angle: orientations are equal after half a turn.
        double = np.deg2rad(2 * gabors.theta[inside])
        mean = np.angle(np.exp(1j * double).mean())
        away = np.abs(np.angle(np.exp(1j * (double - mean))))
        assert np.rad2deg(away).max() / 2 < 45


def test_names():
    assert get_variant("sf_low") is VARIANTS["sf_low"]
    own = Variant(name="mine", sf_max=4.0)
    assert get_variant(own) is own
    with pytest.raises(ValueError, match=r"base, standard, .*Did you mean sf_low"):
        get_variant("sf_lo")


@pytest.mark.parametrize(
    "change",
    [
        {"noise_gain": -1.0},
        {"simple_channels": -1},
        {"simple_channels": 0, "complex_channels": 0},
        {"sf_min": 20.0},
        {"distribution": "gauss"},
        {"name": ""},
        {"subcortical": "lgn"},
        {"divisive_normalization": "some"},
        {"push_pull": -0.5},
        {"push_pull": 0.5, "simple_channels": 0},
        {"contrast_sigma": 0.0},
        {"fano_factor": 0.0},
        {"kernel_size": 0},
        {"light_adaptation": True, "subcortical": "standard"},
    ],
)
def test_refusals(change):
    with pytest.raises(ValueError):
        dataclasses.replace(VARIANTS["standard"], **change)
