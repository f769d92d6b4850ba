"""Charts of lines: against severity, in training, and of confidence."""

from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from v1keras.evaluation.cells import CLEAN, EXTRA_CATEGORY, MEAN, Cell, cell_weights
from v1keras.evaluation.metrics import Reliability
from v1keras.evaluation.report.bars import AT_CHANCE
from v1keras.evaluation.report.order import is_strong
from v1keras.evaluation.report.palette import colour_class, model_styles
from v1keras.evaluation.report.svg import PIXEL, STYLE, axes_within, label_ends, to_svg
from v1keras.evaluation.robustness import RobustnessTable

# A mean over fewer predictions may be 7 points off (one standard error): a line through
# such means would zigzag.
LEAST_PER_BIN = 50
# Fewer bins show no curve.
LEAST_BINS = 4


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
    styles = model_styles(table)
    classes = {
        model: AT_CHANCE
        if table.at_chance(model, group)
        else colour_class(table, model)
        for model in table.models
    }
    top = 100 * np.nanmax(list(curves.values()))
    with matplotlib.rc_context(STYLE):
        figure = Figure((360 * PIXEL, _height(len(curves)) * PIXEL))
        axes = axes_within(figure, 30, 124, 10, 34)
        for model, curve in curves.items():
            thick = table.roles[model] != "member"
            axes.plot(
                severities,
                100 * np.array(curve),
                color="black",
                linewidth=2.4 if thick else 1.3,
                linestyle=(0, styles[model].pattern.dashes or None),
                zorder=4 if thick else 3,
                gid=classes[model],
            )
        axes.axhline(100 * table.chance, color="black", linewidth=0.8, gid="muted")
        axes.set_xlim(severities[0], severities[-1])
        axes.set_ylim(0, min(100, max(top * 1.06, 1)))
        axes.tick_params(labelsize=10, pad=5)
        axes.grid(axis="y")
        axes.set_xticks(severities, ["clean" if s == 0 else str(s) for s in severities])
        axes.set_xlabel("severity")
        ends = {model: 100 * curve[-1] for model, curve in curves.items()}
        label_ends(
            axes,
            ends | {"chance": 100 * table.chance},
            severities[-1],
            classes=classes | {"chance": "muted"},
            bold=[model for model in curves if is_strong(table, model)],
        )
        return to_svg(figure, f"Accuracy in % against severity, {group}")


def training_curves(
    table: RobustnessTable,
    histories: Mapping[str, Mapping[str, Sequence[float]]],
    column: str,
    *,
    scale: float = 1.0,
) -> Markup:
    """What each epoch of some runs measured, a dot at the best validation accuracy.

    Args:
        table: `RobustnessTable` of them, among others.
        histories: mapping from model to `Run.history`.
        column: str. A column of it.
        scale: float. What to multiply the values with. Defaults to `1.0`.

    Returns:
        Markup. An `<svg>` element.
    """
    styles = model_styles(table)
    with matplotlib.rc_context(STYLE):
        figure = Figure((360 * PIXEL, _height(len(histories)) * PIXEL))
        axes = axes_within(figure, 36, 124, 10, 34)
        last, ends = 1.0, {}
        for model, history in histories.items():
            values = scale * np.array(history[column])
            best = int(np.argmax(history["val_accuracy"]))
            axes.plot(
                history["epoch"],
                values,
                color="black",
                linewidth=2.0 if is_strong(table, model) else 1.3,
                linestyle=(0, styles[model].pattern.dashes or None),
                marker="o",
                markersize=5,
                markevery=[best],
                gid=colour_class(table, model),
            )
            last = max(last, history["epoch"][-1])
            ends[model] = float(values[-1])
        axes.set_xlim(min(1.0, last - 1.0), last)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=10, pad=5)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.set_xlabel("epoch")
        classes = {model: colour_class(table, model) for model in ends}
        label_ends(axes, ends, last, classes=classes)
        return to_svg(figure, f"{column} against epoch")


def has_diagram(bins: Reliability) -> bool:
    """Whether there are images enough for a reliability diagram."""
    return int((bins.count >= LEAST_PER_BIN).sum()) >= LEAST_BINS


def reliability_diagram(table: RobustnessTable, model: str) -> Markup:
    """Accuracy against confidence of one model, on clean and corrupted images.

    Args:
        table: `RobustnessTable`.
        model: str.

    Returns:
        Markup. An `<svg>` element. Of a kind of images, only what `has_diagram`.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure((230 * PIXEL, 210 * PIXEL))
        axes = axes_within(figure, 36, 16, 8, 42)
        axes.plot([0, 1], [0, 1], color=(0, 0, 0, 0.5), linewidth=0.8, dashes=(2, 2))
        for kind in ("clean", "corrupted"):
            bins = table.reliability.get((model, kind))
            if bins is None or not has_diagram(bins):
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
        return to_svg(figure, f"Reliability of {model}")


def _height(lines: int) -> int:
    """The height of a chart in which the names of all lines have room."""
    return max(270, 70 + 13 * lines)


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
