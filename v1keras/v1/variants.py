"""Models of V1 in front of a CNN: the variants of the paper, those that normalise
light and contrast, and how to define others.

Sources: Baidya, Dapello, DiCarlo and Marques, "Combining Different V1 Brain Model
Variants to Improve Robustness to Image Corruptions in CNNs", SVRHM 2021
(arXiv:2110.10645); Piper et al., "Explicitly Modeling Subcortical Vision with a
Neuro-Inspired Front-End Improves CNN Robustness", 2025 (arXiv:2506.03089).
"""

import dataclasses
import difflib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from v1keras.scalars import as_python, as_seed
from v1keras.v1.distributions import (
    COLOR_CHANNELS,
    GaborParameters,
    sample_evnet_gabors,
    sample_gabors,
    sf_range,
)
from v1keras.v1.subcortical import SUBCORTICAL_CONFIGURATIONS

DISTRIBUTIONS = ("v1", "uniform", "evnet")
SUBCORTICAL_STAGES = ("none", *SUBCORTICAL_CONFIGURATIONS)
DIVISIVE_POOLS = ("none", "all", "similar")

# Baidya et al. 2021. The highest edge of the measured histogram is 11.2.
_FULL_SF_MAX = 11.3

# The cells of each channel in front of EVNet's V1, by the number of channels.
_EVNET_CHANNEL_SHARES = {4: (0.25,) * 4, 3: (0.34, 0.34, 0.32)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Variant:
    """One model of early vision in front of a CNN, or none.

    An image passes these stages, most of which are off by default: light adaptation or
    the subcortical stage, contrast normalisation, Gabor filters, simple and complex
    cells with push-pull inhibition, divisive normalisation, noise.

    Args:
        name: str. Shown in runs, tables and charts.
        v1: bool. Whether there is a V1 front-end at all; False for the plain CNN, which
            may stand behind the stages before V1.
        sf_min: float. Lowest spatial frequency, in cycles per degree.
        sf_max: float or None. Highest spatial frequency, in cycles per degree. Defaults
            to that of the published setting for the size of the images.
        sf_corr: float. Correlation between spatial frequency and size.
        simple_channels: int. The number of simple cells at each place.
        complex_channels: int. The number of complex cells at each place.
        noise_gain: float. Factor on the standard deviation of the neuronal noise;
            0 for none.
        gabor_seed: int. The seed of the Gabor parameters, from 0 to 2**32 - 1.
        distribution: str. `"v1"` (measured), `"evnet"` (measured, as in EVNet) or
            `"uniform"` (control).
        light_adaptation: bool. Whether V1 sees the contrast with the image's mean; see
            `v1keras.layers.LightAdaptation`.
        subcortical: str. `"none"`, or the configuration of a
            `v1keras.layers.SubcorticalBlock`, whose channels V1 sees instead of colours.
        subcortical_noise_gain: float. Factor on the noise of that stage; 0 for none.
        lgn_to_v2: bool. Whether the channels of that stage also bypass V1: pooled, they
            take the place of as many channels of the bottleneck behind V1.
        contrast_normalization: bool. Whether local contrast is normalised before V1;
            see `v1keras.layers.ContrastNormalization`.
        contrast_sigma: float. Its neighbourhood, in degrees.
        contrast_epsilon: float. The contrast below which it no longer amplifies.
        balanced: bool. Whether every Gabor kernel sums to 0 and so does not answer to
            uniform light.
        push_pull: float. Inhibition of simple cells by their opposite phase, as a share
            of its responses; 0 for none.
        divisive_normalization: str. `"none"`, or the cells whose neighbouring responses
            divide those of a cell: `"all"`, or `"similar"` ones of like frequency and
            orientation; see `v1keras.layers.DivisiveNormalization`.
        divisive_sigma: float. Its neighbourhood, in degrees.
        divisive_semisaturation: float. The pooled response that halves a response.
        kernel_size: int or None. Size of the Gabor kernels, in pixels. Defaults to that
            of the setting.
        k_exc: float or None. Gain of all cells. Defaults to that of the setting.
        fano_factor: float or None. Variance of the noise over the mean response, without
            spontaneous activity. Defaults to the noise of the setting.
        gabors: `GaborParameters`, a dictionary of its fields, or None. Measured or chosen
            receptive fields, simple cells first. By default they are sampled.

    Raises:
        ValueError: if a value is out of range, or two values contradict each other.

    Example:

    >>> quiet = v1keras.v1.Variant(name="quiet", sf_max=4.0, noise_gain=0.25)
    >>> dataclasses.replace(v1keras.v1.get_variant("sf_low"), gabor_seed=7).sf_max
    2.0
    """

    name: str
    v1: bool = True
    sf_min: float = 0.0
    sf_max: float | None = None
    sf_corr: float = 0.75
    simple_channels: int = 256
    complex_channels: int = 256
    noise_gain: float = 1.0
    gabor_seed: int = 0
    distribution: str = "v1"
    light_adaptation: bool = False
    subcortical: str = "none"
    subcortical_noise_gain: float = 1.0
    lgn_to_v2: bool = False
    contrast_normalization: bool = False
    contrast_sigma: float = 0.1875
    contrast_epsilon: float = 0.045
    balanced: bool = False
    push_pull: float = 0.0
    divisive_normalization: str = "none"
    divisive_sigma: float = 0.5
    divisive_semisaturation: float = 0.5
    kernel_size: int | None = None
    k_exc: float | None = None
    fano_factor: float | None = None
    gabors: GaborParameters | None = None

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, as_python(value))
        if isinstance(self.gabors, dict):
            object.__setattr__(self, "gabors", GaborParameters(**self.gabors))
        if not self.name:
            raise ValueError("A variant must have a name. Received: name=''")
        for name, known in (
            ("distribution", DISTRIBUTIONS),
            ("subcortical", SUBCORTICAL_STAGES),
            ("divisive_normalization", DIVISIVE_POOLS),
        ):
            self._require(
                name, getattr(self, name) in known, f"one of {', '.join(known)}"
            )
        for name in (
            "simple_channels", "complex_channels", "noise_gain", "push_pull",
            "subcortical_noise_gain",
        ):  # fmt: skip
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in ("simple_channels", "complex_channels"):
            number = getattr(self, name)
            self._require(name, number == int(number), "a whole number")
            object.__setattr__(self, name, int(number))
        object.__setattr__(self, "gabor_seed", as_seed(self.gabor_seed, "gabor_seed"))
        for name in (
            "contrast_sigma", "contrast_epsilon", "divisive_sigma",
            "divisive_semisaturation", "kernel_size", "k_exc", "fano_factor",
        ):  # fmt: skip
            value = getattr(self, name)
            self._require(name, value is None or value > 0, "positive")
        self._require(
            "light_adaptation",
            not (self.light_adaptation and self.subcortical != "none"),
            "False with a subcortical stage, which adapts to light itself",
        )
        self._require(
            "lgn_to_v2",
            not self.lgn_to_v2 or (self.v1 and self.subcortical != "none"),
            "False without a subcortical stage and V1",
        )
        if self.v1:
            if self.channels == 0:
                raise ValueError(
                    "A V1 front-end must have simple or complex cells. Received: "
                    "simple_channels=0, complex_channels=0"
                )
            self._require(
                "push_pull",
                self.simple_channels or not self.push_pull,
                "0 without simple cells, on which it acts",
            )
            self._check_gabors()
            # Refuse now what could not be sampled later.
            self.sample(None if self.distribution == "evnet" else 1)

    def _require(self, name: str, holds: bool, what: str) -> None:
        if not holds:
            raise ValueError(
                f"`{name}` must be {what}. Received: {name}={getattr(self, name)!r}"
            )

    def _check_gabors(self) -> None:
        if self.gabors is None:
            return
        if len(self.gabors) != self.channels:
            raise ValueError(
                "`gabors` must hold the parameters of all simple and complex cells. "
                f"Received: {len(self.gabors)} parameters, "
                f"simple_channels={self.simple_channels}, "
                f"complex_channels={self.complex_channels}"
            )
        highest = max(self.gabors.channel_q0.max(), self.gabors.channel_q1.max())
        if highest >= self.input_channels:
            raise ValueError(
                f"`gabors` must look at channels below {self.input_channels}, those "
                f"that V1 sees. Received: channel {highest}"
            )

    @property
    def channels(self) -> int:
        """The number of output channels, simple and complex."""
        return self.simple_channels + self.complex_channels

    @property
    def input_channels(self) -> int:
        """The number of channels that V1 sees: colours, or subcortical cells."""
        if self.subcortical == "none":
            return COLOR_CHANNELS
        return len(SUBCORTICAL_CONFIGURATIONS[self.subcortical].channels)

    @property
    def is_plain(self) -> bool:
        """Whether nothing stands before the CNN, neither V1 nor another stage."""
        stages = self.light_adaptation, self.contrast_normalization
        return not (self.v1 or any(stages) or self.subcortical != "none")

    @property
    def is_noisy(self) -> bool:
        """Whether there is neuronal noise, in V1 or before it."""
        before_v1 = self.subcortical != "none" and self.subcortical_noise_gain > 0
        return bool(before_v1 or (self.v1 and self.noise_gain > 0))

    @property
    def sf_range(self) -> tuple[float, float]:
        """The spatial frequencies that are in force, in cycles per degree.

        Only whole bins of the measured histogram count; see `v1keras.v1.sf_range`. With
        `gabors`, theirs.
        """
        if self.gabors is not None:
            return float(self.gabors.sf.min()), float(self.gabors.sf.max())
        return sf_range(self.sf_min, self._highest_sf, self.distribution)

    @property
    def _highest_sf(self) -> float:
        return _FULL_SF_MAX if self.sf_max is None else self.sf_max

    def to_dict(self) -> dict[str, Any]:
        """All fields, ready for JSON; `Variant(**fields)` is equal to this one."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {"gabors": self.gabors and self.gabors.to_dict()}

    def sample(self, n: int | None = None) -> GaborParameters:
        """Draws this variant's Gabor parameters, `channels` of them by default.

        Those of a variant with `gabors` are not drawn: the first n of them.
        """
        if self.gabors is not None:
            return self.gabors if n is None else self.gabors.select(np.arange(n))
        settings = {
            "seed": self.gabor_seed,
            "sf_min": self.sf_min,
            "sf_max": self._highest_sf,
            "sf_corr": self.sf_corr,
            "input_channels": self.input_channels,
        }
        n = self.channels if n is None else n
        if self.distribution == "evnet":
            simple = round(n * self.simple_channels / self.channels)
            shares = _EVNET_CHANNEL_SHARES.get(self.input_channels)
            return sample_evnet_gabors(
                simple, n - simple, channel_shares=shares, **settings
            )
        return sample_gabors(n, distribution=self.distribution, **settings)


def _table(*variants: Variant) -> Mapping[str, Variant]:
    return types.MappingProxyType({variant.name: variant for variant in variants})


# The paper's set.
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

# All of these but `evnet` and `evnet_lgn_v2` are without noise: normalisation and noise
# help against different corruptions, noise needs far longer training, and noise of a fixed
# size would mean something else behind each stage. `--noise_gain=1` adds that of V1 and
# `--subcortical_noise_gain=1` that before it.
_quiet = {"noise_gain": 0.0, "subcortical_noise_gain": 0.0}
# V1 of EVNet is fitted to the responses of the subcortical stage.
_EVNET_GAIN = 5.3
_evnet = {
    "distribution": "evnet",
    "subcortical": "standard",
    "sf_max": 8.0,
    "kernel_size": 31,
    "k_exc": _EVNET_GAIN,
    "fano_factor": 0.93,
}
NORMALIZING_VARIANTS: Mapping[str, Variant] = _table(
    Variant(name="light_adapted", light_adaptation=True, **_quiet),
    Variant(name="balanced", balanced=True, **_quiet),
    Variant(
        name="balanced_light_adapted", balanced=True, light_adaptation=True, **_quiet
    ),
    Variant(name="contrast_normalized", contrast_normalization=True, **_quiet),
    Variant(name="subcortical", subcortical="standard", k_exc=_EVNET_GAIN, **_quiet),
    Variant(name="evnet", **_evnet),
    Variant(name="evnet_no_noise", **_evnet, **_quiet),
    Variant(name="evnet_lgn_v2", lgn_to_v2=True, **_evnet),
    Variant(name="divisive", divisive_normalization="all", **_quiet),
    Variant(name="push_pull", push_pull=0.8, **_quiet),
)

# Plain CNNs behind the same stages: what does V1 add?
_no_v1 = {"v1": False, "simple_channels": 0, "complex_channels": 0, **_quiet}
NORMALIZING_CONTROLS: Mapping[str, Variant] = _table(
    Variant(name="base_light_adapted", light_adaptation=True, **_no_v1),
    Variant(name="base_contrast_normalized", contrast_normalization=True, **_no_v1),
    Variant(name="base_subcortical", subcortical="standard", **_no_v1),
)

NAMED_VARIANTS: Mapping[str, Variant] = types.MappingProxyType(
    {**VARIANTS, **NORMALIZING_VARIANTS, **NORMALIZING_CONTROLS}
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
    if isinstance(variant, str) and variant in NAMED_VARIANTS:
        return NAMED_VARIANTS[variant]
    close = difflib.get_close_matches(str(variant), NAMED_VARIANTS, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    if isinstance(variant, dict):
        hint = " `v1keras.v1.Variant(**fields)` makes one of these fields."
    raise ValueError(
        f"`variant` must be one of {', '.join(NAMED_VARIANTS)}, or a "
        f"`v1keras.v1.Variant`. Received: variant={variant!r}.{hint}"
    )
