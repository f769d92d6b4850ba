"""Batch normalisation by the statistics of the test images themselves.

Schneider et al., "Improving robustness against common corruptions by covariate shift
adaptation", NeurIPS 2020 (arXiv:2006.16971), with no weight on the training statistics.
"""

from collections.abc import Iterator, Mapping

import keras
from keras import ops


class BatchStatistics(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that always normalises by its batch."""

    def call(self, inputs, training=None, mask=None):
        """Normalises by mean and variance of `inputs`; moves no statistics."""
        axis = self.axis % len(inputs.shape)
        others = [i for i in range(len(inputs.shape)) if i != axis]
        mean, variance = ops.moments(ops.cast(inputs, "float32"), axes=others)
        outputs = ops.batch_normalization(
            ops.cast(inputs, "float32"),
            mean,
            variance,
            axis,
            offset=self.beta,
            scale=self.gamma,
            epsilon=self.epsilon,
        )
        return ops.cast(outputs, self.compute_dtype)


def with_batch_statistics(model: keras.Model) -> keras.Model:
    """A copy of a model that normalises by the statistics of the batch it is shown.

    Args:
        model: `keras.Model`, functional.

    Returns:
        `keras.Model` with the same weights.

    Example:

    >>> model = v1keras.Run.open("runs/base").load_model()
    >>> adapted = with_batch_statistics(model)
    >>> adapted.count_params() == model.count_params()
    True
    """

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        batch = isinstance(layer, keras.layers.BatchNormalization)
        kind = BatchStatistics if batch else type(layer)
        return kind.from_config(layer.get_config())

    adapted = keras.models.clone_model(model, clone_function=copy, recursive=True)
    adapted.set_weights(model.get_weights())
    return adapted


class AdaptedModels(Mapping[str, keras.Model]):
    """Models as `with_batch_statistics` makes them, each when it is looked up.

    Args:
        models: mapping from name to `keras.Model`.
    """

    def __init__(self, models: Mapping[str, keras.Model]) -> None:
        self._models = models

    def __getitem__(self, name: str) -> keras.Model:
        return with_batch_statistics(self._models[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)
