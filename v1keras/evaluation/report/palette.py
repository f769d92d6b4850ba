"""The looks of variants in reports and figures: a colour and a pattern for each.

A variant looks the same in every report, and no other looks like it. Solid are those of
the paper, the ensemble and the student; striped or dotted, those that normalise light or
contrast; grey, plain CNNs. Labels stand beside what they name, so that no chart depends on this
alone.
"""

import colorsys
import itertools
from collections.abc import Iterator
from typing import NamedTuple

from v1keras.evaluation.robustness import RobustnessTable

# Light and dark, at least 3:1 against the page. Hue and lightness vary together: the
# smallest distance in CIELAB between two of them is about 15 under simulated
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


class Pattern(NamedTuple):
    """How bars and lines are filled.

    Args:
        name: str. That of a custom property of `report.css`, but for solid ones.
        hatch: str. Of Matplotlib's bars.
        dashes: tuple of float. Of lines; empty for solid ones.
    """

    name: str
    hatch: str
    dashes: tuple[float, ...]


SOLID = Pattern("solid", "", ())
STRIPED = Pattern("striped", "////", (5, 2))
DOTTED = Pattern("dotted", "...", (1, 1.6))
CHECKED = Pattern("checked", "xxx", (6, 2, 1, 2))


class Style(NamedTuple):
    """The looks of a model.

    Args:
        light: str. The colour on light pages, such as `"#80868c"`.
        dark: str. On dark pages.
        pattern: `Pattern`.
    """

    light: str
    dark: str
    pattern: Pattern = SOLID


def _style(colour: str, pattern: Pattern = SOLID) -> Style:
    return Style(*COLOURS[colour], pattern)


STYLES: dict[str, Style] = {
    **{name: _style(name) for name in COLOURS},
    "light_adapted": _style("sf_low", STRIPED),
    "balanced": _style("sf_mid", STRIPED),
    "balanced_light_adapted": _style("only_simple", STRIPED),
    "contrast_normalized": _style("low_noise", STRIPED),
    "subcortical": _style("standard", STRIPED),
    "evnet": _style("sf_high", STRIPED),
    "evnet_no_noise": _style("no_noise", STRIPED),
    "divisive": _style("only_complex", STRIPED),
    "push_pull": _style("student", STRIPED),
    "evnet_lgn_v2": _style("sf_high", DOTTED),
    "base_light_adapted": _style("base", STRIPED),
    "base_contrast_normalized": _style("base", DOTTED),
    "base_subcortical": _style("base", CHECKED),
}
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


def model_styles(table: RobustnessTable) -> dict[str, Style]:
    """The looks of each model.

    Training seeds of a variant share its looks; the first ensemble and the first student
    have looks of their own.

    Args:
        table: `RobustnessTable`.

    Returns:
        dict from model to `Style`.
    """
    first = {role: model for model, role in reversed(table.roles.items())}
    spare = _spare_styles()
    named: dict[str, Style] = {}
    styles = {}
    for model in table.models:
        role = table.roles[model]
        name = table.lineup.variants.get(model, model)
        if role in ("ensemble", "student") and first[role] == model:
            name = role
        if name not in named:
            named[name] = STYLES.get(name) or next(spare)
        styles[model] = named[name]
    return styles


def colour_class(table: RobustnessTable, model: str) -> str:
    """The class that gives an element the looks of a model."""
    return f"model-{table.models.index(model)}"


def _spare_styles() -> Iterator[Style]:
    """Looks that no variant has, without end."""
    for pattern, colour in itertools.product((DOTTED, CHECKED), COLOURS):
        style = _style(colour, pattern)
        if style not in STYLES.values():
            yield style
    for turn in itertools.count(1):
        hue = turn * 0.618034 % 1.0
        yield Style(_hexadecimal(hue, 0.36), _hexadecimal(hue, 0.66), CHECKED)


def _hexadecimal(hue: float, lightness: float) -> str:
    rgb = colorsys.hls_to_rgb(hue, lightness, 0.6)
    return "#" + "".join(f"{round(255 * value):02x}" for value in rgb)
