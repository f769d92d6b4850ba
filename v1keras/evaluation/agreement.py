"""Whether two evaluations of the same models tell the same."""

import math
from typing import NamedTuple

from v1keras.evaluation.cells import CLEAN
from v1keras.evaluation.robustness import Estimate, RobustnessTable

# 95 % intervals of a normal distribution reach so many standard errors either way.
_NORMAL_95 = 1.96


class Agreement(NamedTuple):
    """One model under one corruption in two evaluations.

    Args:
        model: str.
        corruption: str. Or `"clean"`.
        first: float. Its accuracy in the first evaluation.
        second: float. In the second one.
        margin: float. How far the two may differ by chance, at 95 %.
    """

    model: str
    corruption: str
    first: float
    second: float
    margin: float

    @property
    def agrees(self) -> bool:
        """Whether the difference may be chance."""
        return abs(self.first - self.second) <= self.margin


def compare(first: RobustnessTable, second: RobustnessTable) -> list[Agreement]:
    """Sets two evaluations side by side, such as of a stored set and of online ones.

    The margin is that of independent images, from the intervals of both. It is too wide
    where both evaluations show the same images: then a difference within it need not be
    chance. One in twenty comparisons lies outside by chance alone.

    Args:
        first: `RobustnessTable`.
        second: `RobustnessTable`. With models and corruptions in common.

    Returns:
        List of `Agreement`, one per model and corruption that both have.

    Raises:
        ValueError: if they have no model in common.
    """
    models = [model for model in first.models if model in second.models]
    if not models:
        raise ValueError(
            "The evaluations have no model in common. Received: "
            f"{', '.join(first.models)} and {', '.join(second.models)}"
        )
    names = [name for name in first.corruptions if name in second.corruptions]
    return [
        _agreement(model, name, first, second)
        for model in models
        for name in (CLEAN.corruption, *names)
    ]


def _agreement(
    model: str, name: str, first: RobustnessTable, second: RobustnessTable
) -> Agreement:
    a = first.groups[model, name].accuracy
    b = second.groups[model, name].accuracy
    margin = _NORMAL_95 * math.hypot(_standard_error(a), _standard_error(b))
    return Agreement(model, name, a.value, b.value, margin)


def _standard_error(estimate: Estimate) -> float:
    return (estimate.high - estimate.low) / (2 * _NORMAL_95)
