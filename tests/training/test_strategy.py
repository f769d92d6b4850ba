import keras
import numpy as np
import tensorflow as tf

from v1keras.training import train
from v1keras.training.strategy import get_strategy, precision


def test_names():
    # No GPU here: auto is the default strategy, mirrored takes the two CPUs.
    assert get_strategy("auto").num_replicas_in_sync == 1
    assert get_strategy("none") is tf.distribute.get_strategy()
    assert get_strategy("mirrored").num_replicas_in_sync == 2


def test_precision_is_restored():
    before = keras.config.dtype_policy()
    with precision(True):
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    assert keras.config.dtype_policy() == before


def test_training_on_two_replicas(tiny, change):
    # Of 72 images one would be left over, and a replica without any.
    config = change(tiny, strategy="mirrored", variant="standard", epochs=1)
    run = train(change(config, batch_size=71))
    logits = run.load_model().predict(np.zeros((2, 32, 32, 3)), verbose=0)
    assert logits.shape == (2, 12) and np.all(np.isfinite(logits))


def test_mixed_precision(tiny, change):
    run = train(change(tiny, mixed_precision=True, variant="standard", epochs=1))
    model = run.load_model()
    assert model.get_layer("vone_block").compute_dtype == "bfloat16"
    assert model(np.zeros((2, 32, 32, 3), "float32")).dtype == "float32"
