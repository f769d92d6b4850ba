import keras
import numpy as np
import pytest

from v1keras.layers import NeuronalNoise
from v1keras.training import NoiseWarmup

IMAGES = np.ones((8, 4), "float32")


class Shares(keras.callbacks.Callback):
    """The share of the noise in each epoch, in training and in validation."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.trained, self.validated = layer, [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.trained.append(self.layer.share)

    def on_test_batch_begin(self, batch, logs=None):
        self.validated.append(self.layer.share)


@pytest.mark.parametrize("start", [0, 2])
def test_noise_grows_over_the_first_epochs(start):
    noise = NeuronalNoise()
    model = keras.Sequential([keras.Input((4,)), noise])
    model.compile(loss="mse")
    shares = Shares(noise)
    history = model.fit(
        IMAGES,
        IMAGES,
        batch_size=8,
        initial_epoch=start,
        epochs=6,
        validation_data=(IMAGES, IMAGES),
        callbacks=[NoiseWarmup(4), shares],
        verbose=0,
    ).history
    assert shares.trained == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0][start:]
    assert shares.validated == [1.0] * (6 - start)
    assert noise.share == 1.0
    # The loss is the variance of the noise.
    assert (history["loss"][0] == 0) == (start == 0)
    assert np.all(np.array(history["val_loss"]) > 0)


def test_a_part_of_a_model_may_be_meant():
    noise, other = NeuronalNoise(), NeuronalNoise()
    model = keras.Sequential([keras.Input((4,)), noise, other])
    model.compile(loss="mse")
    shares = Shares(other)
    model.fit(IMAGES, IMAGES, callbacks=[NoiseWarmup(2, noise), shares], verbose=0)
    assert shares.trained == [1.0]
    with pytest.raises(ValueError, match="Received: epochs=-1"):
        NoiseWarmup(-1)
