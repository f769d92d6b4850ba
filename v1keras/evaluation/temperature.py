"""Calibrated confidence: one temperature for all logits (Guo et al. 2017)."""

import numpy as np
import scipy.optimize

from v1keras.evaluation.metrics import negative_log_likelihood

_RANGE = (0.02, 50.0)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The divisor of logits under which the right classes are most likely.

    Args:
        logits: float array (images, classes), of images that were not trained on.
        labels: int array (images,).

    Returns:
        float between 0.02 and 50: above 1 where the model is too confident.

    Raises:
        ValueError: if the arrays do not fit to each other or logits are not finite.

    Example:

    >>> from v1keras.evaluation.temperature import fit_temperature
    >>> logits = np.array([[2.0, 0.0]] * 4)
    >>> # Right in three of four: the odds of 3 are what the logits should mean.
    >>> round(2.0 / fit_temperature(logits, np.array([0, 0, 0, 1])), 3)
    1.099
    """
    found = scipy.optimize.minimize_scalar(
        lambda log: negative_log_likelihood(logits / np.exp(log), labels),
        bounds=np.log(_RANGE),
        method="bounded",
    )
    return float(np.exp(found.x))
