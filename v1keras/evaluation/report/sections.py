"""The sections of a report: what a robustness table says, as plain values."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from v1keras.evaluation.cells import CLEAN, MEAN, Cell
from v1keras.evaluation.comparison import Comparison
from v1keras.evaluation.members import MemberAnalysis
from v1keras.evaluation.report.blocks import (
    Bar,
    Bars,
    Heading,
    Panel,
    Panels,
    Section,
    Table,
    TableCell,
    picture,
)
from v1keras.evaluation.report.charts import (
    LEAST_PER_BIN,
    bar_order,
    colour_class,
    gain_bars,
    is_strong,
    reliability_diagram,
    severity_curves,
    signed,
)
from v1keras.evaluation.report.palette import DIVERGING
from v1keras.evaluation.robustness import Estimate, RobustnessTable


def table_sections(
    table: RobustnessTable, samples: Mapping[Cell, np.ndarray] | None
) -> Iterator[Section]:
    """All sections that a table and its samples fill, in the order of a report."""
    yield _summary(table)
    if len(table.summary_groups) > 1:
        yield _gains(table)
        yield _heat_maps(table)
        yield _curves(table)
    yield _calibration(table)
    if table.diversity:
        yield _members_and_ensemble(table)
    if samples:
        yield _samples(table, samples)


def members_section(analysis: MemberAnalysis, images: str) -> Section:
    """What each member adds to an ensemble: its contributions, and the greedy order.

    Args:
        analysis: `MemberAnalysis`.
        images: str. What images it was made on, for the reader.

    Returns:
        `Section`.
    """
    points = {
        group: {m: analysis.contribution(m, group) for m in analysis.members}
        for group in (MEAN, *(g for g in analysis.groups if g != MEAN))
    }
    longest = max(abs(v) for values in points.values() for v in values.values())
    # One scale for all groups, so that charts can be compared.
    scale = max(longest, 0.001)
    charts = tuple(
        Panel(group, Bars(_point_bars(values), -scale, scale, ((0.0, "0"),)))
        for group, values in points.items()
    )
    rows = tuple(
        (f"{step}. {member}", *(_percent(result[group]) for group in analysis.groups))
        for step, (member, result) in enumerate(analysis.greedy, start=1)
    )
    return Section(
        "What each member adds",
        (
            f"Measured on {images}. Bars: how many percentage points of accuracy the "
            "ensemble loses when one member is left out; negative where it is better "
            "off without.",
            Panels(charts),
            Heading("Built up greedily"),
            "Accuracy in % of the ensemble of the members so far; each step adds the "
            "one that helps the mean most.",
            Table(("member", *analysis.groups), rows),
        ),
    )


def comparison_section(comparisons: Sequence[Comparison], other: str) -> Section:
    """Accuracies per corruption here and in another evaluation.

    Args:
        comparisons: sequence of `Comparison`, of this evaluation and another one.
        other: str. What the other one is called.

    Returns:
        `Section`.
    """
    models = tuple(dict.fromkeys(row.model for row in comparisons))
    by_place = {(row.corruption, row.model): row for row in comparisons}
    rows = tuple(
        (_words(name), *(_pair(by_place[name, model]) for model in models))
        for name in dict.fromkeys(row.corruption for row in comparisons)
    )
    images = comparisons[-1].images
    on = f"the {images} images that both showed" if images else "different images"
    outside = sum(not row.agrees for row in comparisons)
    return Section(
        f"Beside {other}",
        (
            f"Accuracy in %, mean over severities, on {on}: here, and in {other}. Below "
            "it the difference and how far it may go by chance (95 %). Of "
            f"{len(comparisons)} differences {outside} are larger, in bold type; "
            f"{len(comparisons) / 20:.0f} would be by chance alone.",
            Table(("corruption", *models), rows),
        ),
    )


def settings_section(settings: Mapping[str, Any]) -> Section:
    """Settings and versions, as a list."""
    rows = tuple((str(key), _plain(value)) for key, value in settings.items())
    return Section("Settings", (Table(("setting", "value"), rows, "settings"),))


def _summary(table: RobustnessTable) -> Section:
    """The sortable summary table, and that of training seeds."""
    head: list[str | TableCell] = ["model", *table.summary_groups]
    if MEAN in table.summary_groups:
        tip = "Mean corruption error in %, not divided by that of another model"
        head.append(TableCell("mean error", tip=tip))
    head += [
        TableCell("ECE", tip="Expected calibration error under corruption"),
        TableCell("NLL", tip="Negative log-likelihood under corruption"),
        TableCell("Brier", tip="Brier score under corruption"),
    ]
    if table.alexnet:
        head += ["mCE (AlexNet)", "relative mCE (AlexNet)"]
    rows = tuple(_summary_row(table, model) for model in table.models)
    below = (
        f"the gain relative to {table.baseline} with its 95 % interval; muted where the "
        "interval includes zero"
        if table.baseline
        else "its 95 % interval"
    )
    note = (
        f"Accuracy in %. Below it, in small type, {below}. ECE, NLL and Brier score are "
        "means over the corrupted cells: lower is better. Select a column's name to "
        "sort."
    )
    blocks = (note, Table(tuple(head), rows, sortable=True))
    return Section("Summary", (*blocks, *_noise_spread(table), *_seeds(table)))


def _summary_row(table: RobustnessTable, model: str) -> tuple[TableCell, ...]:
    cells = [
        TableCell(
            model,
            "baseline" if model == table.baseline else "",
            key=model,
            style="strong" if is_strong(table, model) else "",
            colour=colour_class(table, model),
        )
    ]
    for group in table.summary_groups:
        accuracy = table.groups[model, group].accuracy
        if table.baseline is None:
            note, style = f"[{_percent(accuracy.low)}, {_percent(accuracy.high)}]", ""
        elif model == table.baseline:
            note, style = "", ""
        else:
            note, style = _gain_note(table.groups[model, group].gain)
        cells.append(TableCell(_percent(accuracy.value), note, accuracy.value, style))
    last = table.summary_groups[-1]
    result = table.groups[model, last]
    if last == MEAN:
        cells.append(_number(1.0 - result.accuracy.value, percent=True))
    cells += [
        _number(result.expected_calibration_error, percent=True),
        _number(result.negative_log_likelihood, digits=2),
        _number(result.brier_score, digits=3),
    ]
    if table.alexnet:
        cells += [_number(value, percent=True) for value in table.alexnet[model]]
    return tuple(cells)


def _noise_spread(table: RobustnessTable) -> Iterator[str]:
    """How much the mean varies from one noise draw to the next."""
    if MEAN not in table.summary_groups:
        return
    spreads = {
        model: spread
        for model in table.models
        if (spread := table.groups[model, MEAN].noise_std) is not None
    }
    if spreads:
        draws = max(
            table.results[model, cell].noise_samples
            for model in spreads
            for cell in table.cells
        )
        listed = ", ".join(f"{m} {100 * spread:.2f}" for m, spread in spreads.items())
        yield (
            f"Stochastic models are means over {draws} noise draws. Standard deviation "
            f"of the mean accuracy between draws, in percentage points: {listed}."
        )


def _seeds(table: RobustnessTable) -> Iterator[str | Heading | Table]:
    """Mean and standard deviation over training seeds."""
    if not table.seeds:
        return
    rows = []
    for entry in table.seeds:
        cells = [TableCell(f"{entry.variant} ({len(entry.models)} seeds)")]
        for group in table.summary_groups:
            mean, std = entry.accuracy[group]
            note = ""
            gain, gain_std = entry.gain.get(group, (np.nan, np.nan))
            if np.isfinite(gain):
                note = f"{signed(gain)} ± {100 * gain_std:.0f} %"
            cells.append(TableCell(f"{_percent(mean)} ± {_percent(std)}", note))
        rows.append(tuple(cells))
    yield Heading("Training seeds")
    yield "Mean ± standard deviation over runs that differ in their seed."
    yield Table(("variant", *table.summary_groups), tuple(rows))


def _gains(table: RobustnessTable) -> Section:
    """Bars per category: the paper's main figure."""
    groups = (*_corrupted_groups(table), "clean")
    panels = Panels(tuple(Panel(g, gain_bars(table, g)) for g in groups))
    note = "Thin lines are 95 % intervals by bootstrap over images."
    title = "Accuracy per category"
    if table.baseline is not None:
        title = f"Gain over {table.baseline} per category"
        note = (
            f"Accuracy in % relative to that of {table.baseline}: +100 % is twice as "
            f"often right. {note}"
        )
    return Section(title, (note, panels))


def _heat_maps(table: RobustnessTable) -> Section:
    """Corruption x severity, one map per model."""
    panels = Panels(
        tuple(
            Panel(model, _heat_map(table, model), _mean_gain(table, model))
            for model in bar_order(table)
        )
    )
    if table.baseline is None:
        return Section(
            "Accuracy per corruption and severity",
            ("Accuracy in %, severities 1 to 5.", panels),
        )
    scale = tuple(TableCell("", style=f"step-{i}") for i in range(len(DIVERGING)))
    return Section(
        f"Gain over {table.baseline} per corruption and severity",
        (
            f"Relative gain over {table.baseline} in %, severities 1 to 5. Colours are "
            "logarithmic, from half to twice the baseline's accuracy.",
            Table((), (("\N{MINUS SIGN}50 %", *scale, "+100 %"),), "scale"),
            panels,
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
        rows.append((TableCell(_words(name), style=gap), *cells))
    return Table(("severity", *map(str, severities)), tuple(rows), "heat")


def _heat_cell(table: RobustnessTable, model: str, cell: Cell) -> str | TableCell:
    if cell not in table.cells:
        return "–"
    result = table.results[model, cell]
    accuracy = _percent(result.accuracy.value)
    if result.gain is None:
        value = result.accuracy.value
        return TableCell(f"{100 * value:.0f}", share=value)
    if not np.isfinite(result.gain.value):
        return TableCell("–", tip=f"{accuracy} %, baseline 0 %")
    base = _percent(table.results[table.baseline, cell].accuracy.value)
    return TableCell(
        signed(result.gain.value),
        style=f"step-{_step(result.gain.value)}",
        tip=f"{accuracy} % against {base} %",
    )


def _step(gain: float) -> int:
    """The step of the diverging scale: logarithmic, half to twice."""
    position = np.clip(np.log2(max(1.0 + gain, 1e-3)), -1.0, 1.0)
    return round((position + 1.0) / 2.0 * (len(DIVERGING) - 1))


def _curves(table: RobustnessTable) -> Section:
    """Accuracy against severity per category."""
    groups = _corrupted_groups(table)
    panels = tuple(Panel(group, severity_curves(table, group)) for group in groups)
    note = "Accuracy in %, mean over the corruptions of a category."
    return Section("Accuracy against severity", (note, Panels(panels)))


def _calibration(table: RobustnessTable) -> Section:
    """Reliability diagrams."""
    panels = []
    for model in table.models:
        errors = [
            f"{kind} {_percent(bins.calibration_error())} %"
            for kind in ("clean", "corrupted")
            if (bins := table.reliability.get((model, kind))) is not None
        ]
        note = f"ECE {', '.join(errors)}"
        panels.append(Panel(model, reliability_diagram(table, model), note))
    text = (
        "Accuracy against confidence in %: in colour under corruption, thin with "
        "crosses on clean images. The dashed diagonal is "
        "perfect calibration, and below it lies overconfidence. The pale bars show how "
        f"often each confidence occurs under corruption. Bins of fewer than "
        f"{LEAST_PER_BIN} predictions are not drawn. ECE here pools all corrupted "
        "images."
    )
    return Section("Reliability", (text, Panels(tuple(panels), "small")))


def _members_and_ensemble(table: RobustnessTable) -> Section:
    """How members differ, and what averaging them adds."""
    kind = "corrupted" if "corrupted" in table.diversity else "clean"
    shown = table.diversity[kind]
    matrices = tuple(
        Panel(title, _matrix(shown.models, values), f"mean {100 * mean:.0f} %")
        for title, values, mean in (
            ("Disagreement", shown.disagreement, shown.mean_disagreement()),
            (
                "Correlation of errors",
                shown.error_correlation,
                shown.mean_error_correlation(),
            ),
        )
    )
    return Section(
        "Members and ensemble",
        (
            "Accuracy in %.",
            _members_table(table, shown.models),
            f"On {kind} images, in %. Disagreement: how often two members name "
            "different classes. Correlation of errors: 100 when they fail on the same "
            "images, 0 when they fail independently. The more members differ, the more "
            "averaging them can gain.",
            Panels(matrices),
        ),
    )


def _members_table(table: RobustnessTable, members: tuple[str, ...]) -> Table:
    """The mean member, the best member and the ensembles, side by side."""
    groups = table.summary_groups
    mean: list[str | TableCell] = [f"mean of {len(members)} members"]
    best: list[str | TableCell] = ["best member"]
    for group in groups:
        values = [table.groups[name, group].accuracy.value for name in members]
        mean.append(_percent(np.mean(values)))
        best.append(TableCell(_percent(max(values)), members[int(np.argmax(values))]))
    ensembles = (
        (
            TableCell(
                f"{name} of {len(parts)} ({table.lineup.average})", style="strong"
            ),
            *(_percent(table.groups[name, g].accuracy.value) for g in groups),
        )
        for name, parts in table.lineup.ensembles.items()
    )
    return Table(("", *groups), (tuple(mean), tuple(best), *ensembles))


def _matrix(models: tuple[str, ...], values: np.ndarray) -> Table:
    def cell(i: int, j: int) -> str | TableCell:
        if i == j:
            return "·"
        if not np.isfinite(values[i, j]):
            return "–"
        share = float(np.clip(values[i, j], 0, 1))
        return TableCell(signed(values[i, j]).lstrip("+"), share=share)

    numbers = range(len(models))
    head = (TableCell(str(i + 1), tip=models[i]) for i in numbers)
    rows = ((f"{i + 1}  {models[i]}", *(cell(i, j) for j in numbers)) for i in numbers)
    return Table(("", *head), tuple(rows), "matrix")


def _samples(table: RobustnessTable, samples: Mapping[Cell, np.ndarray]) -> Section:
    """A picture of every corruption, at the severities that are given."""
    blocks: list[Heading | Panels] = []
    if CLEAN in samples:
        clean = Panel("clean", (picture(samples[CLEAN], "clean"),))
        blocks.append(Panels((clean,), "tiles"))
    for category in table.category_names:
        tiles = []
        for name in table.corruptions:
            own = sorted(cell for cell in samples if cell.corruption == name)
            if table.categories[name] == category and own:
                label = _words(name)
                strip = tuple(
                    picture(samples[cell], f"{label} {cell.severity}") for cell in own
                )
                levels = ", ".join(str(cell.severity) for cell in own)
                tiles.append(Panel(label, strip, f"severity {levels}"))
        blocks += [Heading(category), Panels(tuple(tiles), "tiles")]
    return Section("What the models were shown", tuple(blocks))


def _corrupted_groups(table: RobustnessTable) -> tuple[str, ...]:
    """The categories; the mean before them."""
    groups = table.summary_groups[1:]
    return (*groups[-1:], *groups[:-1]) if groups[-1:] == (MEAN,) else groups


def _mean_gain(table: RobustnessTable, model: str) -> str:
    if table.baseline is None or MEAN not in table.summary_groups:
        return ""
    return f"mean {_gain_note(table.groups[model, MEAN].gain)[0].splitlines()[0]}"


def _gain_note(gain: Estimate) -> tuple[str, str]:
    """A gain with its interval, and whether it is more than chance."""
    if not np.isfinite(gain.value):
        return "–", ""
    value, low, high = map(signed, gain)
    sure = gain.low > 0 or gain.high < 0
    return f"{value} %\n[{low}, {high}]", "sure" if sure else ""


def _point_bars(points: Mapping[str, float]) -> tuple[Bar, ...]:
    """Bars of percentage points, the longest first."""
    order = sorted(points, key=lambda name: -points[name])
    return tuple(
        Bar(name, signed(points[name], 1), *3 * (points[name],), "accent")
        for name in order
    )


def _pair(row: Comparison) -> TableCell:
    difference = signed(row.first - row.second, 1)
    return TableCell(
        f"{_percent(row.first)}  {_percent(row.second)}",
        f"{difference} (±{_percent(row.margin)})",
        style="" if row.agrees else "apart",
    )


def _number(value: float, *, percent: bool = False, digits: int = 1) -> TableCell:
    return TableCell(f"{100 * value if percent else value:.{digits}f}", key=value)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "–"
    return "–" if value is None else str(value)
