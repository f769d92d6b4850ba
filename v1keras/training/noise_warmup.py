"""Neuronal noise that grows over the first epochs."""

import keras

from v1keras.layers import set_noise_share


class NoiseWarmup(keras.callbacks.Callback):
    """Lets the neuronal noise of a model grow linearly over the first epochs of `fit`.

    A network learns little behind the full noise of V1 while its weights are random.
    Epoch `e`, counted from 0, trains with the share `min(1, e / epochs)` of the noise:
    the first one without any. Validation always sees the full noise, so that epochs
    compare. The share depends on the number of the epoch alone: a resumed training
    goes through the same ones.

    Args:
        epochs: float. Epochs until the noise is full; 0 for full noise at once.
        model: `keras.Model` or None. Whose noise grows, such as the student of a
            `Distiller`. Defaults to the model that is trained.

    Raises:
        ValueError: if `epochs` is negative.

    Example:

    >>> warmup = v1keras.training.NoiseWarmup(5)
    >>> [warmup.share(epoch) for epoch in (0, 1, 5, 9)]
    [0.0, 0.2, 1.0, 1.0]
    """

    def __init__(self, epochs: float, model: keras.Model | None = None):
        super().__init__()
        if epochs < 0:
            raise ValueError(f"`epochs` must be at least 0. Received: epochs={epochs}")
        self.epochs = epochs
        self._noisy = model
        self._share = 1.0

    def share(self, epoch: int) -> float:
        """The share of the noise in an epoch, counted from 0."""
        return min(1.0, epoch / self.epochs) if self.epochs else 1.0

    def on_epoch_begin(self, epoch, logs=None):
        self._share = self.share(epoch)
        self._set(self._share)

    def on_test_begin(self, logs=None):
        self._set(1.0)

    def on_test_end(self, logs=None):
        self._set(self._share)

    def on_train_end(self, logs=None):
        self._set(1.0)

    def _set(self, share: float) -> None:
        set_noise_share(self._noisy or self.model, share)
