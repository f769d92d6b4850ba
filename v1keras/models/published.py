"""Trained models of others: VOneNets, EVNets and torchvision's ResNets."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from v1keras.models.architectures import ARCHITECTURES
from v1keras.models.classifier import build_classifier
from v1keras.models.weights import (
    Weights,
    assign_weights,
    layer_name,
    read_state,
    weights_of_state,
)
from v1keras.v1 import Variant, fit_gabors, get_variant
from v1keras.v1.subcortical import SUBCORTICAL_CONFIGURATIONS

IMAGE_SIZE = 224
"""Height and width of the images that all of them were trained on, in pixels."""

_VONENET_FRONT_END = "vone_block."
_EVNET_FRONT_ENDS = ("subcorticalblock.", "voneblock.")
_FRONT_ENDS = (_VONENET_FRONT_END, *_EVNET_FRONT_ENDS)

# Where a checkpoint does not say so.
_VONENET_DEGREES = 8.0
_EVNET_DEGREES = 7.0
_EVNET_STRIDE = 4


@dataclasses.dataclass(frozen=True)
class PublishedModel:
    """A trained model of others, read but not yet built.

    Args:
        path: str. The file, for messages.
        family: str. `"vonenet"`, `"evnet"` or `"resnet"`.
        variant: `v1keras.v1.Variant`.
        settings: dict. Further arguments of `build_classifier`.
        weights: `Weights` of what was trained.
    """

    path: str
    family: str
    variant: Variant
    settings: dict[str, Any]
    weights: Weights

    @property
    def num_classes(self) -> int:
        """The number of logits."""
        return self.weights["logits"]["bias"].size

    def build(self) -> keras.Model:
        """The classifier with its weights.

        Raises:
            ValueError: if layers lack weights or do not fit them.
        """
        model = build_classifier(
            variant=self.variant,
            num_classes=self.num_classes,
            input_shape=(IMAGE_SIZE, IMAGE_SIZE, 3),
            # Channels as published: those who compare them with neurons count them.
            channel_order="sampled",
            **self.settings,
        )
        done = assign_weights(model, self.weights)
        wrong = (*done.missing, *done.misfits, *done.unused)
        if wrong:
            raise ValueError(
                f"A checkpoint must fit {model.name} in all layers. Received: "
                f"{', '.join(wrong[:3])}, missing or of other shapes, in {self.path}"
            )
        return model


def load_vonenet(path: str | os.PathLike) -> keras.Model:
    """A published VOneNet with a ResNet back-end, without PyTorch.

    Receptive fields and their colours are read from the kernels in the file. What the
    published models call `resnet50`, `resnet50_at` and `resnet50_ns` is known;
    VOneAlexNet and VOneCORnet-S are not.

    Args:
        path: str or path. The file, such as `voneresnet50_e70.pth.tar`.

    Returns:
        `keras.Model`. Takes images of shape (batch, 224, 224, 3) in 0..255, gives the
        logits of ImageNet's classes in the order of their identifiers. Its noise is that
        of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no such checkpoint.

    Example:

    >>> model = v1keras.models.load_vonenet(
    ...     "voneresnet50_e70.pth.tar"
    ... )  # doctest: +SKIP
    """
    return _load(path, "vonenet")


def load_evnet(path: str | os.PathLike) -> keras.Model:
    """A published EVNet with a ResNet50 back-end; see `load_vonenet`.

    Args:
        path: str or path. The file, such as `evresnet-50.pth`.

    Returns:
        `keras.Model`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no such checkpoint.

    Example:

    >>> model = v1keras.models.load_evnet("evresnet-50.pth")  # doctest: +SKIP
    """
    return _load(path, "evnet")


def load_resnet(path: str | os.PathLike) -> keras.Model:
    """ResNet18 or ResNet50 of torchvision or timm, as the plain CNN; see `load_vonenet`.

    Args:
        path: str or path. A state dictionary, of `torch.save` or safetensors.

    Returns:
        `keras.Model`, of the variant `"base"`. It scales pixels as ImageNet's models do.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is no such checkpoint.
        ImportError: if the file needs the package safetensors, which is missing.

    Example:

    >>> model = v1keras.models.load_resnet("resnet50.pth")  # doctest: +SKIP
    """
    return _load(path, "resnet")


def _load(path: str | os.PathLike, family: str) -> keras.Model:
    published = read_published(path)
    if published.family != family:
        raise ValueError(
            f"`path` must name a checkpoint of a {family}. Received: {path}, which is one "
            f"of a {published.family}; load_{published.family} loads it"
        )
    return published.build()


def read_published(path: str | os.PathLike) -> PublishedModel:
    """Reads a checkpoint of a VOneNet, an EVNet or a ResNet, whichever it is.

    Args:
        path: str or path.

    Returns:
        `PublishedModel`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be read, or holds another network.
        ImportError: if the file needs the package safetensors, which is missing.
    """
    state, rest = read_state(path)
    try:
        backbone = _backbone(state)
        if "vone_block.simple_conv_q0.weight" in state:
            family, (variant, settings) = "vonenet", _vonenet(state, rest.get("flags"))
        elif "voneblock.simple_conv_q0.weight" in state:
            family, (variant, settings) = "evnet", _evnet(state)
        else:
            family, (variant, settings) = "resnet", _plain()
    except ValueError as error:
        raise ValueError(f"{error}, in {path}") from error
    weights = weights_of_state(state)
    settings = {**backbone, **settings}
    return PublishedModel(str(path), family, variant, settings, weights)


def _backbone(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Architecture and width of the ResNet, by the names and shapes of its tensors."""
    strange = [
        name
        for name in state
        if not name.startswith(_FRONT_ENDS)
        and layer_name(name.rpartition(".")[0]) is None
    ]
    first = state.get("layer1.0.conv1.weight")
    if strange or first is None or "fc.bias" not in state:
        raise ValueError(
            "A checkpoint must hold a ResNet, alone or behind the front-end of a VOneNet "
            "or EVNet; AlexNet, CORnet, EfficientNet and ResNets with other stems or "
            f"blocks are not built here. Received: {', '.join((strange or [*state])[:3])}"
        )
    blocks = {tuple(name.split(".")[:2]) for name in state if name.startswith("layer")}
    depths = tuple(
        sum(stage == f"layer{number}" for stage, _ in blocks) for number in range(1, 5)
    )
    kind = depths, "layer1.0.conv3.weight" in state
    names = [name for name, known in ARCHITECTURES.items() if known == kind]
    if not names:
        raise ValueError(
            f"A ResNet must be one of {', '.join(ARCHITECTURES)}. Received: one with "
            f"{', '.join(map(str, depths))} blocks"
        )
    return {"arch": names[0], "width": len(first)}


def _vonenet(
    state: Mapping[str, np.ndarray], flags: Any
) -> tuple[Variant, dict[str, Any]]:
    needed = ("simple_channels", "complex_channels", "stride", "k_exc", "noise_mode")
    flags = flags if isinstance(flags, Mapping) else {}
    missing = [name for name in needed if name not in flags]
    if missing:
        raise ValueError(
            "A checkpoint of a VOneNet must say in `flags` how its front-end was built. "
            f"Received: none of {', '.join(missing)}"
        )
    noise = {"neuronal": 1.0, None: 0.0, "None": 0.0}
    if flags["noise_mode"] not in noise:
        raise ValueError(
            "`noise_mode` must be neuronal or None; other noise is not built here. "
            f"Received: noise_mode={flags['noise_mode']}"
        )
    gain = noise[flags["noise_mode"]]
    degrees = float(flags.get("visual_degrees", _VONENET_DEGREES))
    gabors, kernel_size = _gabors(state, "vone_block", degrees)
    variant = Variant(
        name="vonenet",
        simple_channels=flags["simple_channels"],
        complex_channels=flags["complex_channels"],
        noise_gain=gain,
        gabors=gabors,
    )
    scaling = flags.get("normalization", "vonenet")
    return variant, {
        "visual_degrees": degrees,
        "kernel_size": kernel_size,
        "stride": flags["stride"],
        "k_exc": float(flags["k_exc"]),
        "rectify_noise": True,
        "pixel_scaling": "imagenet" if scaling == "imagenet" else "symmetric",
        **(_noise(flags) if gain else {}),
    }


def _noise(flags: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(flags[name]) for name in ("noise_scale", "noise_level")}


def _evnet(state: Mapping[str, np.ndarray]) -> tuple[Variant, dict[str, Any]]:
    evnet = get_variant("evnet")
    _check_subcortical(state, evnet)
    gabors, kernel_size = _gabors(state, "voneblock", _EVNET_DEGREES)
    simple = len(gabors) // 2
    variant = dataclasses.replace(
        evnet, gabors=gabors, simple_channels=simple, complex_channels=simple
    )
    return variant, {
        "visual_degrees": _EVNET_DEGREES,
        "kernel_size": kernel_size,
        "stride": _EVNET_STRIDE,
    }


def _check_subcortical(state: Mapping[str, np.ndarray], variant: Variant) -> None:
    """Refuses cells before V1 that are not those of the variant."""
    cells = [c.cells for c in SUBCORTICAL_CONFIGURATIONS[variant.subcortical].channels]
    for name, field in (
        ("k_exc", "gain"),
        ("contrast_norm.c50", "semisaturation"),
        ("contrast_norm.n", "exponent"),
    ):
        expected = [getattr(c, field) for c in cells]
        found = state.get(f"subcorticalblock.{name}", np.array([]))
        if found.size != len(expected) or not np.allclose(found.ravel(), expected):
            raise ValueError(
                "An EVNet must have the subcortical cells of the published ones. "
                f"Received: subcorticalblock.{name}={found.ravel().tolist()}"
            )


def _gabors(state: Mapping[str, np.ndarray], block: str, degrees: float) -> tuple:
    q0, q1 = (state[f"{block}.simple_conv_q{phase}.weight"] for phase in (0, 1))
    gabors = fit_gabors(q0, q1, image_size=IMAGE_SIZE, visual_degrees=degrees)
    return gabors, q0.shape[-1]


def _plain() -> tuple[Variant, dict[str, Any]]:
    return get_variant("base"), {"stride": 4, "pixel_scaling": "imagenet"}
