import numpy as np
from scipy.stats import multivariate_normal

from v1keras.evaluation.discriminant import fit_discriminant, mixture

MEANS = np.array([[0.0, 0.0, 5.0], [3.0, 0.0, 5.0], [0.0, -4.0, 5.0]])
FACTORS = np.array([[1.0, 0.0, 0.0], [2.0, 1.5, 0.0], [0.0, 0.0, 100.0]])


def draw(count, seed):
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(len(MEANS), count, 3))
    return MEANS[:, None] + normal @ FACTORS.T


def test_scores_are_log_likelihoods_under_one_covariance(monkeypatch):
    monkeypatch.setattr("v1keras.evaluation.discriminant._SHRINKAGE", 0.0)
    fitted, new = draw(500, 0), draw(5, 1).reshape(-1, 3)
    discriminant = fit_discriminant(fitted)
    means = fitted.mean(axis=1)
    residuals = (fitted - means[:, None]).reshape(-1, 3)
    covariance = residuals.T @ residuals / (len(residuals) - len(means))
    expected = np.stack(
        [multivariate_normal(mean, covariance).logpdf(new) for mean in means], axis=1
    )
    scores = discriminant.scores(new)
    np.testing.assert_allclose(np.diff(scores), np.diff(expected), atol=1e-8)
    # The log-density is that of the centre minus half of the squared distance.
    centre = multivariate_normal(means[0], covariance).logpdf(means[0])
    distance = np.sqrt(2 * (centre - expected.max(axis=1)))
    np.testing.assert_allclose(discriminant.distance(new), distance, rtol=1e-6)


def test_statistics_that_never_change_or_repeat_others_do_no_harm():
    fitted = draw(50, 0)
    fitted = np.concatenate([fitted, fitted, np.full((3, 50, 1), 7.0)], axis=-1)
    scores = fit_discriminant(fitted).scores(fitted)
    assert np.isfinite(scores).all()
    guesses = scores.argmax(axis=-1)
    assert (guesses == np.arange(3)[:, None]).mean() > 0.85


def test_shares_of_a_mixture_are_recovered():
    discriminant = fit_discriminant(draw(500, 0))
    first, second, third = draw(800, 1)
    images = np.concatenate([first[:80], second[:560], third[:160]])
    shares = mixture(discriminant.scores(images))
    np.testing.assert_allclose(shares, [0.1, 0.7, 0.2], atol=0.05)
    # An image that counts twice is an image that is there twice.
    twice = discriminant.scores(np.concatenate([first[:40], first[:40], second[:80]]))
    once = discriminant.scores(np.concatenate([first[:40], second[:80]]))
    counts = np.repeat([2, 1], [40, 80])
    np.testing.assert_allclose(mixture(once, counts), mixture(twice), atol=1e-9)
