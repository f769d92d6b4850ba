"""The cells of a robustness evaluation, and which of them a mean is taken over."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from v1keras.corruptions import CATEGORIES, CORRUPTIONS, SEVERITIES

# Beside its four categories: corruptions that no figure of the benchmark contains, and
# the mean over those that it does.
EXTRA_CATEGORY = "extra"
MEAN = "mean"
CATEGORY_ORDER = (*CATEGORIES, EXTRA_CATEGORY)


class Cell(NamedTuple):
    """One condition under which images are shown: a corruption at a severity.

    Args:
        corruption: str. The name of a corruption, or `"clean"`.
        severity: int. 1 to 5; 0 for clean images.
    """

    corruption: str
    severity: int

    def __str__(self) -> str:
        return f"{self.corruption}-{self.severity}"


CLEAN = Cell("clean", 0)


def corrupted_cells(
    corruptions: Sequence[str], severities: Sequence[int] = SEVERITIES
) -> tuple[Cell, ...]:
    """All cells of some corruptions, severities varying fastest."""
    return tuple(
        Cell(name, severity) for name in corruptions for severity in severities
    )


def category(corruption: str) -> str:
    """The category of a corruption: `"extra"` where the benchmark leaves it out."""
    if corruption == CLEAN.corruption:
        return corruption
    if corruption not in CORRUPTIONS:
        raise ValueError(
            f"`corruption` must be one of {', '.join(CORRUPTIONS)}. "
            f"Received: corruption={corruption!r}"
        )
    known = CORRUPTIONS[corruption]
    return EXTRA_CATEGORY if known.extra else known.category


def cell_weights(cells: Sequence[Cell], corruptions: Collection[str]) -> np.ndarray:
    """Weights that turn values per cell into their mean over corruptions.

    Each corruption counts the same, and within it each severity that is there, so
    that a missing severity does not take weight from its corruption.

    Args:
        cells: sequence of `Cell`.
        corruptions: collection of str. The corruptions to take the mean over.

    Returns:
        A float array of shape `(len(cells),)` that sums to 1, or to 0 when none of the
        cells belongs to the corruptions.

    Example:

    >>> cells = [Cell("fog", 1), Cell("fog", 2), Cell("snow", 1), CLEAN]
    >>> cell_weights(cells, ["fog", "snow"])
    array([0.25, 0.25, 0.5 , 0.  ])
    """
    names = [cell.corruption for cell in cells]
    present = set(names) & set(corruptions)
    return np.array(
        [
            1.0 / (len(present) * names.count(name)) if name in present else 0.0
            for name in names
        ]
    )


def group_weights(cells: Sequence[Cell]) -> dict[str, np.ndarray]:
    """The weights of every group of cells that an evaluation is summarised by.

    Args:
        cells: sequence of `Cell`.

    Returns:
        dict from group to weights as of `cell_weights`: `"clean"`, each corruption,
        each category, and `"mean"` over all corruptions but extra ones; those of which
        there are cells.
    """
    corruptions = list(dict.fromkeys(c.corruption for c in cells if c != CLEAN))
    members = {name: [name] for name in ("clean", *corruptions)}
    for group in CATEGORY_ORDER:
        members[group] = [name for name in corruptions if category(name) == group]
    members[MEAN] = [name for name in corruptions if category(name) != EXTRA_CATEGORY]
    weights = {group: cell_weights(cells, names) for group, names in members.items()}
    return {group: values for group, values in weights.items() if values.any()}


def mean_over_corruptions(
    values: Mapping[Cell, float], corruptions: Collection[str] | None = None
) -> float:
    """The mean over corruptions of the mean over their severities.

    Args:
        values: mapping from `Cell` to float. Clean images are left out.
        corruptions: collection of str or None. The corruptions to take the mean
            over. Defaults to all that `values` holds.

    Returns:
        float.

    Raises:
        ValueError: if `values` holds none of the corruptions.
    """
    cells = [cell for cell in values if cell != CLEAN]
    if corruptions is None:
        corruptions = {cell.corruption for cell in cells}
    weights = cell_weights(cells, corruptions)
    if not weights.any():
        raise ValueError(
            "`values` must hold one of `corruptions` at least. "
            f"Received: corruptions={sorted(corruptions)}, "
            f"values for {sorted({cell.corruption for cell in cells})}"
        )
    return float(weights @ [values[cell] for cell in cells])
