"""What a report shows per condition: categories, corruptions, severities, confidence."""

from collections.abc import Iterator, Mapping

import numpy as np

from v1keras.evaluation.calibration import stored_calibrations
from v1keras.evaluation.cells import CLEAN, MEAN, Cell
from v1keras.evaluation.report.bars import gain_bars
from v1keras.evaluation.report.blocks import (
    Folded,
    Panel,
    Panels,
    Section,
    Table,
    TableCell,
)
from v1keras.evaluation.report.curves import (
    LEAST_PER_BIN,
    has_diagram,
    reliability_diagram,
    severity_curves,
)
from v1keras.evaluation.report.order import open_and_folded
from v1keras.evaluation.report.palette import DIVERGING
from v1keras.evaluation.report.wording import gain_note, percent, signed, words
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.training import Run


def gains_section(table: RobustnessTable) -> Section:
    """Bars per category: the paper's main figure."""
    groups = (*_corrupted_groups(table), "clean")
    panels = Panels(tuple(Panel(g, gain_bars(table, g)) for g in groups))
    note = (
        "Thin lines are 95 % intervals by bootstrap over images. The dashed line is "
        "chance, where it is on the scale; plain grey bars are of models whose accuracy "
        "has an interval that includes it."
    )
    if table.lineup.seeds:
        note += (
            " A bar of a variant that was trained with several seeds is their mean, with "
            "a thin line of one standard deviation over seeds to each side."
        )
    title = "Accuracy per category"
    if table.baseline is not None:
        title = f"Gain over {table.baseline} per category"
        note = (
            f"Accuracy in % relative to that of {table.baseline}: +100 % is twice as "
            f"often right. {note}"
        )
    return Section(title, (note, panels))


def heat_maps_section(table: RobustnessTable) -> Section:
    """Corruption x severity, one map per model."""
    shown, others = (
        tuple(Panel(m, _heat_map(table, m), _mean_gain(table, m)) for m in models)
        for models in open_and_folded(table)
    )
    maps = _folded(shown, others)
    if table.baseline is None:
        return Section(
            "Accuracy per corruption and severity",
            ("Accuracy in %, severities 1 to 5.", *maps),
        )
    scale = tuple(TableCell("", style=f"step-{i}") for i in range(len(DIVERGING)))
    return Section(
        f"Gain over {table.baseline} per corruption and severity",
        (
            f"Relative gain over {table.baseline} in %, severities 1 to 5. Colours are "
            "logarithmic, from half to twice the baseline's accuracy.",
            Table((), (("\N{MINUS SIGN}50 %", *scale, "+100 %"),), "scale"),
            *maps,
        ),
    )


def _heat_map(table: RobustnessTable, model: str) -> Table:
    severities = sorted({cell.severity for cell in table.cells if cell != CLEAN})
    rows, previous = [], None
    order = table.category_names.index
    for name in sorted(table.corruptions, key=lambda n: order(table.categories[n])):
        category = table.categories[name]
        gap = "gap" if previous not in (None, category) else ""
        previous = category
        cells = [_heat_cell(table, model, Cell(name, level)) for level in severities]
        rows.append((TableCell(words(name), style=gap), *cells))
    return Table(("severity", *map(str, severities)), tuple(rows), "heat")


def _heat_cell(table: RobustnessTable, model: str, cell: Cell) -> str | TableCell:
    if cell not in table.cells:
        return "–"
    result = table.results[model, cell]
    accuracy = percent(result.accuracy.value)
    if result.gain is None:
        value = result.accuracy.value
        return TableCell(f"{100 * value:.0f}", share=value)
    if not np.isfinite(result.gain.value):
        return TableCell("–", tip=f"{accuracy} %, baseline 0 %")
    base = percent(table.results[table.baseline, cell].accuracy.value)
    return TableCell(
        signed(result.gain.value),
        style=f"step-{_step(result.gain.value)}",
        tip=f"{accuracy} % against {base} %",
    )


def _step(gain: float) -> int:
    """The step of the diverging scale: logarithmic, half to twice."""
    position = np.clip(np.log2(max(1.0 + gain, 1e-3)), -1.0, 1.0)
    return round((position + 1.0) / 2.0 * (len(DIVERGING) - 1))


def curves_section(table: RobustnessTable) -> Section:
    """Accuracy against severity per category."""
    groups = _corrupted_groups(table)
    panels = tuple(Panel(group, severity_curves(table, group)) for group in groups)
    note = "Accuracy in %, mean over the corruptions of a category."
    return Section("Accuracy against severity", (note, Panels(panels)))


def calibration_section(table: RobustnessTable, runs: Mapping[str, Run]) -> Section:
    """Reliability diagrams, of models and images of which there are enough.

    Args:
        table: `RobustnessTable`.
        runs: mapping from model to `Run`. Some may have a temperature.

    Returns:
        `Section`.
    """
    panels, lacking = {}, []
    for model in table.models:
        known = {
            kind: bins
            for kind in ("clean", "corrupted")
            if (bins := table.reliability.get((model, kind))) is not None
        }
        if not any(map(has_diagram, known.values())):
            lacking.append(model)
            continue
        errors = [
            f"{kind} {percent(bins.calibration_error())} %"
            for kind, bins in known.items()
        ]
        stored = stored_calibrations(runs[model]) if model in runs else {}
        fitted = [
            f"{each.temperature:.2f} (noise {mode})" for mode, each in stored.items()
        ]
        note = f"ECE {', '.join(errors)}"
        if fitted:
            note += f"; temperature {', '.join(fitted)}"
        panels[model] = Panel(model, reliability_diagram(table, model), note)
    text = (
        "Accuracy against confidence in %: in colour under corruption, thin with "
        "crosses on clean images. The dashed diagonal is "
        "perfect calibration, and below it lies overconfidence. The pale bars show how "
        f"often each confidence occurs under corruption. Bins of fewer than "
        f"{LEAST_PER_BIN} predictions are not drawn, nor curves of few bins. ECE here "
        "pools all corrupted images. A temperature, fitted on held-out images, would divide "
        "the logits; nothing here is divided."
    )
    if lacking:
        text += f" There are too few images for a diagram of {', '.join(lacking)}."
    first, _ = open_and_folded(table)
    shown = tuple(panel for model, panel in panels.items() if model in first)
    others = tuple(panel for model, panel in panels.items() if model not in first)
    return Section("Reliability", (text, *_folded(shown, others, "small")))


def _folded(
    shown: tuple[Panel, ...], others: tuple[Panel, ...], style: str = "grid"
) -> Iterator[Panels | Folded]:
    """The first models at once, and the others for those who want to see them."""
    if shown:
        yield Panels(shown, style)
    if others:
        names = ", ".join(panel.title for panel in others)
        yield Folded(f"Others: {names}", Panels(others, style))


def _corrupted_groups(table: RobustnessTable) -> tuple[str, ...]:
    """The categories; the mean before them."""
    groups = table.summary_groups[1:]
    return (*groups[-1:], *groups[:-1]) if groups[-1:] == (MEAN,) else groups


def _mean_gain(table: RobustnessTable, model: str) -> str:
    if table.baseline is None or MEAN not in table.summary_groups:
        return ""
    return f"mean {gain_note(table.groups[model, MEAN].gain)[0].splitlines()[0]}"
