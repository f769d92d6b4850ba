"""Files that version 0.1.0 saved still load and answer the same."""

import keras
import numpy as np
import pytest

import v1keras
from v1keras.training import Run

MODELS = ("base", "member", "interrupted", "student", "ensemble")


@pytest.fixture(scope="module")
def saved(golden_dir):
    return golden_dir / "saved_by_0.1.0"


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_model_answers_the_same(saved, name):
    if name == "ensemble":
        model = keras.models.load_model(saved / "ensemble.keras")
    else:
        model = Run.open(saved / "runs" / name).load_model()
    v1keras.set_noise(model, "off")
    with np.load(saved / "logits.npz") as expected:
        logits = model(expected["images"].astype("float32"), training=False)
        np.testing.assert_allclose(logits, expected[name], atol=1e-4)
