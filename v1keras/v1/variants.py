"""The V1 variants of the paper, and how to define others.

Source: Baidya, Dapello, DiCarlo and Marques, "Combining Different V1 Brain Model
Variants to Improve Robustness to Image Corruptions in CNNs", SVRHM 2021
(arXiv:2110.10645).
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping

from v1keras.v1.distributions import GaborParameters, sample_gabors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One model of V1 in front of a CNN, or none.

    Args:
        name: str. Shown in runs, tables and charts.
        v1: bool. Whether there is a V1 front-end at all; False for the plain CNN.
        sf_min: float. Lowest spatial frequency, in cycles per degree.
        sf_max: float. Highest spatial frequency, in cycles per degree.
        sf_corr: float. Correlation between spatial frequency and size.
        simple_channels: int. The number of simple cells at each place.
        complex_channels: int. The number of complex cells at each place.
        noise_gain: float. Factor on the standard deviation of the neuronal noise;
            0 for none.
        gabor_seed: int. The seed of the Gabor parameters.
        distribution: str. `"v1"` (measured) or `"uniform"` (control).

    Raises:
        ValueError: if a value is out of range.

    Example:

    >>> quiet = v1keras.v1.Variant(name="quiet", sf_max=4.0, noise_gain=0.25)
    >>> dataclasses.replace(v1keras.v1.get_variant("sf_low"), gabor_seed=7).sf_max
    2.0
    """

    name: str
    v1: bool = True
    sf_min: float = 0.0
    sf_max: float = 11.3
    sf_corr: float = 0.75
    simple_channels: int = 256
    complex_channels: int = 256
    noise_gain: float = 1.0
    gabor_seed: int = 0
    distribution: str = "v1"

    def __post_init__(self):
        if not self.name:
            raise ValueError("A variant must have a name. Received: name=''")
        if self.simple_channels < 0 or self.complex_channels < 0:
            raise ValueError(
                "The numbers of cells must not be negative. Received: "
                f"simple_channels={self.simple_channels}, "
                f"complex_channels={self.complex_channels}"
            )
        if self.noise_gain < 0:
            raise ValueError(
                f"`noise_gain` must be at least 0. Received: {self.noise_gain}"
            )
        if self.v1:
            if self.channels == 0:
                raise ValueError(
                    "A V1 front-end must have simple or complex cells. Received: "
                    "simple_channels=0, complex_channels=0"
                )
            # Refuse now what could not be sampled later.
            self.sample(1)

    @property
    def channels(self) -> int:
        """The number of output channels, simple and complex."""
        return self.simple_channels + self.complex_channels

    def sample(self, n: int | None = None) -> GaborParameters:
        """Draws this variant's Gabor parameters, `channels` of them by default."""
        return sample_gabors(
            self.channels if n is None else n,
            seed=self.gabor_seed,
            sf_min=self.sf_min,
            sf_max=self.sf_max,
            sf_corr=self.sf_corr,
            distribution=self.distribution,
        )


def _table(*variants: Variant) -> Mapping[str, Variant]:
    return types.MappingProxyType({variant.name: variant for variant in variants})


VARIANTS: Mapping[str, Variant] = _table(
    Variant(
        name="base", v1=False, simple_channels=0, complex_channels=0, noise_gain=0.0
    ),
    Variant(name="standard"),
    Variant(name="sf_low", sf_max=2.0),
    Variant(name="sf_mid", sf_min=2.0, sf_max=5.6),
    Variant(name="sf_high", sf_min=5.6),
    Variant(name="no_noise", noise_gain=0.0),
    Variant(name="low_noise", noise_gain=0.5),
    Variant(name="only_simple", simple_channels=512, complex_channels=0),
    Variant(name="only_complex", simple_channels=0, complex_channels=512),
)

V1_VARIANTS: tuple[str, ...] = tuple(
    name for name, variant in VARIANTS.items() if variant.v1
)


def get_variant(variant: str | Variant) -> Variant:
    """Returns the variant of a name; a `Variant` passes through.

    Args:
        variant: str or `Variant`.

    Returns:
        `Variant`.

    Raises:
        ValueError: if no variant has that name; the message lists those there are.

    Example:

    >>> v1keras.v1.get_variant("low_noise").noise_gain
    0.5
    """
    if isinstance(variant, Variant):
        return variant
    if variant not in VARIANTS:
        close = difflib.get_close_matches(str(variant), VARIANTS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise ValueError(
            f"`variant` must be one of {', '.join(VARIANTS)}. "
            f"Received: variant={variant!r}.{hint}"
        )
    return VARIANTS[variant]
