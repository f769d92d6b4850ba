"""The mean of several classifiers' answers."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from v1keras.layers.choices import AVERAGES


@keras.saving.register_keras_serializable(package="v1keras")
class MeanLogits(keras.layers.Layer):
    """Averages the logits of several classifiers.

    Args:
        average: str. `"logits"` gives their mean; `"probabilities"` gives the
            logarithm of the mean of their softmax, which is a valid set of logits:
            its softmax is the mean probability. Defaults to `"logits"`.
        weights: sequence of float or None. The weight of each classifier; they are
            divided by their sum. Defaults to equal weights.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Input shape:
        A list of (batch, classes).

    Output shape:
        (batch, classes), float32.

    Raises:
        ValueError: if `average` is unknown, or the weights are negative, all zero or
            not as many as the classifiers.

    Example:

    >>> layer = v1keras.layers.MeanLogits()
    >>> layer([np.array([[0.0, 2.0]]), np.array([[4.0, 0.0]])]).numpy()
    array([[2., 1.]], dtype=float32)
    """

    def __init__(
        self,
        average: str = "logits",
        weights: Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(**{"dtype": "float32", **kwargs})
        if average not in AVERAGES:
            raise ValueError(
                f"`average` must be one of {', '.join(AVERAGES)}. "
                f"Received: average={average!r}"
            )
        self.average = average
        self.shares = None if weights is None else _normalised(weights)

    def build(self, input_shape):
        if not isinstance(input_shape[0], (list, tuple)):
            raise ValueError(
                "The input must be a list of logits, those of each classifier. Received: "
                f"one tensor of shape {tuple(input_shape)}"
            )
        if self.shares is not None and len(self.shares) != len(input_shape):
            raise ValueError(
                f"`weights` must hold one number for each of the {len(input_shape)} "
                f"classifiers. Received: {len(self.shares)} weights"
            )

    def call(self, logits):
        shares = self.shares or [1.0 / len(logits)] * len(logits)
        shares = ops.reshape(ops.convert_to_tensor(shares, "float32"), (-1, 1, 1))
        logits = ops.stack(logits, axis=0)
        if self.average == "logits":
            return ops.sum(shares * logits, axis=0)
        # A share of 0 becomes -inf, which adds nothing to the sum.
        weighted = ops.log_softmax(logits, axis=-1) + ops.log(shares)
        return ops.logsumexp(weighted, axis=0)

    def compute_output_shape(self, input_shape):
        return input_shape[0]

    def get_config(self):
        return {
            **super().get_config(),
            "average": self.average,
            "weights": self.shares,
        }


def _normalised(weights: Sequence[float]) -> list[float]:
    """Weights that sum to 1."""
    values = np.asarray(weights, "float64")
    valid = values.ndim == 1 and np.isfinite(values).all() and (values >= 0).all()
    if not valid or values.sum() == 0:
        raise ValueError(
            "`weights` must be finite numbers of at least 0, one of them positive. "
            f"Received: weights={weights}"
        )
    return (values / values.sum()).tolist()
