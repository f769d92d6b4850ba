import numpy as np
import pytest

from v1keras.v1 import GaborParameters, gabor_kernels, sample_gabors


def test_published_kernels(golden_dir):
    golden = np.load(golden_dir / "vone_block_tiny.npz")
    names = ("sf", "theta", "phase", "nx", "ny", "channel_q0", "channel_q1")
    parameters = GaborParameters(**{name: golden[name] for name in names})
    q0, _ = gabor_kernels(parameters, image_size=64, visual_degrees=2.0, kernel_size=25)
    np.testing.assert_allclose(q0[:8], golden["kernel_q0_first8"], atol=1e-7)


def test_carrier_runs_along_rows():
    parameters = GaborParameters(
        sf=[4.0], theta=[0.0], phase=[0.0], nx=[0.5], ny=[0.5],
        channel_q0=[0], channel_q1=[0],
    )  # fmt: skip
    q0, q1 = gabor_kernels(
        parameters, image_size=64, visual_degrees=2.0, kernel_size=25
    )
    # 4 cycles per degree at 32 pixels per degree: 8 pixels a cycle, down the rows.
    column = q0[0, :, 12]
    assert column[12] == column.max() and column[12 - 4] < 0 < column[12]
    # Across the carrier there is only the envelope.
    assert np.all(q0[0, 12] > 0)
    # By hand: sigma is 0.5 / (4 / 32) = 4 pixels on both axes.
    assert np.isclose(q0[0, 12, 12], 1 / (2 * np.pi * 16))
    assert np.isclose(q0[0, 12, 16], np.exp(-0.5) / (2 * np.pi * 16))
    # cos(phase + 90 degrees) is -sin(phase): odd, and zero in the centre.
    assert np.isclose(q1[0, 12, 12], 0.0, atol=1e-15)
    np.testing.assert_allclose(q1[0], -q1[0, ::-1, ::-1], atol=1e-15)


def test_balanced_kernels_do_not_answer_to_uniform_light():
    geometry = {"image_size": 64, "visual_degrees": 2.0, "kernel_size": 25}
    gabors = sample_gabors(64)
    plain = np.stack(gabor_kernels(gabors, **geometry))
    balanced = np.stack(gabor_kernels(gabors, **geometry, balanced=True))
    assert np.abs(plain.sum(axis=(-2, -1))).max() > 0.1
    np.testing.assert_allclose(balanced.sum(axis=(-2, -1)), 0.0, atol=1e-12)
    # The difference is the envelope, which is the amplitude of the quadrature pair.
    envelope = np.hypot(*plain)
    difference = plain - balanced
    factor = difference[..., 12, 12] / envelope[..., 12, 12]
    np.testing.assert_allclose(
        difference, factor[..., np.newaxis, np.newaxis] * envelope, atol=1e-12
    )


@pytest.mark.parametrize(
    "geometry",
    [
        {"image_size": 64, "visual_degrees": 2.0, "kernel_size": 24},
        {"image_size": 64, "visual_degrees": 2.0, "kernel_size": -1},
        {"image_size": 0, "visual_degrees": 2.0, "kernel_size": 25},
        {"image_size": 64, "visual_degrees": 0.0, "kernel_size": 25},
    ],
)
def test_refusals(geometry):
    with pytest.raises(ValueError, match="Received"):
        gabor_kernels(sample_gabors(2), **geometry)
