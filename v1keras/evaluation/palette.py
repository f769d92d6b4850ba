"""The colours of charts: one per model, in light and in dark.

Members take hues that stay apart with colour-blindness, in a fixed order; the baseline
is grey, an ensemble has the colour of text and a student vermilion. Labels stand beside
what they name, so that no chart depends on colour alone.
"""

import dataclasses

from v1keras.evaluation.robustness import RobustnessTable

# Light and dark, at least 3:1 against the page in each. Hue and lightness vary together:
# the smallest distance in CIELAB between any two colours of a page, the baseline's,
# ensemble's and student's among them, is about 15 under simulated deuteranopia and
# protanopia (Machado et al. 2009).
_MEMBERS = (
    ("#00319c", "#54a0f5"),
    ("#e17a00", "#de9700"),
    ("#005c43", "#42e6a1"),
    ("#772d6d", "#905596"),
    ("#a460fb", "#575ee7"),
    ("#3aa859", "#d6ff7e"),
    ("#552c00", "#95554a"),
    ("#4e86cf", "#00dcff"),
)
_BASELINE = ("#80868c", "#9aa1a8")
_ENSEMBLES = (("#15191d", "#f1f3f5"), ("#4d555d", "#c3c9cf"), ("#2222e0", "#f2e63a"))
_STUDENTS = (("#d6401f", "#ff7a59"), ("#9e2b4f", "#f0718f"))
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
# Where the text on a step of the diverging scale is the page's colour, not the text's.
DIVERGING_INVERSE = ({0, 1, 9, 10}, {0, 1, 9, 10})


@dataclasses.dataclass(frozen=True)
class Palette:
    """Colours for drawing.

    Args:
        series: dict from model to colour.
        ink: str. Colour of text and of lines that matter.
        muted: str. Colour of secondary text and of axes.
        grid: str. Colour of grid lines.
        surface: str. Colour behind the chart.
    """

    series: dict[str, str]
    ink: str
    muted: str
    grid: str
    surface: str


def series_colours(table: RobustnessTable) -> dict[str, tuple[str, str]]:
    """The colours of each model in light and in dark."""
    tables = {
        "member": _MEMBERS,
        "baseline": (_BASELINE,),
        "ensemble": _ENSEMBLES,
        "student": _STUDENTS,
    }
    used = dict.fromkeys(tables, 0)
    colours = {}
    for model in table.models:
        role = table.roles[model]
        colours[model] = tables[role][used[role] % len(tables[role])]
        used[role] += 1
    return colours


def light_palette(table: RobustnessTable) -> Palette:
    """The colours themselves, for a picture on white."""
    series = {model: light for model, (light, _) in series_colours(table).items()}
    return Palette(series, "#15191d", "#5c646c", "#dfe3e6", "#ffffff")


# Colours that stand for a style of the page; `to_css` puts the style in their place.
_SENTINELS = {
    "ink": ("#010101", "currentColor"),
    "muted": ("#010102", "var(--muted)"),
    "grid": ("#010103", "var(--grid)"),
    "surface": ("#010104", "var(--surface)"),
}


def page_palette(table: RobustnessTable) -> Palette:
    """Stand-ins for colours that the page decides on, light or dark."""
    series = {model: f"#02{i:04x}" for i, model in enumerate(table.models)}
    return Palette(series, **{key: hexa for key, (hexa, _) in _SENTINELS.items()})


def to_css(svg: str, palette: Palette) -> str:
    """Puts the page's styles in place of the stand-ins of `page_palette`."""
    for hexa, style in _SENTINELS.values():
        svg = svg.replace(hexa, style)
    for i, hexa in enumerate(palette.series.values()):
        svg = svg.replace(hexa, f"var(--series-{i})")
    return svg


def css_variables(table: RobustnessTable, theme: int) -> str:
    """Declarations of the colours for the light (0) or dark (1) page."""
    lines = [
        f"--series-{i}:{colours[theme]};"
        for i, colours in enumerate(series_colours(table).values())
    ]
    for i, colours in enumerate(DIVERGING):
        text = "--surface" if i in DIVERGING_INVERSE[theme] else "--text"
        lines.append(f"--step-{i}:{colours[theme]};--on-step-{i}:var({text});")
    return "".join(lines)
