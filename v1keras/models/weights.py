"""Weights by layer and name: out of models and of PyTorch's files, and into models."""

import collections
import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from v1keras.models.torch_file import read_torch_file

HEAD = "logits"
"""The layer that gives the logits."""

Weights = dict[str, dict[str, np.ndarray]]
"""The layer's name, then the weight's name, such as `"kernel"`."""

# Where checkpoints keep the state of their model.
_STATES = ("state_dict", "model")
# What wrappers put before the names.
_PREFIX = re.compile(r"^(module\.|model\.)+")

_LAYERS = {
    "conv1": "stem_conv",
    "bn1": "stem_norm",
    "bottleneck": "bottleneck",
    "voneblock_bottleneck": "bottleneck",
    "fc": HEAD,
}
_BLOCK = re.compile(r"(layer\d)\.(\d+)\.(conv\d|bn\d|downsample\.[01])")
_PARTS = {"downsample.0": "shortcut_conv", "downsample.1": "shortcut_norm"}
_LEARNED = (
    keras.layers.BatchNormalization,
    keras.layers.Conv2D,
    keras.layers.Dense,
    keras.layers.GroupNormalization,
)
_NORMALIZATION = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}


def read_state(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], Mapping]:
    """The tensors of a PyTorch model, by name, and what the file holds beside them.

    Args:
        path: str or path. A file of `torch.save`, or of the suffix `.safetensors`.

    Returns:
        The state dictionary, without the prefixes of wrappers, and a mapping.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or holds no tensors by name.
        ImportError: if the file needs the package safetensors, which is missing.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        content = _read_safetensors(path)
    else:
        content = read_torch_file(path)
    rest = {}
    if isinstance(content, Mapping):
        rest = content
        for name in _STATES:
            if isinstance(content.get(name), Mapping):
                content = content[name]
    named = isinstance(content, Mapping) and {
        _PREFIX.sub("", str(name)): tensor
        for name, tensor in content.items()
        if isinstance(tensor, np.ndarray)
    }
    if not named:
        raise ValueError(
            "A checkpoint must hold tensors by name, alone or as `state_dict` or "
            f"`model`. Received: {path}, which holds {_described(content)}"
        )
    return named, rest


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            "Files of the suffix .safetensors need `pip install 'v1keras[weights]'`. "
            f"Received: {path}"
        ) from error
    if not path.is_file():
        raise FileNotFoundError(f"A checkpoint must be a file. Received: {path}")
    try:
        return safetensors.numpy.load_file(path)
    except Exception as error:  # its own class, and NumPy's for types that it lacks
        raise ValueError(
            f"A checkpoint must be undamaged. Received: {path}, which cannot be read "
            f"({error})"
        ) from error


def _described(content: object) -> str:
    if isinstance(content, Mapping):
        return f"the entries {', '.join(map(str, list(content)[:5]))}"
    return f"an object of type {type(content).__name__}"


def weights_of_state(state: Mapping[str, np.ndarray]) -> Weights:
    """The weights of torchvision's, timm's, VOneNet's and EVNet's ResNets, by our names.

    Args:
        state: mapping from PyTorch's names to arrays. What is part of no ResNet is left
            out.

    Returns:
        `Weights`, in Keras' layout.
    """
    weights: Weights = collections.defaultdict(dict)
    for name, value in state.items():
        module, _, kind = name.rpartition(".")
        layer = layer_name(module)
        if layer is None:
            continue
        if value.ndim == 4:
            weights[layer]["kernel"] = np.transpose(value, (2, 3, 1, 0))
        elif layer == HEAD:
            weights[layer]["kernel" if kind == "weight" else kind] = value.T
        elif kind in _NORMALIZATION:
            weights[layer][_NORMALIZATION[kind]] = value
    return dict(weights)


def layer_name(module: str) -> str | None:
    """What a module of PyTorch's ResNets is called here; `None` if it is no part."""
    match = _BLOCK.fullmatch(module)
    if match is None:
        return _LAYERS.get(module)
    stage, index, part = match.groups()
    return f"{stage}_{index}_{_PARTS.get(part, part.replace('bn', 'norm'))}"


def weights_of_model(model: keras.Model) -> Weights:
    """The weights of a classifier's layers, apart from its V1 front-end.

    Args:
        model: `keras.Model`.

    Returns:
        `Weights`.
    """
    return {
        layer.name: {w.name: keras.ops.convert_to_numpy(w) for w in layer.weights}
        for layer in learned_layers(model)
    }


def learned_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that training changes, frozen or not: all but the V1 front-end's."""
    return [layer for layer in model.layers if isinstance(layer, _LEARNED)]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """What `assign_weights` did.

    Args:
        taken: tuple of str. The layers that have the weights given.
        missing: tuple of str. The layers of the model for which none were given.
        misfits: tuple of str. The layers whose weights have other shapes, which keep
            their own.
        unused: tuple of str. What was given for layers that the model does not have.
    """

    taken: tuple[str, ...]
    missing: tuple[str, ...]
    misfits: tuple[str, ...]
    unused: tuple[str, ...]

    def summary(self) -> str:
        """One line for a reader."""
        kept = ", ".join((*self.misfits, *self.missing))
        return f"{len(self.taken)} layers taken" + (
            f"; begun anew: {kept}" * bool(kept)
        )


def assign_weights(model: keras.Model, weights: Weights) -> Assignment:
    """Gives a classifier's layers the weights of the same name where shapes fit.

    Args:
        model: `keras.Model` that `build_classifier` made.
        weights: `Weights`.

    Returns:
        `Assignment`.
    """
    taken, missing, misfits = [], [], []
    layers = learned_layers(model)
    for layer in layers:
        given = weights.get(layer.name)
        if given is None:
            missing.append(layer.name)
        elif {w.name: tuple(w.shape) for w in layer.weights} != {
            name: value.shape for name, value in given.items()
        }:
            misfits.append(layer.name)
        else:
            for weight in layer.weights:
                weight.assign(given[weight.name])
            taken.append(layer.name)
    unused = set(weights).difference(layer.name for layer in layers)
    return Assignment(*map(tuple, (taken, missing, misfits, sorted(unused))))
