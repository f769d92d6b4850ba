"""The summary of a report: one row per model, and what its seeds spread."""

from collections.abc import Iterator

import numpy as np

from v1keras.evaluation.cells import CLEAN, MEAN
from v1keras.evaluation.report.blocks import Heading, Section, Table, TableCell
from v1keras.evaluation.report.order import is_strong
from v1keras.evaluation.report.palette import colour_class
from v1keras.evaluation.report.wording import gain_note, number, percent, signed
from v1keras.evaluation.robustness import RobustnessTable


def summary_section(table: RobustnessTable) -> Section:
    """The sortable summary table, and that of training seeds."""
    head: list[str | TableCell] = ["model", *_columns(table)]
    is_corrupted = table.summary_groups[-1] != CLEAN.corruption
    of = "under corruption" if is_corrupted else "on clean images"
    over = "means over the corrupted cells" if is_corrupted else "those of clean images"
    head += [
        TableCell("ECE", tip=f"Expected calibration error {of}"),
        TableCell("NLL", tip=f"Negative log-likelihood {of}"),
        TableCell("Brier", tip=f"Brier score {of}"),
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
        f"{over}: lower is better. Pale accuracies have an "
        f"interval that includes chance, {percent(table.chance)} %. Select a column's "
        "name to sort."
    )
    blocks = (note, Table(tuple(head), rows, sortable=True))
    return Section("Summary", (*blocks, *_noise_spread(table), *_seeds(table)))


def _columns(table: RobustnessTable) -> tuple[str, ...]:
    """The mean first, which a phone shows without scrolling."""
    groups = table.summary_groups
    return (MEAN, *groups[:-1]) if groups[-1] == MEAN else groups


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
    for group in _columns(table):
        accuracy = table.groups[model, group].accuracy
        if table.baseline is None:
            note, style = f"[{percent(accuracy.low)}, {percent(accuracy.high)}]", ""
        elif model == table.baseline:
            note, style = "", ""
        else:
            note, style = gain_note(table.groups[model, group].gain)
        if table.at_chance(model, group):
            style = "chance"
        cells.append(TableCell(percent(accuracy.value), note, accuracy.value, style))
    last = table.summary_groups[-1]
    result = table.groups[model, last]
    cells += [
        number(result.expected_calibration_error, share=True),
        number(result.negative_log_likelihood, digits=2),
        number(result.brier_score, digits=3),
    ]
    if table.alexnet:
        cells += [number(value, share=True) for value in table.alexnet[model]]
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
            cells.append(TableCell(f"{percent(mean)} ± {percent(std)}", note))
        rows.append(tuple(cells))
    yield Heading("Training seeds")
    yield "Mean ± standard deviation over runs that differ in their seed."
    yield Table(("variant", *table.summary_groups), tuple(rows))
