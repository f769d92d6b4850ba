"""Numbers and names as a report writes them."""

import numpy as np

from v1keras.evaluation.report.blocks import TableCell
from v1keras.evaluation.robustness import Estimate
from v1keras.evaluation.tables import signed_percent

NONE = "\N{EN DASH}"


def percent(share: float, digits: int = 1) -> str:
    """A share in %, without the sign; a dash where there is none."""
    return f"{100 * share:.{digits}f}" if np.isfinite(share) else NONE


def signed(value: float, digits: int = 0) -> str:
    """A share in %, signed unless it is zero; the minus is as wide as a plus."""
    if not np.isfinite(value):
        return NONE
    text = f"{100 * value:+.{digits}f}" if digits else signed_percent(value)
    return text.replace("-", "\N{MINUS SIGN}")


def gain_note(gain: Estimate) -> tuple[str, str]:
    """A gain with its interval, and the style of one that is more than chance."""
    if not np.isfinite(gain.value):
        return NONE, ""
    value, low, high = map(signed, gain)
    sure = gain.low > 0 or gain.high < 0
    return f"{value} %\n[{low}, {high}]", "sure" if sure else ""


def number(value: float, *, share: bool = False, digits: int = 1) -> TableCell:
    """A cell that its column is sorted by."""
    return TableCell(f"{100 * value if share else value:.{digits}f}", key=value)


def words(name: str) -> str:
    """The name of a corruption, as one reads it."""
    return name.replace("_", " ")
