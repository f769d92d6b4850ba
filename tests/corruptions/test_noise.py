import numpy as np
import pytest
from scipy import stats

from v1keras.corruptions import PARAMETERS, SCALES, corrupt

GREY = np.full((8, 96, 96, 3), 100, np.uint8)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_shot_noise_is_poisson(scale, severity):
    rate = PARAMETERS[scale]["shot_noise"][severity - 1]
    result = corrupt(GREY, "shot_noise", severity, seed=0, scale=scale)
    counts = np.arange(rate + 1)
    levels = (np.minimum(counts / rate, 1) * 255).astype(np.uint8)
    expected = stats.poisson.pmf(counts, 100 / 255 * rate)
    expected[-1] = stats.poisson.sf(rate - 1, 100 / 255 * rate)
    observed = np.bincount(result.ravel(), minlength=256)
    assert observed.sum() == observed[np.unique(levels)].sum()
    likely = np.bincount(levels, weights=expected * result.size, minlength=256)
    kept = likely > 20
    deviation = (observed[kept] - likely[kept]) / np.sqrt(likely[kept])
    assert np.abs(deviation).max() < 5


def test_shot_noise_keeps_black_and_clips_white():
    extremes = np.zeros((1, 64, 64, 3), np.uint8)
    extremes[:, 32:] = 255
    result = corrupt(extremes, "shot_noise", 5, seed=0)
    assert result[:, :32].max() == 0
    assert np.mean(result[:, 32:] == 255) == pytest.approx(
        stats.poisson.sf(14, 15), abs=0.03
    )


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_gaussian_noise_has_the_published_deviation(severity):
    sigma = PARAMETERS["tiny"]["gaussian_noise"][severity - 1] * 255
    noise = corrupt(GREY, "gaussian_noise", severity, seed=0) - 100.0
    # Truncation moves the mean by half a grey level.
    assert noise.mean() == pytest.approx(-0.5, abs=6 * sigma / np.sqrt(noise.size))
    assert noise.std() == pytest.approx(np.hypot(sigma, 1 / np.sqrt(12)), rel=0.02)


def test_speckle_noise_grows_with_the_grey_level():
    dark = np.full_like(GREY, 50)
    spread = [
        corrupt(images, "speckle_noise", 2, seed=0).std() for images in (dark, GREY)
    ]
    assert spread[1] / spread[0] == pytest.approx(2, rel=0.02)
    assert spread[1] == pytest.approx(20, rel=0.02)


@pytest.mark.parametrize("severity", [1, 5])
def test_impulse_noise_hits_values_half_black_half_white(severity):
    amount = PARAMETERS["tiny"]["impulse_noise"][severity - 1]
    result = corrupt(GREY, "impulse_noise", severity, seed=0)
    assert set(np.unique(result)) == {0, 100, 255}
    error = 5 * np.sqrt(amount / result.size)
    for level in (0, 255):
        assert np.mean(result == level) == pytest.approx(amount / 2, abs=error)
    # Values are hit, not whole pixels.
    hit = (result != 100).sum(axis=-1)
    assert np.mean(hit == 1) == pytest.approx(3 * amount * (1 - amount) ** 2, rel=0.1)


def test_noise_of_channels_is_independent():
    noise = corrupt(GREY, "gaussian_noise", 1, seed=0).reshape(-1, 3).astype(float)
    correlation = np.corrcoef(noise.T) - np.eye(3)
    assert np.abs(correlation).max() < 0.02
