"""Classifiers with a V1 front-end, and the plain CNN that they are compared with."""

import dataclasses
import numbers
import warnings
from collections.abc import Iterable
from typing import Any

import keras
from keras import layers

from v1keras.layers import (
    ContrastNormalization,
    LightAdaptation,
    SubcorticalBlock,
    VOneBlock,
)
from v1keras.models.architectures import ARCHITECTURES, PIXEL_SCALINGS
from v1keras.models.backbone import Parts, backbone
from v1keras.models.settings import V1Setting, resolve_setting
from v1keras.scalars import as_integer
from v1keras.v1 import GaborParameters, Variant, get_variant
from v1keras.v1.distributions import SF_EDGES

# V1's noise has the seed of the model; that of the stage before it lies far from it.
_SUBCORTICAL_SEED = 1_000_003


def build_classifier(
    arch: str = "resnet50",
    variant: str | Variant = "standard",
    *,
    num_classes: int,
    input_shape: tuple[int, int, int] = (64, 64, 3),
    width: int = 64,
    stride: int | None = None,
    visual_degrees: float | None = None,
    kernel_size: int | None = None,
    k_exc: float | None = None,
    noise_scale: float | None = None,
    noise_level: float | None = None,
    noise: str = "stochastic",
    rectify_noise: bool = False,
    normalization: str = "batch",
    pixel_scaling: str = "symmetric",
    gabors: GaborParameters | None = None,
    channel_order: str = "color",
    seed: int = 0,
    name: str | None = None,
) -> keras.Model:
    """Builds V1 front-end, 1x1 bottleneck and ResNet as one functional model.

    Images below 128 pixels take the Tiny ImageNet setting of Baidya et al. 2021
    (2 degrees, stride 2), larger ones the ImageNet setting of Dapello, Marques et
    al. 2020 (8 degrees, stride 4, spatial frequencies up to 9 cycles per degree),
    wherever neither an argument nor the variant says otherwise.

    Stages before V1 that a variant has take images in [0, 1] if they adapt to light, in
    [-1, 1] otherwise.

    The variant `"base"` is the plain CNN. Its stem is strided so that its backbone
    sees a map of the size that the V1 models see: a 7x7 convolution of stride
    `stride // 2` and a max-pooling of stride 2.

    Args:
        arch: str. `"resnet50"` (v1.5) or `"resnet18"`. Defaults to `"resnet50"`.
        variant: str or `v1keras.v1.Variant`. Defaults to `"standard"`.
        num_classes: int. The number of classes.
        input_shape: tuple of int. Height, width and 3; each size needs a model of its
            own, as the filters of V1 follow from the height. Defaults to `(64, 64, 3)`.
        width: int. Channels of the first stage of the backbone and of the
            bottleneck before it. Defaults to `64`.
        stride: int or None. Stride of the front-end, in pixels.
        visual_degrees: float or None. Visual angle of the image's height.
        kernel_size: int or None. Size of the Gabor kernels, in pixels.
        k_exc: float or None. Gain of all cells.
        noise_scale: float or None. From responses to spikes.
        noise_level: float or None. Spontaneous activity, in spikes.
        noise: str. `"stochastic"`, `"off"` or `"fixed"`. Defaults to
            `"stochastic"`.
        rectify_noise: bool. Whether negative noisy responses become 0. Defaults to
            `False`.
        normalization: str. How the backbone normalises: `"batch"`, as published, or
            `"group"`, by groups of channels of each image alone (Wu and He 2018).
            Defaults to `"batch"`.
        pixel_scaling: str. What the first layer sees: `"symmetric"`, pixels in
            [-1, 1]; `"imagenet"`, pixels minus their mean over ImageNet, divided by
            their standard deviation, as torchvision's models do. Not used where stages
            before V1 adapt to the light. Defaults to `"symmetric"`.
        gabors: `v1keras.v1.GaborParameters` or None. Receptive fields, simple cells
            first, instead of the variant's.
        channel_order: str. `"color"` or `"sampled"`, the order of V1's channels; see
            `v1keras.layers.VOneBlock`. Defaults to `"color"`.
        seed: int. Seed of the initial weights and of the noise. Defaults to `0`.
        name: str or None. The name of the model. Defaults to variant and arch.

    Returns:
        `keras.Model`. Takes float images of shape (batch, height, width, 3) in
        0..255, gives logits of shape (batch, num_classes).

    Raises:
        ValueError: if a name is unknown or a size no positive integer, the plain CNN is
            asked for an odd stride, or `gabors` do not fit the variant.

    Example:

    >>> model = v1keras.models.build_classifier(
    ...     "resnet18", "sf_low", num_classes=10, width=16, stride=4
    ... )
    >>> model.output_shape
    (None, 10)
    """
    # Lists: what cannot be hashed is no name either.
    if arch not in list(ARCHITECTURES):
        raise ValueError(
            f"`arch` must be one of {', '.join(ARCHITECTURES)}. Received: arch={arch!r}"
        )
    if not _is_image_shape(input_shape):
        raise ValueError(
            "`input_shape` must be (height, width, 3), positive integers: the filters of "
            "V1 follow from the height, so each size of images needs a model of its "
            f"own. Received: input_shape={input_shape!r}"
        )
    sizes = {"num_classes": num_classes, "width": width}
    if stride is not None:
        sizes["stride"] = stride
    for argument, value in sizes.items():
        if as_integer(value, argument) < 1:
            raise ValueError(
                f"`{argument}` must be at least 1. Received: {argument}={value}"
            )
    if pixel_scaling not in list(PIXEL_SCALINGS):
        raise ValueError(
            f"`pixel_scaling` must be one of {', '.join(PIXEL_SCALINGS)}. "
            f"Received: pixel_scaling={pixel_scaling!r}"
        )
    asked = get_variant(variant)
    if gabors is not None:
        asked = dataclasses.replace(asked, gabors=gabors)
    variant, setting = resolve_setting(
        asked,
        input_shape[0],
        stride=stride,
        visual_degrees=visual_degrees,
        kernel_size=kernel_size,
        k_exc=k_exc,
        noise_scale=noise_scale,
        noise_level=noise_level,
    )
    _warn_of_ends_within_bins(asked, variant)
    parts = Parts(seed, normalization)

    inputs = keras.Input(input_shape, name="images")
    scaling = PIXEL_SCALINGS[pixel_scaling]
    x = _before_v1(inputs, variant, setting, scaling, noise=noise, seed=seed)
    if variant.v1:
        before_v1 = x
        x = VOneBlock(
            variant,
            image_size=input_shape[0],
            visual_degrees=setting.visual_degrees,
            kernel_size=setting.kernel_size,
            stride=setting.stride,
            k_exc=setting.k_exc,
            noise_scale=setting.noise_scale,
            noise_level=setting.noise_level,
            noise=noise,
            rectify_noise=rectify_noise,
            channel_order=channel_order,
            seed=seed,
            name="vone_block",
        )(x)
        if variant.lgn_to_v2:
            bypass = _pool(before_v1, setting.stride)
            channels = _bottleneck_channels(width, variant)
            x = parts.convolution(x, channels, 1, name="bottleneck")
            x = layers.Concatenate(name="v1_and_lgn")([x, bypass])
        else:
            x = parts.convolution(x, width, 1, name="bottleneck")
    else:
        x = _stem(x, width, stride=setting.stride, parts=parts)
    outputs = backbone(x, arch, width=width, num_classes=num_classes, parts=parts)
    return keras.Model(inputs, outputs, name=name or f"{variant.name}_{arch}")


def _is_image_shape(shape: Any) -> bool:
    sizes = tuple(shape) if isinstance(shape, Iterable) else ()
    whole = all(isinstance(size, numbers.Integral) and size > 0 for size in sizes)
    return len(sizes) == 3 and whole and sizes[-1] == 3


def _bottleneck_channels(width: int, variant: Variant) -> int:
    if width <= variant.input_channels:
        raise ValueError(
            f"`width` must be above {variant.input_channels}, the channels that bypass "
            f"V1 of {variant.name}. Received: width={width}"
        )
    return width - variant.input_channels


def _pool(x, stride: int):
    """The greatest response around each place of V1's map, as in EVNet."""
    before = (stride + 1) // 2
    pads = [before, stride - before]
    # Mirrored values lie in the same windows and change no maximum.
    x = keras.ops.pad(x, [[0, 0], pads, pads, [0, 0]], mode="symmetric")
    return layers.MaxPooling2D(
        stride + 1, strides=stride, data_format="channels_last", name="lgn_pool"
    )(x)


def _stem(x, width: int, *, stride: int, parts: Parts):
    """The conventional stem: 7x7 convolution, then max-pooling of stride 2."""
    if stride % 2:
        raise ValueError(
            "`stride` must be even for the plain CNN, whose stem ends in a "
            f"max-pooling of stride 2. Received: stride={stride}"
        )
    x = parts.convolution(x, width, 7, stride=stride // 2, name="stem_conv")
    x = layers.ReLU(name="stem_relu")(parts.normalization(x, name="stem_norm"))
    # Zeros are the least values after the rectification: they pad like -inf.
    x = layers.ZeroPadding2D(1, data_format="channels_last", name="stem_pool_pad")(x)
    return layers.MaxPooling2D(
        3, strides=2, data_format="channels_last", name="stem_pool"
    )(x)


def _warn_of_ends_within_bins(asked: Variant, variant: Variant) -> None:
    if not variant.v1 or variant.gabors is not None:
        return
    low, high = variant.sf_range
    ends = {"sf_min": asked.sf_min, "sf_max": asked.sf_max}
    inside = [
        f"{name}={end:g}"
        for name, end in ends.items()
        if end is not None and SF_EDGES[0] < end < SF_EDGES[-1] and end not in SF_EDGES
    ]
    if inside:
        warnings.warn(
            f"{', '.join(inside)}: only whole bins of the measured spatial frequencies "
            f"count, so the cells of {variant.name} have {low:g} to {high:g} cycles per "
            "degree",
            stacklevel=3,
        )


def _before_v1(
    images,
    variant: Variant,
    setting: V1Setting,
    scaling: dict[str, Any],
    *,
    noise: str,
    seed: int,
):
    """Preprocessing, and the variant's stages before V1."""
    geometry = {
        "image_size": images.shape[1],
        "visual_degrees": setting.visual_degrees,
    }
    stages = []
    if variant.light_adaptation:
        stages.append(LightAdaptation(name="light_adaptation"))
    if variant.subcortical != "none":
        block = SubcorticalBlock(
            variant.subcortical,
            **geometry,
            noise_gain=variant.subcortical_noise_gain,
            noise=noise,
            seed=(seed + _SUBCORTICAL_SEED) % 2**31,
            name="subcortical_block",
        )
        stages.append(block)
    light = {"scale": 1.0 / 255.0} if stages else scaling
    if variant.contrast_normalization:
        stages.append(
            ContrastNormalization(
                variant.contrast_sigma,
                epsilon=variant.contrast_epsilon,
                **geometry,
                name="contrast_normalization",
            )
        )
    # The stages compute in float32: they should see all that the pixels hold.
    precision = {"dtype": "float32"} if stages else {}
    x = layers.Rescaling(**light, **precision, name="preprocessing")(images)
    for stage in stages:
        x = stage(x)
    return x
