"""Measured distributions of V1 receptive fields, and seeded sampling from them.

Every table stands here once, with its source:

- orientation: De Valois, Yund and Hepler 1982 (Vision Research 22),
- spatial frequency: De Valois, Albrecht and Thorell 1982 (Vision Research 22),
- receptive-field widths in cycles of the preferred frequency (nx, ny): Ringach 2002
  (Journal of Neurophysiology 88),
- their correlation with spatial frequency: Schiller, Finlay and Volman 1976
  (Journal of Neurophysiology 39).
"""

import dataclasses

import numpy as np
from scipy.special import ndtr

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
        channel_q0: int array of shape (n,). The colour channel (0, 1, 2) that the
            kernel looks at.
        channel_q1: int array of shape (n,). The same for its quadrature pair.

    Raises:
        ValueError: if the arrays differ in shape, are not finite, or hold a spatial
            frequency, size or colour channel that cannot be.

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
            dtype = np.int64 if field.name.startswith("channel") else np.float64
            value = np.array(getattr(self, field.name), dtype=dtype)
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
            if np.any((channels < 0) | (channels >= COLOR_CHANNELS)):
                raise ValueError(
                    f"`{name}` must be 0, 1 or 2. Received: {np.unique(channels)}"
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

    __hash__ = None

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


def sample_gabors(
    n: int,
    *,
    seed: int = 0,
    sf_min: float = 0.0,
    sf_max: float = 11.3,
    sf_corr: float = 0.75,
    distribution: str = "v1",
) -> GaborParameters:
    """Draws the parameters of `n` Gabor receptive fields.

    With `distribution="v1"` they follow the measured distributions of macaque V1
    and equal the published VOneNet banks for the same seed and number. The
    `"uniform"` control draws each of them uniformly.

    Args:
        n: int. The number of receptive fields.
        seed: int. The seed of all draws.
        sf_min: float. Lower end of the spatial frequencies, in cycles per degree.
            Only whole bins of the measured histogram are used.
        sf_max: float. Upper end of the spatial frequencies, in cycles per degree.
        sf_corr: float. Correlation between spatial frequency and size (nx), in
            [-1, 1]. The uniform control has none.
        distribution: str. `"v1"` or `"uniform"`.

    Returns:
        `GaborParameters` of length n. The quadrature pair has the colour of its
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
    if not -1.0 <= sf_corr <= 1.0:
        raise ValueError(f"`sf_corr` must lie in [-1, 1]. Received: sf_corr={sf_corr}")
    samplers = {"v1": _sample_v1, "uniform": _sample_uniform}
    if distribution not in samplers:
        raise ValueError(
            f"`distribution` must be one of {', '.join(samplers)}. "
            f"Received: distribution={distribution!r}"
        )
    # The published banks are draws of this legacy generator.
    random = np.random.RandomState(seed)
    parameters = samplers[distribution](random, n, sf_min, sf_max, sf_corr)
    colors = np.random.default_rng([seed, _COLOR_STREAM]).integers(
        COLOR_CHANNELS, size=n
    )
    return GaborParameters(**parameters, channel_q0=colors, channel_q1=colors)


def _sample_v1(random, n, sf_min, sf_max, sf_corr) -> dict[str, np.ndarray]:
    edges, weights = _sf_bins(sf_min, sf_max, SF_EDGES <= sf_max)
    phase = 360.0 * random.rand(n)
    theta = _inverse_cdf(random.rand(n), ORIENTATION_EDGES, ORIENTATION_WEIGHTS)
    theta = np.where(theta < 0, theta + 180.0, theta)
    covariance = [[1.0, sf_corr], [sf_corr, 1.0]]
    u_nx, u_sf = ndtr(random.multivariate_normal([0.0, 0.0], covariance, n)).T
    u_ny = random.rand(n)

    log_edges = np.log10(SIZE_EDGES)
    nx = 10 ** _inverse_cdf(u_nx, log_edges, SIZE_WEIGHTS.sum(axis=1))
    ny = np.empty(n)
    rows = np.searchsorted(SIZE_EDGES, nx) - 1
    for row in np.unique(rows):
        chosen = rows == row
        ny[chosen] = 10 ** _inverse_cdf(u_ny[chosen], log_edges, SIZE_WEIGHTS[row])
    sf = 2 ** _inverse_cdf(u_sf, np.log2(edges), weights)
    return {"sf": sf, "theta": theta, "phase": phase, "nx": nx, "ny": ny}


def _sample_uniform(random, n, sf_min, sf_max, sf_corr) -> dict[str, np.ndarray]:
    del sf_corr  # the control has no correlation
    edges, _ = _sf_bins(sf_min, sf_max, SF_EDGES < sf_max)
    phase = 360.0 * random.rand(n)
    theta = 180.0 * random.rand(n)
    sf = 2 ** _inverse_cdf(random.rand(n), np.log2(edges), np.ones(edges.size - 1))
    low, high = np.log10(SIZE_EDGES[[0, -1]])
    nx = 10 ** (low + (high - low) * random.rand(n))
    ny = 10 ** (low + (high - low) * random.rand(n))
    return {"sf": sf, "theta": theta, "phase": phase, "nx": nx, "ny": ny}


def _sf_bins(sf_min, sf_max, below_max) -> tuple[np.ndarray, np.ndarray]:
    """The edges within the range, and the weights of the bins between them."""
    inside = np.flatnonzero((SF_EDGES >= sf_min) & below_max)
    if inside.size < 2:
        raise ValueError(
            "The range of spatial frequencies must hold at least one bin between "
            f"two of the edges {SF_EDGES.tolist()} cycles per degree. "
            f"Received: sf_min={sf_min}, sf_max={sf_max}"
        )
    return SF_EDGES[inside], SF_WEIGHTS[inside[:-1]]


def _inverse_cdf(u, edges, weights) -> np.ndarray:
    """Quantiles `u` of a histogram, linear within its bins."""
    cdf = np.concatenate([[0.0], np.cumsum(weights / np.sum(weights))])
    return np.interp(u, cdf, edges)
