"""Charts of a robustness table: values for bars, SVG for a page, PNG for a picture.

An SVG is drawn in black, which becomes `currentColor`; what has a model's colour stands
in a group of a class that the page gives this colour.
"""

import io
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.optimize import isotonic_regression

from v1keras.evaluation.cells import CLEAN, EXTRA_CATEGORY, MEAN, Cell, cell_weights
from v1keras.evaluation.report.blocks import Bar, Bars, printable
from v1keras.evaluation.report.palette import model_colours
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.evaluation.tables import signed_percent
from v1keras.files import atomic_write

# A chart's unit is a CSS pixel: fonts keep their size on a phone's width.
_PIXEL = 1 / 72
# A panel of the bar chart: its width, that of the names, and the height of a row.
_PANEL, _NAMES, _ROW = 360, 134, 21
# Longer names would leave their margin; the summary table has them in full.
_LONGEST_NAME = 17
# A mean over fewer predictions than this says nothing about calibration.
LEAST_PER_BIN = 10
_STYLE = {
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


def colour_class(table: RobustnessTable, model: str) -> str:
    """The class that gives an element the colour of a model."""
    return f"model-{table.models.index(model)}"


def is_strong(table: RobustnessTable, model: str) -> bool:
    """Whether readers look for this model first."""
    return table.roles[model] in ("ensemble", "student")


def gain_bars(table: RobustnessTable, group: str) -> Bars:
    """The paper's main figure, for one category: gain over the baseline per model.

    Without a baseline, the accuracy. All categories have one scale.

    Args:
        table: `RobustnessTable`.
        group: str. A category, `"clean"` or `"mean"`.

    Returns:
        `Bars`.
    """
    models = bar_order(table)
    measure = "gain" if table.baseline else "accuracy"
    estimates = {
        (model, name): getattr(table.groups[model, name], measure)
        for model in models
        for name in table.summary_groups
    }
    ends = [end for _, *interval in estimates.values() for end in interval]
    # No accuracy lies further below another one than 100 %.
    low = max(min([0.0, *filter(np.isfinite, ends)]), -1.0)
    high = max([low + 0.01, 0.01, *filter(np.isfinite, ends)])
    bars = []
    for model in models:
        value, *interval = estimates[model, group]
        text = f"{signed(value) if table.baseline else f'{100 * value:.1f}'} %"
        if not np.isfinite(value):
            text, value, interval = "–", 0.0, (0.0, 0.0)
        colour, strong = colour_class(table, model), is_strong(table, model)
        bars.append(Bar(model, text, value, *interval, colour, strong))
    places = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
    ticks = tuple(
        (place, signed(place) if table.baseline else f"{100 * place:.0f}")
        for place in places.tolist()
        if low <= place <= high
    )
    return Bars(tuple(bars), low, high, ticks)


def write_bar_chart(path: str | os.PathLike, table: RobustnessTable) -> None:
    """Writes the bar charts of all categories as one PNG picture.

    Args:
        path: str or path. The file.
        table: `RobustnessTable`.
    """
    groups = table.summary_groups[1:] or ("clean",)
    colours = {
        colour_class(table, model): light
        for model, (light, _) in model_colours(table).items()
    }
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    bars = _ROW * len(bar_order(table))
    width, height = _PANEL * columns, (bars + 60) * rows + 30
    with matplotlib.rc_context(_STYLE):
        figure = Figure((width * _PIXEL, height * _PIXEL))
        for i, group in enumerate(groups):
            row, column = divmod(i, columns)
            left, top = _PANEL * column + _NAMES, 56 + (bars + 60) * row
            right = width - _PANEL * (column + 1) + 60
            axes = _axes(figure, left, right, top, height - top - bars)
            _draw_bars(axes, gain_bars(table, group), colours)
            axes.set_title(group, loc="left", fontsize=12, fontweight="bold")
        what = (
            f"Relative accuracy gain over {_short(table.baseline)} in %, with 95 % intervals"
            if table.baseline
            else "Accuracy in %, with 95 % intervals"
        )
        figure.text(0.01, 1 - 14 / height, what, va="center")
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=144, facecolor="white")


def severity_curves(table: RobustnessTable, group: str) -> Markup:
    """Accuracy against severity, one line per model, for a category or the mean.

    Args:
        table: `RobustnessTable`.
        group: str. A category or `"mean"`.

    Returns:
        Markup. An `<svg>` element.
    """
    severities = sorted({cell.severity for cell in table.cells})
    corruptions = [
        name
        for name in table.corruptions
        if table.categories[name] == group
        or (group == MEAN and table.categories[name] != EXTRA_CATEGORY)
    ]
    curves = {
        model: [_mean_at(table, model, corruptions, s) for s in severities]
        for model in table.models
    }
    top = 100 * np.nanmax(list(curves.values()))
    with matplotlib.rc_context(_STYLE):
        figure = Figure((360 * _PIXEL, 270 * _PIXEL))
        axes = _axes(figure, 30, 124, 10, 34)
        for model, curve in curves.items():
            thick = table.roles[model] != "member"
            axes.plot(
                severities,
                100 * np.array(curve),
                color="black",
                linewidth=2.4 if thick else 1.3,
                linestyle=(0, (3, 2)) if table.roles[model] == "baseline" else "-",
                zorder=4 if thick else 3,
                gid=colour_class(table, model),
            )
        axes.set_xlim(severities[0], severities[-1])
        axes.set_ylim(0, min(100, max(top * 1.06, 1)))
        axes.tick_params(labelsize=10, pad=5)
        axes.grid(axis="y")
        axes.set_xticks(severities, ["clean" if s == 0 else str(s) for s in severities])
        axes.set_xlabel("severity")
        ends = {model: 100 * curve[-1] for model, curve in curves.items()}
        _label_ends(axes, table, ends, severities[-1])
        return _svg(figure, f"Accuracy in % against severity, {group}")


def reliability_diagram(table: RobustnessTable, model: str) -> Markup:
    """Accuracy against confidence of one model, on clean and corrupted images.

    Args:
        table: `RobustnessTable`.
        model: str.

    Returns:
        Markup. An `<svg>` element.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure((230 * _PIXEL, 210 * _PIXEL))
        axes = _axes(figure, 36, 16, 8, 42)
        axes.plot([0, 1], [0, 1], color=(0, 0, 0, 0.5), linewidth=0.8, dashes=(2, 2))
        for kind in ("clean", "corrupted"):
            bins = table.reliability.get((model, kind))
            if bins is None:
                continue
            full = bins.count >= LEAST_PER_BIN
            corrupted = kind == "corrupted"
            gid = colour_class(table, model) if corrupted else "muted"
            if corrupted:
                edges = np.linspace(0, 1, len(bins.count) + 1)
                bars = axes.bar(
                    edges[:-1],
                    0.22 * bins.count / bins.count.max(),
                    width=np.diff(edges) * 0.9,
                    align="edge",
                    color="black",
                    alpha=0.22,
                )
                for bar in bars:
                    bar.set_gid(gid)
            axes.plot(
                bins.confidence[full] / bins.count[full],
                bins.correct[full] / bins.count[full],
                color="black",
                linewidth=2.0 if corrupted else 1.2,
                marker="o" if corrupted else "x",
                markersize=3.5,
                zorder=4 if corrupted else 3,
                gid=gid,
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        # Two of these share a phone's width.
        axes.tick_params(labelsize=13, pad=5)
        axes.set_xticks((0, 0.5, 1), ["0", "50", "100"])
        axes.set_yticks((0, 0.5, 1), ["0", "50", "100"])
        axes.set_xlabel("confidence, %", fontsize=13)
        return _svg(figure, f"Reliability of {model}")


def bar_order(table: RobustnessTable) -> tuple[str, ...]:
    """Ensembles, students, members; the baseline, whose gain is zero, left out."""
    order = {"ensemble": 0, "student": 1, "member": 2, "baseline": 3}
    models = sorted(table.models, key=lambda model: order[table.roles[model]])
    others = tuple(model for model in models if model != table.baseline)
    return others or table.models


def signed(value: float, digits: int = 0) -> str:
    """A share in %, signed unless it is zero; the minus is as wide as a plus."""
    if not np.isfinite(value):
        return "–"
    text = f"{100 * value:+.{digits}f}" if digits else signed_percent(value)
    return text.replace("-", "\N{MINUS SIGN}")


def _draw_bars(axes: Axes, chart: Bars, colours: dict[str, str]) -> None:
    for y, bar in enumerate(chart.bars):
        weight = "bold" if bar.strong else "normal"
        beside = {
            "textcoords": "offset points",
            "va": "center",
            "fontweight": weight,
        }
        axes.annotate(
            _short(bar.name),
            (0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-6, 0),
            ha="right",
            **beside,
        )
        axes.barh(y, bar.value, height=0.62, color=colours[bar.colour], alpha=0.6)
        if bar.high > bar.low:
            axes.plot([bar.low, bar.high], [y, y], color="black", lw=1, marker="|")
        right = bar.value >= 0
        axes.annotate(
            bar.text,
            (max(bar.high, 0) if right else min(bar.low, 0), y),
            xytext=(5 if right else -5, 0),
            ha="left" if right else "right",
            **beside,
        )
    axes.axvline(0, color="black", linewidth=0.9)
    # Numbers of negative bars stand between them and the names.
    room = 0.3 * (chart.high - chart.low) if chart.both_ways else 0.0
    axes.set_xlim(chart.low - room, chart.high)
    axes.set_ylim(len(chart.bars) - 0.4, -0.6)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_yticks([])
    places, labels = zip(*chart.ticks, strict=True)
    axes.set_xticks(places, labels, fontsize=10)
    axes.grid(axis="x")


def _mean_at(
    table: RobustnessTable, model: str, corruptions: Sequence[str], severity: int
) -> float:
    """The mean accuracy over corruptions at one severity; 0 is clean."""
    if severity == 0:
        return table.results[model, CLEAN].accuracy.value
    cells = [
        cell for name in corruptions if (cell := Cell(name, severity)) in table.cells
    ]
    if not cells:
        return np.nan
    values = [table.results[model, cell].accuracy.value for cell in cells]
    return float(cell_weights(cells, corruptions) @ values)


def _label_ends(
    axes: Axes, table: RobustnessTable, ends: dict[str, float], x: float
) -> None:
    """Writes each model's name beside the end of its line, moved apart.

    The names have the colour of text, which all of them can be read in; the short lines
    that lead to them have the models' colours.
    """
    models = sorted((m for m in ends if np.isfinite(ends[m])), key=ends.__getitem__)
    low, high = axes.get_ylim()
    height = axes.get_position().height * axes.figure.get_figheight() / _PIXEL
    gap = min(12.5, height / max(len(models), 1)) * (high - low) / height
    places = _spread([ends[model] for model in models], gap, low, high)
    right = axes.get_xlim()[1] - axes.get_xlim()[0]
    width = axes.get_position().width * axes.figure.get_figwidth() / _PIXEL
    for model, y in zip(models, places, strict=True):
        axes.plot(
            [x, x + 10 * right / width],
            [ends[model], y],
            color="black",
            linewidth=1.4,
            clip_on=False,
            gid=colour_class(table, model),
        )
        axes.annotate(
            _short(model),
            (x, y),
            xytext=(13, 0),
            textcoords="offset points",
            va="center",
            fontsize=10,
            fontweight="bold" if is_strong(table, model) else "normal",
            annotation_clip=False,
            gid="ink",
        )


def _short(name: str) -> str:
    """The end of a long name: where the names of runs differ."""
    name = " ".join(printable(name).split())
    if len(name) <= _LONGEST_NAME:
        return name
    return "…" + name[1 - _LONGEST_NAME :]


def _spread(
    positions: Sequence[float], gap: float, low: float, high: float
) -> np.ndarray:
    """Ascending positions at least `gap` apart and within limits, little moved."""
    # Without the gaps they need only ascend; of all that do, these are closest.
    gaps = gap * np.arange(len(positions))
    moved = isotonic_regression(positions - gaps).x
    return np.clip(moved, low, high - gap * (len(positions) - 1)) + gaps


def _axes(figure: Figure, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with these margins in pixels."""
    width, height = figure.get_size_inches() / _PIXEL
    return figure.add_axes(
        (
            left / width,
            bottom / height,
            1 - (left + right) / width,
            1 - (top + bottom) / height,
        )
    )


def _svg(figure: Figure, title: str) -> Markup:
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
            if re.fullmatch(r"ink|muted|model-\d+", name):
                attributes["class"] = name
        if "style" in attributes:
            style = re.sub(r"font-family: [^;]*; ?", "", attributes["style"])
            attributes["style"] = style.replace("#000000", "currentColor")
        element.attrib = attributes
    label = printable(title)
    svg.attrib = {"viewBox": svg.attrib["viewBox"], "role": "img", "aria-label": label}
    return Markup(ET.tostring(svg, encoding="unicode", short_empty_elements=False))
