"""The published settings of the V1 front-end: a table and a rule, without Keras."""

import dataclasses

from v1keras.scalars import as_integer
from v1keras.v1 import Variant, get_variant


@dataclasses.dataclass(frozen=True, kw_only=True)
class V1Setting:
    """Geometry and response constants of the V1 front-end for one image size.

    Args:
        visual_degrees: float. Visual angle of the image, in degrees.
        stride: int. Stride of the front-end, in pixels.
        sf_max: float. Highest spatial frequency, in cycles per degree.
        k_exc: float. Gain of all cells.
        noise_scale: float. From responses to spikes.
        noise_level: float. Spontaneous activity, in spikes.
        kernel_size: int. Size of the Gabor kernels, in pixels. Defaults to `25`.
    """

    visual_degrees: float
    stride: int
    sf_max: float
    k_exc: float
    noise_scale: float
    noise_level: float
    kernel_size: int = 25


# What a variant may have of its own.
_OF_VARIANTS = ("sf_max", "k_exc", "kernel_size")

# Baidya et al. 2021: 64 pixels are 2 degrees.
TINY_IMAGENET = V1Setting(
    visual_degrees=2.0,
    stride=2,
    sf_max=11.3,
    k_exc=23.5,
    noise_scale=0.286,
    noise_level=0.071,
)
# Dapello, Marques et al. 2020: 224 pixels are 8 degrees.
IMAGENET = V1Setting(
    visual_degrees=8.0,
    stride=4,
    sf_max=9.0,
    k_exc=25.0,
    noise_scale=0.35,
    noise_level=0.07,
)
_IMAGENET_FROM_PIXELS = 128


def setting_for(image_size: int) -> V1Setting:
    """The published setting for images of this height in pixels."""
    pixels = as_integer(image_size, "image_size")
    return IMAGENET if pixels >= _IMAGENET_FROM_PIXELS else TINY_IMAGENET


def resolve_setting(
    variant: str | Variant, image_size: int, **given: float | None
) -> tuple[Variant, V1Setting]:
    """What a classifier's front-end is built with.

    What is given comes first, then what the variant has of its own, then the published
    setting for images of this size.

    Args:
        variant: str or `v1keras.v1.Variant`.
        image_size: int. Height of the images, in pixels.
        **given: fields of `V1Setting`; `None` is not given.

    Returns:
        The variant with the highest spatial frequency in force, and the `V1Setting`.

    Raises:
        ValueError: if the name is unknown, `image_size` no integer, or the stride larger
            than the images.

    Example:

    >>> variant, setting = v1keras.models.resolve_setting("evnet", 64, stride=4)
    >>> variant.sf_max, setting.k_exc, setting.stride
    (8.0, 5.3, 4)
    """
    variant = get_variant(variant)
    setting = setting_for(image_size)
    for values in (
        {name: getattr(variant, name) for name in _OF_VARIANTS},
        given,
    ):
        known = {name: value for name, value in values.items() if value is not None}
        setting = dataclasses.replace(setting, **known)
    if setting.stride > image_size:
        raise ValueError(
            "`stride` must be at most the height of the images. "
            f"Received: stride={setting.stride} for images of {image_size} pixels"
        )
    if variant.v1:
        variant = dataclasses.replace(variant, sf_max=setting.sf_max)
    return variant, setting
