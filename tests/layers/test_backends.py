"""The layers on other Keras backends that are installed, each in its own process."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import keras, numpy as np, sys
import v1keras

golden = np.load(sys.argv[1])
names = ("sf", "theta", "phase", "nx", "ny", "channel_q0", "channel_q1")
block = v1keras.layers.VOneBlock(
    gabors=v1keras.v1.GaborParameters(**{name: golden[name] for name in names}),
    simple_channels=int(golden["simple_channels"]),
    complex_channels=int(golden["complex_channels"]),
    noise="off",
)
def array(tensor):
    return keras.ops.convert_to_numpy(tensor)

responses = array(block(golden["images"]))
noise = v1keras.layers.NeuronalNoise(seed=0)
assert not np.allclose(array(noise(responses)), array(noise(responses)))
model = v1keras.models.build_classifier(
    "resnet18", "sf_low", num_classes=3, width=8, stride=8, seed=2**32 - 1
)
assert array(model(np.zeros((1, 64, 64, 3)))).shape == (1, 3)
images = np.zeros((1, 64, 64, 3))
assert not np.allclose(*(model.predict(images) for _ in range(2)))
for mode in ("off", "fixed"):  # in what is compiled by now
    v1keras.set_noise(model, mode)
    first, second = (model.predict(images) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, array(model(images)), atol=1e-3)
for variant in ("evnet", "contrast_normalized", "divisive", "push_pull"):
    model = v1keras.models.build_classifier(
        "resnet18", variant, num_classes=3, width=8, stride=8
    )
    assert np.isfinite(array(model(np.ones((1, 64, 64, 3))))).all()
assert "tensorflow" not in sys.modules
np.save(sys.argv[2], responses)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_published_responses(golden_dir, tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    file = golden_dir / "vone_block_only_complex.npz"
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(file), str(tmp_path / "out.npy")],
        env={**os.environ, "KERAS_BACKEND": backend},
        check=True,
    )
    expected = np.load(file)["responses"]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-4)
