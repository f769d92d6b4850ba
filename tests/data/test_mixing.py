import numpy as np
import pytest

from v1keras.data import Mixing

RANDOM = np.random.default_rng(0)
COUNT, SIZE = 400, 16


@pytest.fixture(scope="module")
def batch():
    # No two images share a pixel's value, so that each pixel tells where it is from.
    values = RANDOM.permutation(COUNT * SIZE * SIZE).reshape(COUNT, SIZE, SIZE, 1)
    return values.astype(np.float32), np.eye(COUNT, dtype=np.float32)


def _shares(labels):
    """The weight of each image's own label; the rest is that of the one before."""
    own = np.diag(labels)
    before = labels[np.arange(COUNT), np.arange(COUNT) - 1]
    np.testing.assert_allclose(own + before, 1.0, rtol=1e-5)
    return own


def test_mixup_blends_whole_images(batch):
    images, labels = batch
    mixed, (targets,) = Mixing(mixup=0.4)(images, [labels], (0, 1))
    share = _shares(targets.numpy())[:, None, None, None]
    expected = share * images + (1 - share) * np.roll(images, 1, axis=0)
    np.testing.assert_allclose(mixed, expected, rtol=1e-4, atol=0.1)


@pytest.mark.parametrize("a", [0.3, 1.0, 4.0])
def test_shares_follow_the_beta_distribution(batch, a):
    images, labels = batch
    shares = np.concatenate(
        [
            _shares(Mixing(mixup=a)(images, [labels], (seed, 0))[1][0].numpy())
            for seed in range(10)
        ]
    )
    variance = 1 / (4 * (2 * a + 1))
    assert abs(shares.mean() - 0.5) < 4 * np.sqrt(variance / 4000)
    assert abs(shares.var() / variance - 1) < 0.1


def test_cutmix_pastes_one_box_and_counts_its_pixels(batch):
    images, labels = batch
    mixed, (targets,) = Mixing(cutmix=1.0)(images, [labels], (0, 1))
    own = (mixed.numpy() == images)[..., 0]
    pasted = (mixed.numpy() == np.roll(images, 1, axis=0))[..., 0]
    assert (own ^ pasted).all()
    np.testing.assert_allclose(_shares(targets.numpy()), own.mean((1, 2)), atol=1e-5)
    for each in pasted:
        rows, columns = each.any(axis=1), each.any(axis=0)
        assert (each == np.outer(rows, columns)).all()
        for side in (rows, columns):
            assert np.abs(np.diff(side.astype(int))).sum() <= 2
    assert 0.1 < pasted.mean() < 0.5


def test_with_both_each_image_takes_one(batch):
    images, labels = batch
    mixed, _ = Mixing(mixup=1.0, cutmix=1.0)(images, [labels], (0, 1))
    whole = np.isin(mixed.numpy(), images).all(axis=(1, 2, 3))
    assert 0.4 < whole.mean() < 0.6


def test_tiny_parameters_stay_finite_and_seeds_decide(batch):
    images, labels = batch
    mixing = Mixing(mixup=0.01)
    mixed, (targets,) = mixing(images, [labels], (0, 1))
    assert np.isfinite(mixed).all() and np.isfinite(targets).all()
    np.testing.assert_array_equal(mixed, mixing(images, [labels], (0, 1))[0])
    assert (mixed.numpy() != mixing(images, [labels], (0, 2))[0].numpy()).any()


@pytest.mark.parametrize("settings", [{}, {"mixup": -1.0}, {"cutmix": -0.1}])
def test_refusals(settings):
    with pytest.raises(ValueError, match="Received: mixup="):
        Mixing(**settings)
