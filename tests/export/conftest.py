import keras
import numpy as np
import pytest

SIZE = 16
LABELS = ("circle", "square", "goldfish, Carassius auratus", "naïve", "star")


@pytest.fixture(scope="session")
def classifier():
    """A small model with padding, strides and normalisation of its own."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.ZeroPadding2D(1)(x)
    x = keras.layers.Conv2D(16, 3, strides=2, use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(16, 3, padding="same")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = keras.layers.Dense(len(LABELS))(x)
    model = keras.Model(inputs, outputs)
    # Statistics and logits as of a trained model.
    generator = np.random.default_rng(0)
    for weight in model.weights:
        if "moving" in weight.path or "gamma" in weight.path:
            weight.assign(generator.uniform(0.5, 1.5, weight.shape))
        elif weight.path.startswith("dense"):
            weight.assign(generator.normal(0, 2, weight.shape))
    return model


@pytest.fixture(scope="session")
def images():
    """Images of one colour each with some noise, so that classes differ."""
    generator = np.random.default_rng(1)
    colors = generator.integers(0, 256, (24, 1, 1, 3))
    noise = generator.integers(-40, 40, (24, SIZE, SIZE, 3))
    return np.clip(colors + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def labels():
    return LABELS


@pytest.fixture(scope="session")
def logits(classifier, images):
    return classifier.predict(images.astype(np.float32), verbose=0)
