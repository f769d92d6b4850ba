"""The cells before V1: retina and lateral geniculate nucleus (LGN).

Source of all constants: EVNet (Piper et al. 2025, "Explicitly Modeling Subcortical
Vision with a Neuro-Inspired Front-End Improves CNN Robustness", arXiv:2506.03089),
whose cells are fitted to recordings from macaques.
"""

import dataclasses
import math
import types
from collections.abc import Mapping

# Radii are in pixels of images of this resolution.
PIXELS_PER_DEGREE = 32.0

# Windows reach to where a Gaussian of their radius has fallen to this.
_WINDOW_ENDS_AT = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellClass:
    """Constants of one class of cells.

    Args:
        center_radius: float. Radius of the centre's Gaussian `exp(-d^2 / radius^2)`, in
            pixels of 1/32 degree.
        surround_radius: float. Radius of the surround's, in the same unit.
        surround_weight: float. Height of the surround; that of the centre is 1.
        pool_radius: float. Radius of the neighbourhood that normalises contrast.
        semisaturation: float. Contrast below which cells hardly adapt (c50).
        exponent: float. Exponent of the divisor.
        gain: float. Factor on the responses.
    """

    center_radius: float
    surround_radius: float
    surround_weight: float
    pool_radius: float
    semisaturation: float
    exponent: float
    gain: float


P_CELLS = CellClass(
    center_radius=1.494800846305186,
    surround_radius=7.1528,
    surround_weight=-0.011894632845946745,
    pool_radius=13.4115,
    semisaturation=1.0,
    exponent=1.0,
    gain=5.29525198895458,
)
M_CELLS = CellClass(
    center_radius=2.4203904,
    surround_radius=17.091879253424104,
    surround_weight=-0.0037506100912582663,
    pool_radius=28.872192,
    semisaturation=0.18501829502844522,
    exponent=0.8068704487883759,
    gain=2.8494928592250206,
)


@dataclasses.dataclass(frozen=True)
class SubcorticalChannel:
    """One output channel: cells of one class, and the colours that they look at.

    Args:
        cells: `CellClass`.
        center: tuple of three floats. Weights of red, green and blue in the centre.
        surround: tuple of three floats. The same in the surround.
    """

    cells: CellClass
    center: tuple[float, float, float]
    surround: tuple[float, float, float]


_GRAY = (1 / 3, 1 / 3, 1 / 3)
_P_CHANNELS = (
    SubcorticalChannel(P_CELLS, (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    SubcorticalChannel(P_CELLS, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)),
    SubcorticalChannel(P_CELLS, (0.0, 0.0, 1.0), (0.5, 0.5, 0.0)),
)
_M_CHANNELS = (SubcorticalChannel(M_CELLS, _GRAY, _GRAY),)


@dataclasses.dataclass(frozen=True)
class SubcorticalConfiguration:
    """Which cells and which stages there are.

    Args:
        channels: tuple of `SubcorticalChannel`.
        light_adaptation: bool. Defaults to `True`.
        contrast_normalization: bool. Defaults to `True`.
    """

    channels: tuple[SubcorticalChannel, ...]
    light_adaptation: bool = True
    contrast_normalization: bool = True


SUBCORTICAL_CONFIGURATIONS: Mapping[str, SubcorticalConfiguration] = (
    types.MappingProxyType(
        {
            "standard": SubcorticalConfiguration(_P_CHANNELS + _M_CHANNELS),
            "no_p_cells": SubcorticalConfiguration(_M_CHANNELS),
            "no_m_cells": SubcorticalConfiguration(_P_CHANNELS),
            "no_light_adapt": SubcorticalConfiguration(
                _P_CHANNELS + _M_CHANNELS, light_adaptation=False
            ),
            "no_contrast_norm": SubcorticalConfiguration(
                _P_CHANNELS + _M_CHANNELS, contrast_normalization=False
            ),
        }
    )
)


def window_size(radius: float, image_size: int) -> int:
    """Height and width of a Gaussian window in pixels, odd.

    Args:
        radius: float. Of `exp(-d^2 / radius^2)`, in pixels.
        image_size: int. Of the image in pixels, on which the window must fit when its
            borders are reflected.

    Returns:
        int.

    Example:

    >>> v1keras.v1.subcortical.window_size(7.1528, image_size=64)
    19
    """
    reach = math.sqrt(-2.0 * math.log(_WINDOW_ENDS_AT)) * radius / math.sqrt(2.0)
    return min(2 * math.ceil(reach) + 1, 2 * image_size - 1)
