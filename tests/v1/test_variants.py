import dataclasses

import pytest

from v1keras.v1 import V1_VARIANTS, VARIANTS, Variant, get_variant

# The table of the paper: noise gain, SF range, simple and complex cells.
PAPER = {
    "standard": (1.0, 0.0, 11.3, 256, 256),
    "sf_low": (1.0, 0.0, 2.0, 256, 256),
    "sf_mid": (1.0, 2.0, 5.6, 256, 256),
    "sf_high": (1.0, 5.6, 11.3, 256, 256),
    "no_noise": (0.0, 0.0, 11.3, 256, 256),
    "low_noise": (0.5, 0.0, 11.3, 256, 256),
    "only_simple": (1.0, 0.0, 11.3, 512, 0),
    "only_complex": (1.0, 0.0, 11.3, 0, 512),
}


def test_the_eight_and_base():
    assert set(V1_VARIANTS) == set(PAPER)
    assert set(VARIANTS) == {*PAPER, "base"}
    for name, values in PAPER.items():
        v = VARIANTS[name]
        assert values == (
            v.noise_gain, v.sf_min, v.sf_max, v.simple_channels, v.complex_channels
        )  # fmt: skip
        assert (v.gabor_seed, v.sf_corr, v.distribution) == (0, 0.75, "v1")


def test_five_share_one_bank():
    shared = ("standard", "no_noise", "low_noise", "only_simple", "only_complex")
    banks = [VARIANTS[name].sample() for name in shared]
    assert all(bank == banks[0] for bank in banks[1:])


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
    ],
)
def test_refusals(change):
    with pytest.raises(ValueError):
        dataclasses.replace(VARIANTS["standard"], **change)
