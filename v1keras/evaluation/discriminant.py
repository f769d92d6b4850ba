"""Which corruption images show, from statistics: linear discriminant analysis."""

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

# The share of the identity in the standardised covariance (Friedman 1989), which is
# near singular where statistics are many.
_SHRINKAGE = 0.1
_MIXTURE_STEPS = 100


class Discriminant(NamedTuple):
    """Cells as normal distributions of statistics with one covariance (Fisher 1936).

    Args:
        means: float array (cells, statistics).
        whitening: float array (statistics, statistics). Deviations from a mean times
            this matrix have unit covariance.
    """

    means: np.ndarray
    whitening: np.ndarray

    def linear(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights (statistics, cells) and offsets (cells,) of `scores`."""
        white = self.means @ self.whitening
        return self.whitening @ white.T, -0.5 * np.square(white).sum(axis=1)

    def scores(self, statistics: np.ndarray) -> np.ndarray:
        """Log-likelihoods of the cells, (N, cells), up to a term that they share."""
        weights, offsets = self.linear()
        return statistics @ weights + offsets

    def distance(self, statistics: np.ndarray) -> np.ndarray:
        """Standard deviations from the mean of the nearest cell, (N,)."""
        white = statistics @ self.whitening
        # Half of the squared distance is what a score leaves out, minus the score.
        square = np.square(white).sum(axis=1) - 2 * self.scores(statistics).max(axis=1)
        return np.sqrt(np.maximum(square, 0.0))


def fit_discriminant(statistics: np.ndarray) -> Discriminant:
    """Fits a `Discriminant`.

    Args:
        statistics: float array (cells, images, statistics), at least two images a cell.

    Returns:
        A `Discriminant`.

    Example:

    >>> from v1keras.evaluation.discriminant import fit_discriminant
    >>> draws = np.random.default_rng(0).normal(size=(2, 500, 3))
    >>> discriminant = fit_discriminant(draws + np.array([0.0, 4.0])[:, None, None])
    >>> int(discriminant.scores(np.array([[0.1, 0.0, 0.2]])).argmax())
    0
    """
    means = statistics.mean(axis=1)
    residuals = (statistics - means[:, None]).reshape(-1, statistics.shape[-1])
    count = len(residuals) - len(means)
    scale = np.sqrt(np.square(residuals).sum(axis=0) / count)
    scale = np.where(scale > 0, scale, 1.0)
    residuals = residuals / scale
    covariance = (1 - _SHRINKAGE) * residuals.T @ residuals / count
    covariance += _SHRINKAGE * np.eye(len(covariance))
    values, vectors = np.linalg.eigh(covariance)
    return Discriminant(means, vectors / np.sqrt(values) / scale[:, None])


def mixture(scores: np.ndarray, counts: np.ndarray | None = None) -> np.ndarray:
    """The shares of the cells in a set of images, by expectation maximisation.

    The mean of posteriors would lean towards the shares that they assume; this is what
    images are most likely under (Saerens et al. 2002).

    Args:
        scores: float array (images, cells). Log-likelihoods; see `Discriminant.scores`.
        counts: array (images,) or None. How often each image counts. Defaults to once.

    Returns:
        float array (cells,) that sums to 1.
    """
    likelihoods = softmax(scores, axis=1)
    counts = np.ones(len(scores)) if counts is None else np.asarray(counts, float)
    shares = np.full(scores.shape[1], 1.0 / scores.shape[1])
    for _ in range(_MIXTURE_STEPS):
        expected = counts / (likelihoods @ shares)
        shares = shares * (expected @ likelihoods) / counts.sum()
    return shares
