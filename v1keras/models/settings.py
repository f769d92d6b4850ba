"""The published settings of the V1 front-end: a table and a rule, without Keras."""

import dataclasses

from v1keras.v1 import VARIANTS, Variant, get_variant


@dataclasses.dataclass(frozen=True, kw_only=True)
class V1Setting:
    """Geometry and response constants of the V1 front-end for one image size.

    Args:
        visual_degrees: float. Visual angle of the image, in degrees.
        stride: int. Stride of the front-end, in pixels.
        sf_max: float. Highest spatial frequency of the named variants, in cycles
            per degree.
        k_exc: float. Gain of all cells.
        noise_scale: float. From responses to spikes.
        noise_level: float. Spontaneous activity, in spikes.
    """

    visual_degrees: float
    stride: int
    sf_max: float
    k_exc: float
    noise_scale: float
    noise_level: float


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
    return IMAGENET if image_size >= _IMAGENET_FROM_PIXELS else TINY_IMAGENET


def resolve_setting(
    variant: str | Variant, image_size: int, **given: float | None
) -> tuple[Variant, V1Setting]:
    """What a classifier's front-end is built with.

    Args:
        variant: str or `v1keras.v1.Variant`.
        image_size: int. Height of the images, in pixels.
        **given: fields of `V1Setting`. `None` is the published setting's.

    Returns:
        The variant, if it is a named one with the setting's range of spatial
        frequencies in force, and the `V1Setting`.

    Raises:
        ValueError: if the name is unknown.
    """
    variant = get_variant(variant)
    given = {key: value for key, value in given.items() if value is not None}
    setting = dataclasses.replace(setting_for(image_size), **given)
    if VARIANTS.get(variant.name) == variant:
        sf_max = min(variant.sf_max, setting.sf_max)
        variant = dataclasses.replace(variant, sf_max=sf_max)
    return variant, setting
