"""The colours of reports and figures, in light and in dark: one per variant.

A variant has its colour in every report. Labels stand beside what they name, so that no
chart depends on colour alone.
"""

import colorsys
import itertools
from collections.abc import Iterator

from v1keras.evaluation.robustness import RobustnessTable

# At least 3:1 against the page in light and in dark. Hue and lightness vary together:
# the smallest distance in CIELAB between two of them is about 15 under simulated
# deuteranopia and protanopia (Machado et al. 2009).
COLOURS: dict[str, tuple[str, str]] = {
    "base": ("#80868c", "#9aa1a8"),
    "standard": ("#00319c", "#54a0f5"),
    "sf_low": ("#e17a00", "#de9700"),
    "sf_mid": ("#005c43", "#42e6a1"),
    "sf_high": ("#772d6d", "#905596"),
    "no_noise": ("#a460fb", "#575ee7"),
    "low_noise": ("#3aa859", "#d6ff7e"),
    "only_simple": ("#552c00", "#95554a"),
    "only_complex": ("#4e86cf", "#00dcff"),
    "ensemble": ("#15191d", "#f1f3f5"),
    "student": ("#d6401f", "#ff7a59"),
}
# For models of other names, in the order in which they are shown.
_SPARE = (("#2222e0", "#f2e63a"), ("#9e2b4f", "#f0718f"), ("#4d555d", "#c3c9cf"))
# Gains from half to twice the baseline, in eleven steps: brown over grey to blue-green.
DIVERGING = (
    ("#7a4a0d", "#e0a04a"),
    ("#a06620", "#b98038"),
    ("#c79350", "#8c5f28"),
    ("#dfbd8c", "#6b4c26"),
    ("#f0e2cb", "#473724"),
    ("#eceeef", "#2c3136"),
    ("#d0e7e6", "#1f4244"),
    ("#9ccfce", "#1f5c5d"),
    ("#5fb0b0", "#227171"),
    ("#1f8082", "#34a3a2"),
    ("#07595e", "#5fd0cc"),
)


def model_colours(table: RobustnessTable) -> dict[str, tuple[str, str]]:
    """The colours of each model in light and in dark.

    Training seeds of a variant share its colour; the first ensemble and the first
    student have colours of their own.

    Args:
        table: `RobustnessTable`.

    Returns:
        dict from model to a pair of colours such as `"#80868c"`.
    """
    first = {role: model for model, role in reversed(table.roles.items())}
    spare = _spare_colours()
    named: dict[str, tuple[str, str]] = {}
    colours = {}
    for model in table.models:
        role = table.roles[model]
        if role in ("ensemble", "student"):
            name = role if first[role] == model else model
        else:
            name = table.lineup.variants.get(model, model)
        if name not in named:
            named[name] = COLOURS.get(name) or next(spare)
        colours[model] = named[name]
    return colours


def _spare_colours() -> Iterator[tuple[str, str]]:
    """Colours that no variant has, without end."""
    yield from _SPARE
    for turn in itertools.count(1):
        hue = turn * 0.618034 % 1.0
        yield _hexadecimal(hue, 0.36), _hexadecimal(hue, 0.66)


def _hexadecimal(hue: float, lightness: float) -> str:
    rgb = colorsys.hls_to_rgb(hue, lightness, 0.6)
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)
