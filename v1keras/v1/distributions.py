"""Measured distributions of V1 receptive fields, and seeded sampling from them.

Every table stands here once, with its source:

- orientation: De Valois, Yund and Hepler 1982 (Vision Research 22),
- spatial frequency: De Valois, Albrecht and Thorell 1982 (Vision Research 22),
- receptive-field widths in cycles of the preferred frequency (nx, ny): Ringach 2002
  (Journal of Neurophysiology 88),
- their correlation with spatial frequency: Schiller, Finlay and Volman 1976
  (Journal of Neurophysiology 39),
- spatial frequencies of simple and of complex cells apart: the same De Valois,
  Albrecht and Thorell 1982, as EVNet uses them (Piper et al. 2025, arXiv:2506.03089).
"""

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import ndtr

from v1keras.reading import open_archive
from v1keras.scalars import as_seed

COLOR_CHANNELS = 3

ORIENTATION_EDGES = np.array([-22.5, 22.5, 67.5, 112.5, 157.5])
ORIENTATION_WEIGHTS = np.array([66, 49, 77, 54])

SF_EDGES = np.array([0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.2])
SF_WEIGHTS = np.array([4, 4, 8, 25, 32, 26, 28, 12, 8])

SIZE_EDGES = np.logspace(-1, 0.2, 6)
# Rows are bins of nx (along the carrier), columns bins of ny (along the stripes).
SIZE_WEIGHTS = np.array(
    [
        [2, 0, 1, 0, 0],
        [8, 9, 4, 1, 0],
        [1, 2, 19, 17, 3],
        [0, 0, 1, 7, 4],
        [0, 0, 0, 0, 0],
    ]
)

# EVNet has histograms of simple and of complex cells apart, and no cells with an
# envelope of more than one cycle.
EVNET_SIMPLE_SF_WEIGHTS = np.array([4, 4, 8, 25, 33, 26, 28, 12, 8])
EVNET_COMPLEX_SF_WEIGHTS = np.array([0, 0, 9, 9, 7, 10, 23, 12, 14])
EVNET_SIZE_EDGES = np.logspace(-1, 0, 5)
EVNET_SIZE_WEIGHTS = SIZE_WEIGHTS[:4, :4]
# Where rounded shares of the cells do not sum to all of them, this channel has the rest.
_EVNET_REST_CHANNEL = 2

# Colours have a stream of their own, so that the published order of the other draws
# stays as it is.
_COLOR_STREAM = 1


@dataclasses.dataclass(frozen=True, eq=False)
class GaborParameters:
    """Parameters of `n` Gabor receptive fields.

    Args:
        sf: array of shape (n,). Preferred spatial frequency, in cycles per degree.
        theta: array of shape (n,). Orientation, in degrees.
        phase: array of shape (n,). Phase of the carrier, in degrees.
        nx: array of shape (n,). Standard deviation of the envelope along the
            carrier, in cycles of `sf`.
        ny: array of shape (n,). The same across the carrier.
        channel_q0: int array of shape (n,). The channel of the input that the kernel
            looks at: 0, 1 and 2 are red, green and blue.
        channel_q1: int array of shape (n,). The same for its quadrature pair.

    Raises:
        ValueError: if the arrays differ in shape, are not finite, or hold a spatial
            frequency, size or channel that cannot be; channels are whole numbers.

    Example:

    >>> parameters = v1keras.v1.sample_gabors(4, seed=0)
    >>> len(parameters)
    4
    """

    sf: np.ndarray
    theta: np.ndarray
    phase: np.ndarray
    nx: np.ndarray
    ny: np.ndarray
    channel_q0: np.ndarray
    channel_q1: np.ndarray

    def __post_init__(self):
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            if field.name.startswith("channel"):
                value = _whole_numbers(given, field.name)
            else:
                value = np.array(given, dtype=np.float64)
            value.setflags(write=False)
            object.__setattr__(self, field.name, value)
            if value.ndim != 1 or value.shape != self.sf.shape:
                raise ValueError(
                    "The arrays of GaborParameters must be one-dimensional and of "
                    f"equal length. Received: {field.name} of shape {value.shape}, "
                    f"sf of shape {self.sf.shape}"
                )
            if not np.all(np.isfinite(value)):
                raise ValueError(
                    "GaborParameters must be finite. Received: "
                    f"{field.name}={value[~np.isfinite(value)][:3]}"
                )
        for name in ("sf", "nx", "ny"):
            if np.any(getattr(self, name) <= 0):
                raise ValueError(
                    f"`{name}` must be positive. Received: minimum "
                    f"{getattr(self, name).min()}"
                )
        for name in ("channel_q0", "channel_q1"):
            channels = getattr(self, name)
            if np.any(channels < 0):
                raise ValueError(
                    f"`{name}` must be at least 0. Received: minimum {channels.min()}"
                )

    def __len__(self) -> int:
        return self.sf.size

    def __eq__(self, other) -> bool:
        if not isinstance(other, GaborParameters):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, field.name), getattr(other, field.name))
            for field in dataclasses.fields(self)
        )

    def __hash__(self) -> int:
        return hash((len(self), self.sf.tobytes()))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "GaborParameters":
        """Reads parameters from a NumPy archive.

        Args:
            path: str or path. An `.npz` file with one array for each field;
                `channel_q1` may be missing if it is equal to `channel_q0`.

        Returns:
            `GaborParameters`.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged or lacks an array.

        Example:

        >>> gabors = v1keras.v1.sample_gabors(8)
        >>> np.savez("gabors.npz", **gabors.to_dict())
        >>> v1keras.v1.GaborParameters.load("gabors.npz") == gabors
        True
        """
        names = [field.name for field in dataclasses.fields(cls)]
        remedy = f"`gabors` must be an .npz file with the arrays {', '.join(names)}"
        with open_archive(path, remedy) as file:
            arrays = {name: file[name] for name in names if name in file}
            arrays.setdefault("channel_q1", arrays["channel_q0"])
            return cls(**arrays)

    def select(self, index: np.ndarray) -> "GaborParameters":
        """The parameters at these indices, in their order."""
        return GaborParameters(
            **{
                field.name: getattr(self, field.name)[index]
                for field in dataclasses.fields(self)
            }
        )

    def append(self, other: "GaborParameters") -> "GaborParameters":
        """These parameters, followed by the others."""
        return GaborParameters(
            **{
                field.name: np.concatenate(
                    [getattr(self, field.name), getattr(other, field.name)]
                )
                for field in dataclasses.fields(self)
            }
        )

    def quadrature(self) -> "GaborParameters":
        """The quadrature pairs: phases advanced by 90 degrees, on `channel_q1`."""
        return dataclasses.replace(
            self, phase=self.phase + 90.0, channel_q0=self.channel_q1
        )

    def to_dict(self) -> dict[str, list]:
        """The arrays as lists, ready for JSON."""
        return {
            field.name: getattr(self, field.name).tolist()
            for field in dataclasses.fields(self)
        }


def _whole_numbers(given: Any, name: str) -> np.ndarray:
    """A new int64 array of numbers that may be floats, but have no fraction."""
    given = np.asarray(given)
    with np.errstate(invalid="ignore"):
        whole = np.array(given, dtype=np.int64)
    if not np.array_equal(whole, given):
        raise ValueError(
            f"`{name}` must be whole numbers. Received: {given[whole != given][:3]}"
        )
    return whole


def sample_gabors(
    n: int,
    *,
    seed: int = 0,
    sf_min: float = 0.0,
    sf_max: float = 11.3,
    sf_corr: float = 0.75,
    distribution: str = "v1",
    input_channels: int = COLOR_CHANNELS,
) -> GaborParameters:
    """Draws the parameters of `n` Gabor receptive fields.

    With `distribution="v1"` they follow the measured distributions of macaque V1
    and equal the published VOneNet banks for the same seed and number. The
    `"uniform"` control draws each of them uniformly.

    Args:
        n: int. The number of receptive fields.
        seed: int. The seed of all draws, from 0 to 2**32 - 1. Defaults to `0`.
        sf_min: float. Lower end of the spatial frequencies, in cycles per degree.
            Only whole bins of the measured histogram are used.
        sf_max: float. Upper end of the spatial frequencies, in cycles per degree.
        sf_corr: float. Correlation between spatial frequency and size (nx), in
            [-1, 1]. The uniform control has none.
        distribution: str. `"v1"` or `"uniform"`.
        input_channels: int. The number of channels of the input, of which each
            receptive field gets one at random. Defaults to `3`, the colours.

    Returns:
        `GaborParameters` of length n. The quadrature pair has the channel of its
        kernel.

    Raises:
        ValueError: if a value is out of range or no bin lies within the range of
            spatial frequencies.

    Example:

    >>> low = v1keras.v1.sample_gabors(256, seed=0, sf_max=2.0)
    >>> bool(low.sf.max() <= 2.0)
    True
    """
    if n < 1:
        raise ValueError(f"`n` must be at least 1. Received: n={n}")
    _check_correlation(sf_corr)
    _check_input_channels(input_channels)
    samplers = {"v1": _sample_v1, "uniform": _sample_uniform}
    if distribution not in samplers:
        raise ValueError(
            f"`distribution` must be one of {', '.join(samplers)}. "
            f"Received: distribution={distribution!r}"
        )
    seed = as_seed(seed)
    # The published banks are draws of this legacy generator.
    random = np.random.RandomState(seed)
    parameters = samplers[distribution](random, n, sf_min, sf_max, sf_corr)
    channel = np.random.default_rng([seed, _COLOR_STREAM]).integers(
        input_channels, size=n
    )
    return GaborParameters(**parameters, channel_q0=channel, channel_q1=channel)


def sample_evnet_gabors(
    simple_channels: int,
    complex_channels: int,
    *,
    seed: int = 0,
    sf_min: float = 0.0,
    sf_max: float = 8.0,
    sf_corr: float = 0.75,
    input_channels: int = 4,
    channel_shares: Sequence[float] | None = None,
) -> GaborParameters:
    """Draws the parameters of the Gabor receptive fields of EVNet's V1.

    Simple and complex cells have their own measured distributions of spatial
    frequency, no envelope is wider than one cycle, and each cell looks at one channel
    of the stage before V1 (Piper et al. 2025, arXiv:2506.03089). The published banks
    are reproduced for the same seed and numbers.

    Args:
        simple_channels: int. The number of simple cells.
        complex_channels: int. The number of complex cells.
        seed: int. The seed of all draws, from 0 to 2**32 - 1. Defaults to `0`.
        sf_min: float. Lower end of the spatial frequencies, in cycles per degree.
            Only whole bins of the measured histograms are used. Defaults to `0.0`.
        sf_max: float. Upper end of the spatial frequencies, in cycles per degree.
            Defaults to `8.0`.
        sf_corr: float. Correlation between spatial frequency and size (nx), in
            [-1, 1]. Defaults to `0.75`.
        input_channels: int. The number of channels of the stage before V1. Defaults
            to `4`.
        channel_shares: sequence of `input_channels` floats or None. The share of the
            cells that look at each channel. By default each cell's channel is drawn.

    Returns:
        `GaborParameters`, simple cells first. The quadrature pair has the channel of
        its kernel, and orientations lie in [-22.5, 157.5] degrees.

    Raises:
        ValueError: if a value is out of range, there is no cell, or no bin of one kind
            of cells lies within the range of spatial frequencies.

    Example:

    >>> gabors = v1keras.v1.sample_evnet_gabors(256, 256, channel_shares=[0.25] * 4)
    >>> np.bincount(gabors.channel_q0)
    array([128, 128, 128, 128])
    """
    n = simple_channels + complex_channels
    if min(simple_channels, complex_channels) < 0 or n == 0:
        raise ValueError(
            "`simple_channels` and `complex_channels` must be at least 0, one of them "
            f"positive. Received: simple_channels={simple_channels}, "
            f"complex_channels={complex_channels}"
        )
    _check_correlation(sf_corr)
    _check_input_channels(input_channels)
    random = np.random.RandomState(as_seed(seed))
    phase = 360.0 * random.rand(n)
    theta = _inverse_cdf(random.rand(n), ORIENTATION_EDGES, ORIENTATION_WEIGHTS)
    kinds = []
    for count, sf_weights in (
        (simple_channels, EVNET_SIMPLE_SF_WEIGHTS),
        (complex_channels, EVNET_COMPLEX_SF_WEIGHTS),
    ):
        if count == 0:
            continue
        bins = _sf_bins(sf_min, sf_max, SF_EDGES <= sf_max, sf_weights)
        kinds.append(
            _sample_sizes(
                random, count, bins, sf_corr, EVNET_SIZE_EDGES, EVNET_SIZE_WEIGHTS
            )
        )
    sizes = {name: np.concatenate([kind[name] for kind in kinds]) for name in kinds[0]}
    if channel_shares is None:
        channel = random.randint(0, input_channels, n, dtype=np.int8)
    else:
        channel = _share_out(n, input_channels, channel_shares)
        random.shuffle(channel)
    return GaborParameters(
        **sizes, theta=theta, phase=phase, channel_q0=channel, channel_q1=channel
    )


def similar_cells(parameters: GaborParameters) -> np.ndarray:
    """Groups cells of like orientation and spatial frequency.

    Args:
        parameters: `GaborParameters` of length n.

    Returns:
        int array of shape (n,), numbers from 0 on: equal for cells in the same bin of
        both measured histograms.

    Example:

    >>> groups = v1keras.v1.similar_cells(v1keras.v1.sample_gabors(256))
    >>> bool(groups.max() < 36)  # 4 bins of orientation, 9 of spatial frequency
    True
    """
    low = ORIENTATION_EDGES[0]
    theta = (parameters.theta - low) % 180.0 + low
    bins = (np.digitize(theta, ORIENTATION_EDGES), np.digitize(parameters.sf, SF_EDGES))
    _, groups = np.unique(np.stack(bins), axis=1, return_inverse=True)
    return groups.reshape(-1)


def sf_range(
    sf_min: float, sf_max: float, distribution: str = "v1"
) -> tuple[float, float]:
    """The range from which spatial frequencies are actually drawn.

    Only whole bins of the measured histogram count: an upper end of 5 cycles per
    degree gives the same cells as one of 4.

    Args:
        sf_min: float. The lower end that is asked for, in cycles per degree.
        sf_max: float. The upper end that is asked for, in cycles per degree.
        distribution: str. `"v1"`, `"evnet"` or `"uniform"`. Defaults to `"v1"`.

    Returns:
        Tuple of two floats: the lowest and the highest edge, in cycles per degree.

    Raises:
        ValueError: if there is no bin between the two ends.

    Example:

    >>> v1keras.v1.sf_range(1.5, 5.0)
    (2.0, 4.0)
    """
    below = SF_EDGES < sf_max if distribution == "uniform" else SF_EDGES <= sf_max
    edges, _ = _sf_bins(sf_min, sf_max, below, SF_WEIGHTS)
    return float(edges[0]), float(edges[-1])


def _sample_v1(random, n, sf_min, sf_max, sf_corr) -> dict[str, np.ndarray]:
    bins = _sf_bins(sf_min, sf_max, SF_EDGES <= sf_max, SF_WEIGHTS)
    phase = 360.0 * random.rand(n)
    theta = _inverse_cdf(random.rand(n), ORIENTATION_EDGES, ORIENTATION_WEIGHTS)
    theta = np.where(theta < 0, theta + 180.0, theta)
    sizes = _sample_sizes(random, n, bins, sf_corr, SIZE_EDGES, SIZE_WEIGHTS)
    return {**sizes, "theta": theta, "phase": phase}


def _sample_sizes(
    random, n, sf_bins, sf_corr, size_edges, size_weights
) -> dict[str, np.ndarray]:
    """Spatial frequencies, and sizes that are correlated with them."""
    covariance = [[1.0, sf_corr], [sf_corr, 1.0]]
    u_nx, u_sf = ndtr(random.multivariate_normal([0.0, 0.0], covariance, n)).T
    u_ny = random.rand(n)

    log_edges = np.log10(size_edges)
    nx = 10 ** _inverse_cdf(u_nx, log_edges, size_weights.sum(axis=1))
    ny = np.empty(n)
    rows = np.searchsorted(size_edges, nx) - 1
    for row in np.unique(rows):
        chosen = rows == row
        ny[chosen] = 10 ** _inverse_cdf(u_ny[chosen], log_edges, size_weights[row])
    edges, weights = sf_bins
    sf = 2 ** _inverse_cdf(u_sf, np.log2(edges), weights)
    return {"sf": sf, "nx": nx, "ny": ny}


def _share_out(n: int, channels: int, shares: Sequence[float]) -> np.ndarray:
    """The channel of each of n cells, in the order of the channels."""
    counts = np.array([round(share * n) for share in shares])
    rest = n - counts.sum()
    if rest and len(counts) > _EVNET_REST_CHANNEL:
        counts[_EVNET_REST_CHANNEL] += rest
    if len(counts) != channels or counts.min() < 0 or counts.sum() != n:
        raise ValueError(
            "`channel_shares` must hold one share of at least 0 for each of "
            f"`input_channels`, with a sum of 1. Received: {shares} "
            f"for {channels} channels"
        )
    return np.repeat(np.arange(channels), counts)


def _sample_uniform(random, n, sf_min, sf_max, sf_corr) -> dict[str, np.ndarray]:
    del sf_corr  # the control has no correlation
    edges, _ = _sf_bins(sf_min, sf_max, SF_EDGES < sf_max, SF_WEIGHTS)
    phase = 360.0 * random.rand(n)
    theta = 180.0 * random.rand(n)
    sf = 2 ** _inverse_cdf(random.rand(n), np.log2(edges), np.ones(edges.size - 1))
    low, high = np.log10(SIZE_EDGES[[0, -1]])
    nx = 10 ** (low + (high - low) * random.rand(n))
    ny = 10 ** (low + (high - low) * random.rand(n))
    return {"sf": sf, "theta": theta, "phase": phase, "nx": nx, "ny": ny}


def _sf_bins(sf_min, sf_max, below_max, weights) -> tuple[np.ndarray, np.ndarray]:
    """The edges within the range, and the weights of the bins between them."""
    inside = np.flatnonzero((SF_EDGES >= sf_min) & below_max)
    if inside.size < 2 or not weights[inside[:-1]].any():
        raise ValueError(
            "The range of spatial frequencies must hold at least one bin between "
            f"two of the edges {SF_EDGES.tolist()} cycles per degree. "
            f"Received: sf_min={sf_min}, sf_max={sf_max}"
        )
    return SF_EDGES[inside], weights[inside[:-1]]


def _check_correlation(sf_corr: float) -> None:
    if not -1.0 <= sf_corr <= 1.0:
        raise ValueError(f"`sf_corr` must lie in [-1, 1]. Received: sf_corr={sf_corr}")


def _check_input_channels(input_channels: int) -> None:
    if input_channels < 1:
        raise ValueError(
            "`input_channels` must be at least 1. "
            f"Received: input_channels={input_channels}"
        )


def _inverse_cdf(u, edges, weights) -> np.ndarray:
    """Quantiles `u` of a histogram, linear within its bins."""
    cdf = np.concatenate([[0.0], np.cumsum(weights / np.sum(weights))])
    return np.interp(u, cdf, edges)
