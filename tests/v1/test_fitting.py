import numpy as np
import pytest

from v1keras.v1 import fit_gabors, gabor_kernels, get_variant, sample_gabors

GEOMETRIES = {
    "tiny": {"image_size": 64, "visual_degrees": 2.0},
    "imagenet": {"image_size": 224, "visual_degrees": 8.0},
}


def kernels(gabors, size=25, channels=3, **geometry):
    pairs = gabor_kernels(gabors, kernel_size=size, **geometry)
    banks = np.zeros((2, len(gabors), channels, size, size), "float32")
    every = np.arange(len(gabors))
    for bank, values, channel in zip(
        banks, pairs, (gabors.channel_q0, gabors.channel_q1), strict=True
    ):
        bank[every, channel] = values
    return banks


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("name", ["standard", "sf_low", "evnet"])
def test_what_was_drawn_is_found_in_its_kernels(name, geometry):
    variant = get_variant(name)
    gabors, geometry = variant.sample(), GEOMETRIES[geometry]
    channels = variant.input_channels
    fitted = fit_gabors(*kernels(gabors, 31, channels, **geometry), **geometry)
    for field in ("sf", "nx", "ny"):
        ours, drawn = getattr(fitted, field), getattr(gabors, field)
        np.testing.assert_allclose(ours, drawn, rtol=1e-5)
    for field in ("theta", "phase"):
        turned = getattr(fitted, field) - getattr(gabors, field)
        turned = np.exp(1j * np.radians(turned))
        np.testing.assert_allclose(turned, 1, atol=1e-5)
    np.testing.assert_array_equal(fitted.channel_q0, gabors.channel_q0)


def test_colours_of_a_pair_may_differ():
    gabors = sample_gabors(6, seed=1)
    other = (gabors.channel_q0 + 1) % 3
    arrays = gabors.to_dict() | {"channel_q1": other}
    gabors = type(gabors)(**arrays)
    geometry = GEOMETRIES["tiny"]
    fitted = fit_gabors(*kernels(gabors, **geometry), **geometry)
    np.testing.assert_array_equal(fitted.channel_q1, other)


def test_other_kernels_are_refused():
    geometry = GEOMETRIES["tiny"]
    q0, q1 = kernels(sample_gabors(6), **geometry)
    changes = {
        "no pair": (q0, q0),
        "two colours": (q0 + q0[:, ::-1], q1),
        "nothing": (q0 * 0, q1 * 0),
        "NaN": (q0 * np.nan, q1),
        "another gain": (q0 * 2, q1 * 2),
    }
    for what, (even, odd) in changes.items():
        with pytest.raises(ValueError, match="of 6 that are not"):
            fit_gabors(even, odd, **geometry)
            pytest.fail(what)
    with pytest.raises(ValueError, match=r"shapes \(6, 3, 25, 25\) and \(5, 3"):
        fit_gabors(q0, q1[:5], **geometry)
