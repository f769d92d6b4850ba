"""Charts of a robustness table, drawn for a page (SVG) or for a picture (PNG)."""

import io
import os
import re
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from v1keras.evaluation.cells import CLEAN, Cell, cell_weights
from v1keras.evaluation.palette import Palette, light_palette, page_palette, to_css
from v1keras.evaluation.robustness import EXTRA, MEAN, RobustnessTable
from v1keras.evaluation.tables import signed_percent
from v1keras.files import atomic_write

# A chart's unit is a CSS pixel: fonts keep their size on a phone's width.
_PIXEL = 1 / 72
_FONT = 11
# A panel of bars: its width, that of the names, of the bars, of a number beside a bar
# and of a tick's label; and the height of a row.
_PANEL, _NAMES, _BARS, _NUMBER, _TICK, _ROW = 360, 134, 218, 50, 44, 21
# Longer names would leave their margin; the summary table has them in full.
_LONGEST_NAME = 17
# A mean over fewer predictions than this says nothing about calibration.
LEAST_PER_BIN = 10
_STYLE = {
    # Text stays text: it takes the page's font and can be searched and read aloud.
    "svg.fonttype": "none",
    # Identifiers depend on the content only: equal tables give equal files.
    "svg.hashsalt": "v1keras",
    "font.size": _FONT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def gain_bars(
    table: RobustnessTable, group: str, palette: Palette | None = None
) -> str:
    """The paper's main figure, for one category: gain over the baseline per model.

    Without a baseline, the accuracy.

    Args:
        table: `RobustnessTable`.
        group: str. A category, `"clean"` or `"mean"`.
        palette: `Palette` or None. Defaults to that of the page.

    Returns:
        str. An `<svg>` element.
    """
    palette = palette or page_palette(table)
    models = bar_order(table)
    with matplotlib.rc_context(_STYLE):
        figure = _figure(_PANEL, 34 + _ROW * len(models))
        axes = _axes(figure, _NAMES, _PANEL - _NAMES - _BARS, 8, 26)
        _draw_bars(axes, table, models, group, palette)
        return _svg(figure, palette, f"Gain per model, {group}")


def write_bar_chart(path: str | os.PathLike, table: RobustnessTable) -> None:
    """Writes the bar charts of all categories as one PNG picture.

    Args:
        path: str or path. The file.
        table: `RobustnessTable`.
    """
    palette, models = light_palette(table), bar_order(table)
    groups = table.summary_groups[1:] or ("clean",)
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    bars = _ROW * len(models)
    width, height = _PANEL * columns, (bars + 60) * rows + 30
    with matplotlib.rc_context(_STYLE):
        figure = _figure(width, height)
        for i, group in enumerate(groups):
            row, column = divmod(i, columns)
            left, top = _PANEL * column + _NAMES, 56 + (bars + 60) * row
            margins = (left, width - left - _BARS, top, height - top - bars)
            axes = _axes(figure, *margins)
            _draw_bars(axes, table, models, group, palette)
            axes.set_title(
                group, loc="left", color=palette.ink, fontsize=12, fontweight="bold"
            )
        what = (
            f"Relative accuracy gain over {table.baseline}, with 95 % intervals"
            if table.baseline
            else "Accuracy, with 95 % intervals"
        )
        figure.text(0.01, 1 - 14 / height, what, color=palette.ink, va="center")
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=144, facecolor=palette.surface)


def severity_curves(table: RobustnessTable, group: str) -> str:
    """Accuracy against severity, one line per model, for a category or the mean.

    Args:
        table: `RobustnessTable`.
        group: str. A category or `"mean"`.

    Returns:
        str. An `<svg>` element.
    """
    palette = page_palette(table)
    severities = sorted({cell.severity for cell in table.cells})
    corruptions = [
        name
        for name in table.corruptions
        if table.categories[name] == group
        or (group == MEAN and table.categories[name] != EXTRA)
    ]
    curves = {
        model: [_mean_at(table, model, corruptions, s) for s in severities]
        for model in table.models
    }
    top = 100 * np.nanmax(list(curves.values()))
    with matplotlib.rc_context(_STYLE):
        figure = _figure(360, 270)
        axes = _axes(figure, 30, 124, 10, 34)
        for model, curve in curves.items():
            strong = table.roles[model] != "member"
            axes.plot(
                severities,
                100 * np.array(curve),
                color=palette.series[model],
                linewidth=2.4 if strong else 1.3,
                linestyle=(0, (3, 2)) if table.roles[model] == "baseline" else "-",
                solid_capstyle="round",
                zorder=4 if strong else 3,
            )
        axes.set_xlim(severities[0], severities[-1])
        axes.set_ylim(0, min(100, max(top * 1.06, 1)))
        _quiet(axes, palette)
        axes.grid(axis="y", color=palette.grid, linewidth=0.8)
        labels = ["clean" if s == 0 else str(s) for s in severities]
        axes.set_xticks(severities, labels)
        axes.set_xlabel("severity", color=palette.muted)
        ends = {model: 100 * curve[-1] for model, curve in curves.items()}
        _label_ends(axes, table, ends, severities[-1], palette)
        return _svg(figure, palette, f"Accuracy in % against severity, {group}")


def reliability_diagram(table: RobustnessTable, model: str) -> str:
    """Accuracy against confidence of one model, on clean and corrupted images.

    Args:
        table: `RobustnessTable`.
        model: str.

    Returns:
        str. An `<svg>` element.
    """
    palette = page_palette(table)
    with matplotlib.rc_context(_STYLE):
        figure = _figure(230, 210)
        axes = _axes(figure, 36, 16, 8, 42)
        axes.plot([0, 1], [0, 1], color=palette.muted, linewidth=0.8, dashes=(2, 2))
        for kind, style in (("clean", "muted"), ("corrupted", "series")):
            bins = table.reliability.get((model, kind))
            if bins is None:
                continue
            full = bins.count >= LEAST_PER_BIN
            confidence = bins.confidence[full] / bins.count[full]
            correct = bins.correct[full] / bins.count[full]
            corrupted = style == "series"
            colour = palette.series[model] if corrupted else palette.muted
            if corrupted:
                edges = np.linspace(0, 1, len(bins.count) + 1)
                axes.bar(
                    edges[:-1],
                    0.22 * bins.count / bins.count.max(),
                    width=np.diff(edges) * 0.9,
                    align="edge",
                    color=colour,
                    alpha=0.22,
                )
            axes.plot(
                confidence,
                correct,
                color=colour,
                linewidth=2.0 if corrupted else 1.2,
                marker="o",
                markersize=3.5,
                markerfacecolor=colour if corrupted else palette.surface,
                zorder=4 if corrupted else 3,
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        # Two of these share a phone's width.
        _quiet(axes, palette, size=13)
        ticks = (0, 0.5, 1)
        axes.set_xticks(ticks, ["0", "50", "100"])
        axes.set_yticks(ticks, ["0", "50", "100"])
        axes.set_xlabel("confidence, %", color=palette.muted, fontsize=13)
        return _svg(figure, palette, f"Reliability of {model}")


def bar_order(table: RobustnessTable) -> tuple[str, ...]:
    """Ensembles, students, members; the baseline last, or left out if it is zero."""
    order = {"ensemble": 0, "student": 1, "member": 2, "baseline": 3}
    models = sorted(table.models, key=lambda model: order[table.roles[model]])
    others = tuple(model for model in models if model != table.baseline)
    return others or table.models


def _draw_bars(
    axes: Axes,
    table: RobustnessTable,
    models: Sequence[str],
    group: str,
    palette: Palette,
) -> None:
    attribute = "gain" if table.baseline else "accuracy"
    low, high = _limits(table, models, attribute)
    for y, model in enumerate(models):
        value, lower, upper = getattr(table.groups[model, group], attribute)
        strong = table.roles[model] in ("ensemble", "student")
        axes.annotate(
            _short(model),
            (0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color=palette.ink,
            fontweight="bold" if strong else "normal",
        )
        if not np.isfinite(value):
            continue
        axes.barh(y, value, height=0.62, color=palette.series[model], linewidth=0)
        # Edged with the background, to be seen on a bar of its own colour too.
        for colour, width in ((palette.surface, 3.0), (palette.ink, 1.1)):
            axes.plot([lower, upper], [y, y], color=colour, linewidth=width, zorder=4)
        # The label stands beyond the whisker, away from the zero line.
        right = value >= 0
        axes.annotate(
            _signed(value) if table.baseline else f"{100 * value:.1f} %",
            (max(upper, 0) if right else min(lower, 0), y),
            xytext=(5 if right else -5, 0),
            textcoords="offset points",
            ha="left" if right else "right",
            va="center",
            color=palette.ink,
            fontweight="bold" if strong else "normal",
        )
    axes.axvline(0, color=palette.ink, linewidth=0.9, zorder=5)
    axes.set_xlim(low, high)
    axes.set_ylim(len(models) - 0.4, -0.6)
    _quiet(axes, palette)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    axes.set_yticks([])
    locator = matplotlib.ticker.MaxNLocator(4, steps=[1, 2, 5, 10])
    # A tick's label must not leave the panel on the right.
    last = high - (_TICK / 2 - (_PANEL - _NAMES - _BARS)) * (high - low) / _BARS
    axes.set_xticks([x for x in locator.tick_values(low, high) if low <= x <= last])
    axes.xaxis.set_major_formatter(lambda value, _: _tick(value, table.baseline))
    axes.grid(axis="x", color=palette.grid, linewidth=0.8)


def _limits(
    table: RobustnessTable, models: Sequence[str], attribute: str
) -> tuple[float, float]:
    """Limits that hold every bar of every category, with room for the numbers."""
    estimates = [
        getattr(table.groups[model, group], attribute)
        for model in models
        for group in table.summary_groups
    ]
    ends = np.array([(low, high) for _, low, high in estimates])
    ends = ends[np.isfinite(ends).all(axis=1)]
    if not len(ends):
        return -1.0, 1.0
    low, high = min(0.0, ends[:, 0].min()), max(0.0, ends[:, 1].max())
    sides = 1 + (low < 0)
    room = max(high - low, 0.01) * _NUMBER / (_BARS - sides * _NUMBER)
    return low - (room if low < 0 else 0.0), high + room


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
    axes: Axes,
    table: RobustnessTable,
    ends: dict[str, float],
    x: float,
    palette: Palette,
) -> None:
    """Writes each model's name beside the end of its line, moved apart.

    The names have the colour of text, which all of them can be read in; the short lines
    that lead to them have the models' colours.
    """
    models = sorted((m for m in ends if np.isfinite(ends[m])), key=ends.__getitem__)
    low, high = axes.get_ylim()
    height = axes.get_position().height * axes.figure.get_figheight() / _PIXEL
    gap = min(12.5, height / max(len(models), 1)) * (high - low) / height
    for model, y in zip(
        models, _spread([ends[m] for m in models], gap, low, high), strict=True
    ):
        axes.annotate(
            "",
            (x, ends[model]),
            xytext=(10, (y - ends[model]) * height / (high - low)),
            textcoords="offset points",
            arrowprops={
                "arrowstyle": "-",
                "color": palette.series[model],
                "linewidth": 1.4,
                "shrinkA": 0,
                "shrinkB": 1,
            },
        )
        strong = table.roles[model] in ("ensemble", "student")
        axes.annotate(
            _short(model),
            (x, y),
            xytext=(13, 0),
            textcoords="offset points",
            va="center",
            color=palette.ink,
            fontsize=10,
            fontweight="bold" if strong else "normal",
            annotation_clip=False,
        )


def _signed(gain: float) -> str:
    """A gain in %, with a minus sign as wide as the plus sign."""
    return f"{signed_percent(gain)} %".replace("-", "\N{MINUS SIGN}")


def _tick(value: float, baseline: str | None) -> str:
    if baseline is None:
        return f"{100 * value:.0f} %"
    return _signed(value) if value else _short(baseline)


def _short(name: str) -> str:
    """The end of a long name: where the names of runs differ."""
    if len(name) <= _LONGEST_NAME:
        return name
    return "…" + name[1 - _LONGEST_NAME :]


def _spread(
    positions: Sequence[float], gap: float, low: float, high: float
) -> list[float]:
    """Ascending positions at least `gap` apart and within limits, little moved."""
    # Clusters of labels that touch are centred on the mean of where they belong.
    clusters: list[list[float]] = []
    for position in positions:
        clusters.append([position])
        while len(clusters) > 1:
            before, last = clusters[-2], clusters[-1]
            reach = gap * (len(before) + len(last)) / 2
            if np.mean(last) - np.mean(before) >= reach:
                break
            clusters[-2:] = [before + last]
    result = []
    for cluster in clusters:
        half = gap * (len(cluster) - 1) / 2
        centre = min(max(float(np.mean(cluster)), low + half), high - half)
        result += [centre - half + gap * i for i in range(len(cluster))]
    return result


def _figure(width: float, height: float) -> Figure:
    """A figure of this size in pixels, without pyplot's global state."""
    return Figure(figsize=(width * _PIXEL, height * _PIXEL))


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


def _quiet(axes: Axes, palette: Palette, size: float = 10) -> None:
    """Axes in the background."""
    axes.set_axisbelow(True)
    axes.patch.set_visible(False)
    axes.tick_params(length=0, labelcolor=palette.muted, labelsize=size, pad=5)
    for spine in axes.spines.values():
        spine.set_color(palette.muted)


def _svg(figure: Figure, palette: Palette, title: str) -> str:
    """The figure as an element that can stand in a page, without references out."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    svg = svg.replace("xlink:href", "href")
    # Matplotlib numbers its groups; several charts on a page would share the numbers.
    svg = re.sub(r' id="[A-Za-z.]+(\dd)?_\d+"', "", svg)
    # Fonts and line joins are the page's.
    svg = re.sub(r" font-family: [^;]*;", "", svg)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1">', svg)
    svg = re.sub(r">\s+<", "><", svg)
    label = title.replace("&", "and").replace('"', "")
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return to_css(svg, palette)
