"""Charts of bars: gains per category, for a page and as a picture."""

import os
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from v1keras.evaluation.metrics import relative_gain
from v1keras.evaluation.report.blocks import Bar, Bars
from v1keras.evaluation.report.order import bar_order, is_strong
from v1keras.evaluation.report.palette import Style, colour_class, model_styles
from v1keras.evaluation.report.svg import PIXEL, STYLE, axes_within, short_name
from v1keras.evaluation.report.wording import signed
from v1keras.evaluation.robustness import Estimate, RobustnessTable
from v1keras.files import atomic_write

# A panel of the bar chart: its width, that of the names, and the height of a row.
_PANEL, _NAMES, _ROW = 360, 134, 21
# The class and the looks of models that may be guessing.
AT_CHANCE = "chance"
_CHANCE_STYLE = Style("#b4babf", "#5c646c")


def gain_bars(table: RobustnessTable, group: str) -> Bars:
    """The paper's main figure, for one category: gain over the baseline per model.

    Without a baseline, the accuracy. All categories have one scale.

    Args:
        table: `RobustnessTable`.
        group: str. A category, `"clean"` or `"mean"`.

    Returns:
        `Bars`.
    """
    rows = bar_rows(table)
    measure = "gain" if table.baseline else "accuracy"
    estimates = {
        (models, each): _over_seeds(
            [getattr(table.groups[model, each], measure) for model in models]
        )
        for models in rows
        for each in table.summary_groups
    }
    ends = [end for _, *interval in estimates.values() for end in interval]
    # No accuracy lies further below another one than 100 %.
    low = max(min([0.0, *filter(np.isfinite, ends)]), -1.0)
    high = max([low + 0.01, 0.01, *filter(np.isfinite, ends)])
    bars = []
    for models, name in rows.items():
        value, *interval = estimates[models, group]
        text = f"{signed(value) if table.baseline else f'{100 * value:.1f}'} %"
        if not np.isfinite(value):
            text, value, interval = "–", 0.0, (0.0, 0.0)
        guesses = any(table.at_chance(model, group) for model in models)
        colour = AT_CHANCE if guesses else colour_class(table, models[0])
        strong = is_strong(table, models[0])
        bars.append(Bar(name, text, value, *interval, colour, strong))
    places = MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low, high)
    ticks = tuple(
        (place, signed(place) if table.baseline else f"{100 * place:.0f}")
        for place in places.tolist()
        if low <= place <= high
    )
    chance = table.chance
    if table.baseline:
        base = table.groups[table.baseline, group].accuracy.value
        chance = float(relative_gain(chance, base))
    return Bars(
        tuple(bars), low, high, ticks, chance if low <= chance <= high else None
    )


def bar_rows(table: RobustnessTable) -> dict[tuple[str, ...], str]:
    """The name of each bar by its models, in the order of the bars.

    A bar stands for one model, or for all training seeds of a variant.
    """
    seeds = table.lineup.seeds
    variants = {model: variant for variant, group in seeds.items() for model in group}
    rows = {}
    for model in bar_order(table):
        variant = variants.get(model)
        rows[seeds.get(variant, (model,))] = variant or model
    return rows


def _over_seeds(estimates: Sequence[Estimate]) -> Estimate:
    """The estimate of one model; of several, mean and one standard deviation around."""
    if len(estimates) == 1:
        return estimates[0]
    values = [estimate.value for estimate in estimates]
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1))
    return Estimate(mean, mean - std, mean + std)


def write_bar_chart(path: str | os.PathLike, table: RobustnessTable) -> None:
    """Writes the bar charts of all categories as one PNG picture.

    Args:
        path: str or path. The file.
        table: `RobustnessTable`.
    """
    groups = table.summary_groups[1:] or ("clean",)
    styles = {
        colour_class(table, model): style
        for model, style in model_styles(table).items()
    }
    styles[AT_CHANCE] = _CHANCE_STYLE
    columns = min(3, len(groups))
    rows = -(-len(groups) // columns)
    bars = _ROW * len(bar_rows(table))
    width, height = _PANEL * columns, (bars + 60) * rows + 30
    with matplotlib.rc_context(STYLE):
        figure = Figure((width * PIXEL, height * PIXEL))
        for i, group in enumerate(groups):
            row, column = divmod(i, columns)
            left, top = _PANEL * column + _NAMES, 56 + (bars + 60) * row
            right = width - _PANEL * (column + 1) + 60
            axes = axes_within(figure, left, right, top, height - top - bars)
            _draw_bars(axes, gain_bars(table, group), styles)
            axes.set_title(group, loc="left", fontsize=12, fontweight="bold")
        what = (
            f"Accuracy gain over {short_name(table.baseline)} in %, with 95 % intervals; "
            "plain grey and dashes: chance"
            if table.baseline
            else "Accuracy in %, with 95 % intervals; plain grey and dashes: chance"
        )
        if table.lineup.seeds:
            what += "; of several seeds mean ± standard deviation"
        figure.text(0.01, 1 - 14 / height, what, va="center")
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=144, facecolor="white")


def _draw_bars(axes: Axes, chart: Bars, styles: Mapping[str, Style]) -> None:
    for y, bar in enumerate(chart.bars):
        weight = "bold" if bar.strong else "normal"
        beside = {
            "textcoords": "offset points",
            "va": "center",
            "fontweight": weight,
        }
        axes.annotate(
            short_name(bar.name),
            (0, y),
            xycoords=axes.get_yaxis_transform(),
            xytext=(-6, 0),
            ha="right",
            **beside,
        )
        colour, pattern = styles[bar.colour].light, styles[bar.colour].pattern
        axes.barh(
            y,
            bar.value,
            height=0.62,
            facecolor=(colour, 0.2 if pattern.hatch else 0.6),
            edgecolor=(colour, 0.8),
            hatch=pattern.hatch,
            linewidth=0,
        )
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
    if chart.line is not None:
        axes.axvline(chart.line, color="black", linewidth=0.7, dashes=(3, 3))
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
