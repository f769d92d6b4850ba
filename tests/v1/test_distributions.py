import dataclasses

import numpy as np
import pytest

from v1keras.v1 import GaborParameters, sample_evnet_gabors, sample_gabors, sf_range

CASES = {
    "full_seed0_512": (512, {}),
    "sf_low_seed0_512": (512, {"sf_max": 2.0}),
    "sf_mid_seed0_512": (512, {"sf_min": 2.0, "sf_max": 5.6}),
    "sf_high_seed0_512": (512, {"sf_min": 5.6}),
    "imagenet_seed0_512": (512, {"sf_max": 9.0}),
    "full_seed7_96": (96, {"seed": 7}),
    "uniform_seed0_64": (64, {"sf_max": 8.1, "distribution": "uniform"}),
}


@pytest.mark.parametrize("case", CASES)
def test_published_parameters(golden_dir, case):
    golden = np.load(golden_dir / "gabor_parameters.npz")
    n, settings = CASES[case]
    parameters = sample_gabors(n, **settings)
    for name in ("sf", "theta", "phase", "nx", "ny"):
        np.testing.assert_allclose(
            getattr(parameters, name), golden[f"{case}/{name}"], rtol=1e-9
        )


@pytest.mark.parametrize(
    ("case", "shares"),
    [("standard_seed0", [0.25] * 4), ("no_m_seed0", [0.34, 0.34, 0.32])],
)
def test_published_evnet_parameters(golden_dir, case, shares):
    golden = np.load(golden_dir / "evnet_gabors.npz")
    parameters = sample_evnet_gabors(
        256, 256, input_channels=len(shares), channel_shares=shares
    )
    for name in ("sf", "theta", "phase", "nx", "ny"):
        np.testing.assert_allclose(
            getattr(parameters, name), golden[f"{case}/{name}"], rtol=1e-9
        )
    for name in ("channel_q0", "channel_q1"):
        np.testing.assert_array_equal(
            getattr(parameters, name), golden[f"{case}/channel"]
        )


def test_evnet_cells_of_one_kind():
    simple = sample_evnet_gabors(5000, 0, seed=1)
    complex_ = sample_evnet_gabors(0, 5000, seed=1)
    # De Valois 1982: complex cells prefer higher frequencies, none below 1.
    assert simple.sf.min() < 1.0 <= complex_.sf.min()
    assert abs((simple.sf < 2.0).mean() - 41 / 140) < 0.03
    assert abs((complex_.sf < 2.0).mean() - 18 / 70) < 0.03
    counts = np.bincount(simple.channel_q0, minlength=4)
    # Binomial(5000, 1/4): mean 1250, standard deviation 31.
    assert np.all(np.abs(counts - 1250) < 150)


def test_rounded_shares_leave_the_rest_to_one_channel():
    gabors = sample_evnet_gabors(5, 5, input_channels=3, channel_shares=[0.34] * 3)
    np.testing.assert_array_equal(np.bincount(gabors.channel_q0), [3, 3, 4])


@pytest.mark.parametrize(
    ("asked", "in_force"),
    [
        ((0.0, 11.3), (0.5, 11.2)),
        ((0.0, 9.0), (0.5, 8.0)),
        ((0.0, 5.0), (0.5, 4.0)),
        ((1.5, 5.0), (2.0, 4.0)),
        ((2.0, 5.6), (2.0, 5.6)),
    ],
)
def test_range_in_force(asked, in_force):
    assert sf_range(*asked) == in_force
    # It changes no cell.
    sf_min, sf_max = asked
    assert sample_gabors(64, sf_min=sf_min, sf_max=sf_max) == sample_gabors(
        64, sf_min=in_force[0], sf_max=in_force[1]
    )


def test_range_of_the_uniform_control_ends_below_its_upper_end():
    assert sf_range(0.0, 8.0, "uniform") == (0.5, 5.6)
    drawn = sample_gabors(2000, sf_max=8.0, distribution="uniform").sf
    assert 5.4 < drawn.max() <= 5.6


def test_colors_are_their_own_stream():
    # The other draws must not depend on them, and all three colours occur.
    parameters = sample_gabors(600, seed=3)
    counts = np.bincount(parameters.channel_q0, minlength=3)
    # Binomial(600, 1/3): mean 200, standard deviation 11.5.
    assert np.all(np.abs(counts - 200) < 50)
    np.testing.assert_array_equal(parameters.channel_q0, parameters.channel_q1)
    assert not np.array_equal(
        parameters.channel_q0, sample_gabors(600, seed=4).channel_q0
    )


def test_seed_zero_is_a_seed():
    assert sample_gabors(8, seed=0) == sample_gabors(8, seed=0)
    assert sample_gabors(8, seed=0) != sample_gabors(8, seed=1)


def test_distributions_are_the_measured_ones():
    parameters = sample_gabors(20000, seed=5)
    # De Valois 1982: 66 of 246 cells in the bin of -22.5 to 22.5 degrees.
    near_vertical = (parameters.theta < 22.5) | (parameters.theta > 157.5)
    assert abs(near_vertical.mean() - 66 / 246) < 0.015
    # 147 weights in all; 4 + 4 + 8 + 25 lie below 2 cycles per degree.
    assert abs((parameters.sf < 2.0).mean() - 41 / 147) < 0.015
    # Ringach's table has no field wider than 10^-0.04 cycles along the carrier.
    assert parameters.nx.max() <= 10 ** (-1 + 1.2 * 4 / 5) + 1e-12
    correlation = np.corrcoef(np.log(parameters.sf), np.log(parameters.nx))[0, 1]
    assert 0.6 < correlation < 0.8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n": 0}, "n=0"),
        ({"n": 4, "sf_corr": 1.5}, "sf_corr=1.5"),
        ({"n": 4, "sf_min": 2.1, "sf_max": 2.7}, "sf_min=2.1, sf_max=2.7"),
        ({"n": 4, "sf_min": 12.0}, "at least one bin"),
        ({"n": 4, "distribution": "normal"}, "v1, uniform"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        sample_gabors(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"simple_channels": -1}, "simple_channels=-1"),
        ({"simple_channels": 0, "complex_channels": 0}, "one of them positive"),
        ({"sf_corr": -1.1}, "sf_corr=-1.1"),
        # Complex cells have none below 1 cycle per degree.
        ({"sf_max": 1.0}, "at least one bin"),
        ({"input_channels": 0}, "input_channels=0"),
        ({"channel_shares": [0.5, 0.5]}, "for 4 channels"),
        ({"channel_shares": [0.9, 0.9, 0.1, 0.1]}, "with a sum of 1"),
    ],
)
def test_evnet_refusals(settings, message):
    with pytest.raises(ValueError, match=message):
        sample_evnet_gabors(**{"simple_channels": 4, "complex_channels": 4, **settings})


def test_parameters_are_checked_and_frozen():
    parameters = sample_gabors(4)
    with pytest.raises(ValueError, match="must be positive"):
        dataclasses.replace(parameters, sf=-parameters.sf)
    with pytest.raises(ValueError, match="at least 0"):
        dataclasses.replace(parameters, channel_q1=np.full(4, -1))
    with pytest.raises(ValueError, match=r"`channel_q0` must be whole .*\[0\.5\]"):
        dataclasses.replace(parameters, channel_q0=[0.5, 1, 2, 0])
    whole = dataclasses.replace(parameters, channel_q0=[0.0, 1.0, 2.0, 0.0])
    assert whole.channel_q0.tolist() == [0, 1, 2, 0]
    with pytest.raises(ValueError, match="equal length"):
        dataclasses.replace(parameters, nx=np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        dataclasses.replace(parameters, theta=np.full(4, np.nan))
    with pytest.raises(ValueError, match="read-only"):
        parameters.sf[0] = 1.0


def test_lists_round_trip():
    parameters = sample_gabors(4, seed=2)
    assert GaborParameters(**parameters.to_dict()) == parameters


def test_file_of_parameters(tmp_path):
    gabors = sample_gabors(6, seed=3)
    arrays = gabors.to_dict()
    del arrays["channel_q1"]  # that of q0
    np.savez(tmp_path / "gabors.npz", **arrays, comment="cells of one animal")
    assert GaborParameters.load(tmp_path / "gabors.npz") == gabors

    np.savez(tmp_path / "fraction.npz", **{**arrays, "channel_q0": np.full(6, 0.5)})
    del arrays["theta"]
    np.savez(tmp_path / "incomplete.npz", **arrays)
    (tmp_path / "text.npz").write_text("0.5, 0.7")
    for name in ("fraction.npz", "incomplete.npz", "text.npz"):
        with pytest.raises(ValueError, match=f"(?s)(?=.*{name})(?=.*`gabors` must)"):
            GaborParameters.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"missing\.npz"):
        GaborParameters.load(tmp_path / "missing.npz")
