"""From a figure of Matplotlib to an element of a page, in its font and colours.

A figure is drawn in black, which becomes `currentColor`; what has a model's colour stands
in a group of a class that the page gives this colour.
"""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.optimize import isotonic_regression

from v1keras.escaping import join_lines, printable

# A chart's unit is a CSS pixel: fonts keep their size on a phone's width.
PIXEL = 1 / 72
# Longer names would leave their margin; the summary table has them in full.
_LONGEST_NAME = 17
STYLE = {
    # Text stays text: it takes the page's font and can be searched and read aloud.
    "svg.fonttype": "none",
    # Identifiers depend on the content only: equal tables give equal files.
    "svg.hashsalt": "v1keras",
    "font.size": 11,
    # Names may hold dollar signs.
    "text.parse_math": False,
    "axes.edgecolor": (0, 0, 0, 0.5),
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": (0, 0, 0, 0.12),
    "grid.linewidth": 0.8,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.solid_capstyle": "round",
}


def axes_within(
    figure: Figure, left: float, right: float, top: float, bottom: float
) -> Axes:
    """Axes with these margins in pixels."""
    width, height = figure.get_size_inches() / PIXEL
    return figure.add_axes(
        (
            left / width,
            bottom / height,
            1 - (left + right) / width,
            1 - (top + bottom) / height,
        )
    )


def short_name(name: str) -> str:
    """The end of a long name: where the names of runs differ."""
    name = join_lines(name)
    if len(name) <= _LONGEST_NAME:
        return name
    return "…" + name[1 - _LONGEST_NAME :]


def label_ends(
    axes: Axes,
    ends: Mapping[str, float],
    x: float,
    *,
    classes: Mapping[str, str],
    bold: Sequence[str] = (),
) -> None:
    """Writes each line's name beside its end, moved apart.

    The names have the colour of text, which all of them can be read in; the short lines
    that lead to them have the models' colours.

    Args:
        axes: `Axes`.
        ends: mapping from name to the height at which its line ends.
        x: float. Where the lines end.
        classes: mapping from name to the class of its colour.
        bold: sequence of str. Names to write in bold type. Defaults to none.
    """
    names = sorted((n for n in ends if np.isfinite(ends[n])), key=ends.__getitem__)
    low, high = axes.get_ylim()
    height = axes.get_position().height * axes.figure.get_figheight() / PIXEL
    gap = min(12.5, height / max(len(names), 1)) * (high - low) / height
    places = spread([ends[name] for name in names], gap, low, high)
    right = axes.get_xlim()[1] - axes.get_xlim()[0]
    width = axes.get_position().width * axes.figure.get_figwidth() / PIXEL
    for name, y in zip(names, places, strict=True):
        axes.plot(
            [x, x + 10 * right / width],
            [ends[name], y],
            color="black",
            linewidth=1.4,
            clip_on=False,
            gid=classes[name],
        )
        axes.annotate(
            short_name(name),
            (x, y),
            xytext=(13, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            fontweight="bold" if name in bold else "normal",
            annotation_clip=False,
            gid="ink",
        )


def spread(
    positions: Sequence[float], gap: float, low: float, high: float
) -> np.ndarray:
    """Ascending positions at least `gap` apart and within limits, little moved."""
    # Without the gaps they need only ascend; of all that do, these are closest.
    gaps = gap * np.arange(len(positions))
    moved = isotonic_regression(positions - gaps).x
    return np.clip(moved, low, high - gap * (len(positions) - 1)) + gaps


def to_svg(figure: Figure, title: str) -> Markup:
    """The figure as an element of a page, in the page's font and colours."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    used = set(re.findall(r"#(\w+)", file.getvalue()))
    svg = ET.fromstring(file.getvalue())
    for element in svg.iter():
        for style in element.findall("{*}style"):
            element.remove(style)
        # Without namespaces, which HTML knows.
        element.tag = element.tag.rpartition("}")[2]
        attributes = {k.rpartition("}")[2]: v for k, v in element.attrib.items()}
        # Matplotlib numbers its groups; charts of a page would share the numbers.
        if attributes.get("id") not in used:
            name = attributes.pop("id", "")
            if re.fullmatch(r"ink|muted|chance|model-\d+", name):
                attributes["class"] = name
        if "style" in attributes:
            style = re.sub(r"font-family: [^;]*; ?", "", attributes["style"])
            attributes["style"] = style.replace("#000000", "currentColor")
        element.attrib = attributes
    label = printable(title)
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-label": label}
    return Markup(ET.tostring(svg, encoding="unicode", short_empty_elements=False))
