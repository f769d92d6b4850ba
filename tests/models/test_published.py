"""Checkpoints that the published code itself wrote, with fewer channels and classes.

VOneNet and EVNet were built by their authors' packages, their back-ends narrowed to 2
channels and 5 classes and given random weights and non-trivial statistics; `resnet18.pth`
has torchvision's names. `logits.npz` has the answers of PyTorch 2.13 without noise.
"""

import keras
import numpy as np
import pytest
from torch_writer import write_torch_file

import v1keras
from v1keras.models import (
    build_classifier,
    load_evnet,
    load_resnet,
    load_vonenet,
    read_published,
    read_torch_file,
)

LOADERS = {
    "vonenet.pth.tar": load_vonenet,
    "evnet.pth": load_evnet,
    "resnet18.pth": load_resnet,
}


def own(state):
    """The tensors under their own names, as arrays that can be changed."""
    return {name.removeprefix("module."): np.array(v) for name, v in state.items()}


def images():
    small = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3))
    return small.repeat(8, axis=1).repeat(8, axis=2).astype("float32")


@pytest.fixture(scope="module")
def published(golden_dir):
    return golden_dir / "published"


@pytest.mark.parametrize("name", LOADERS)
def test_logits_are_those_of_the_published_code(name, published, tmp_path):
    model = LOADERS[name](published / name)
    v1keras.set_noise(model, "off")
    with np.load(published / "logits.npz") as logits:
        expected = logits[name.partition(".")[0]]
    np.testing.assert_allclose(model(images()), expected, atol=1e-5, rtol=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(images()), expected, atol=1e-5, rtol=0)


def test_the_front_end_of_a_vonenet_is_that_of_the_file(published):
    file = read_torch_file(published / "vonenet.pth.tar")
    block = load_vonenet(published / "vonenet.pth.tar").get_layer("vone_block")
    gabors = block.variant.gabors
    for phase in (0, 1):
        kernels = file["state_dict"][f"module.vone_block.simple_conv_q{phase}.weight"]
        colors = getattr(gabors, f"channel_q{phase}")
        np.testing.assert_array_equal(colors, np.any(kernels, axis=(2, 3)).argmax(1))
    # They were drawn with colours of their own, and read as they were drawn.
    assert np.any(gabors.channel_q0 != gabors.channel_q1)
    drawn = v1keras.v1.sample_gabors(8, sf_max=9.0)
    np.testing.assert_allclose(gabors.sf, drawn.sf, rtol=1e-5)
    np.testing.assert_array_equal(block.cell_of_channel, np.arange(8))
    noise = block.neuronal_noise
    assert noise.rectify and noise.is_stochastic
    assert (noise.noise_scale, noise.noise_level) == (0.35, 0.07)


def test_the_forms_of_the_other_published_files(published, tmp_path):
    # `_at` has no prefix and two layers of its own; `_ns` has no noise.
    content = read_torch_file(published / "vonenet.pth.tar")
    content["flags"] |= {"arch": "ResNet_50", "noise_mode": None, "noise_scale": 1}
    state = own(content["state_dict"])
    state |= {f"vone_block.div_{name}.weight": np.ones(3) for name in "ut"}
    content = {"flags": content["flags"], "state_dict": state}
    model = load_vonenet(write_torch_file(tmp_path / "at.pth", content))
    assert not v1keras.layers.is_stochastic(model)
    with np.load(published / "logits.npz") as logits:
        np.testing.assert_allclose(model(images()), logits["vonenet"], atol=1e-5)


def test_safetensors_of_timm(published, tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    state = own(read_torch_file(published / "resnet18.pth"))
    safetensors.save_file(state, tmp_path / "model.safetensors")
    model = load_resnet(tmp_path / "model.safetensors")
    with np.load(published / "logits.npz") as logits:
        np.testing.assert_allclose(model(images()), logits["resnet18"], atol=1e-5)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="must be undamaged"):
        load_resnet(tmp_path / "model.safetensors")


REFUSED = {
    "another family": (lambda c: c, "which is one of a vonenet; load_vonenet"),
    "gaussian noise": (
        lambda c: c["flags"].update(noise_mode="gaussian"),
        "Received: noise_mode=gaussian",
    ),
    "no flags": (lambda c: c.pop("flags"), "must say in `flags`"),
    "other kernels": (
        lambda c: c["state_dict"]["vone_block.simple_conv_q0.weight"].fill(1),
        "of 8 that are not",
    ),
    "other numbers of cells": (
        lambda c: c["flags"].update(simple_channels=5),
        "8 parameters, simple_channels=5",
    ),
    "AlexNet": (
        lambda c: c["state_dict"].update({"model.features.0.weight": np.ones(2)}),
        "AlexNet, .* are not built here. Received: features.0.weight",
    ),
    "other depths": (
        lambda c: [
            c["state_dict"].pop(name)
            for name in [*c["state_dict"]]
            if "layer3.4" in name or "layer3.5" in name
        ],
        "Received: one with 3, 4, 4, 3 blocks",
    ),
    "a missing tensor": (
        lambda c: c["state_dict"].pop("model.layer2.0.bn1.running_mean"),
        "layer2_0_norm1",
    ),
    "no tensors": (
        lambda c: c.update(state_dict={"a": 1}),
        "which holds the entries a",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_other_checkpoints_are_refused(what, published, tmp_path):
    change, message = REFUSED[what]
    content = dict(read_torch_file(published / "vonenet.pth.tar"))
    content["state_dict"] = own(content["state_dict"])
    change(content)
    path = write_torch_file(tmp_path / "other.pth", content)
    load = load_evnet if what == "another family" else load_vonenet
    with pytest.raises(ValueError, match=message) as error:
        load(path)
    assert str(path) in str(error.value)


def test_other_subcortical_cells_are_refused(published, tmp_path):
    content = dict(read_torch_file(published / "evnet.pth"))
    content["model"] = own(content["model"])
    content["model"]["subcorticalblock.contrast_norm.c50"][:, 3] = 0.5
    path = write_torch_file(tmp_path / "other.pth", content)
    with pytest.raises(ValueError, match="cells of the published ones"):
        load_evnet(path)


def test_gabors_and_order_of_channels_are_arguments():
    gabors = v1keras.v1.sample_gabors(6, seed=5)
    cells = {"simple_channels": 4, "complex_channels": 2}
    mine = v1keras.Variant(name="mine", **cells)
    common = {"num_classes": 3, "width": 4, "stride": 8, "gabors": gabors}
    for order, expected in (
        ("sampled", np.arange(6)),
        ("color", [*np.argsort(gabors.channel_q0[:4], kind="stable")]),
    ):
        model = build_classifier("resnet18", mine, channel_order=order, **common)
        block = model.get_layer("vone_block")
        assert block.variant.gabors == gabors
        np.testing.assert_array_equal(block.cell_of_channel[: len(expected)], expected)
    with pytest.raises(ValueError, match="6 parameters, simple_channels=256"):
        build_classifier("resnet18", **common)
    with pytest.raises(ValueError, match="Received: pixel_scaling='none'"):
        build_classifier("resnet18", num_classes=3, pixel_scaling="none")


def test_pixels_are_scaled_as_torchvision_does():
    model = build_classifier(
        "resnet18", "base", num_classes=3, width=4, pixel_scaling="imagenet"
    )
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    expected = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    scaled = model.get_layer("preprocessing")(pixels)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_what_is_read_tells_what_it_is(published):
    read = read_published(published / "resnet18.pth")
    assert (read.family, read.num_classes) == ("resnet", 5)
    assert (read.settings["arch"], read.settings["width"]) == ("resnet18", 2)
    assert read.variant.name == "base"
