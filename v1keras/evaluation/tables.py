"""A robustness table as CSV files and as text."""

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from v1keras.escaping import escape_csv, escape_line
from v1keras.evaluation.answers import class_scores, prediction_rows
from v1keras.evaluation.cells import category
from v1keras.evaluation.robustness import MEAN, Estimate, GroupResult, RobustnessTable
from v1keras.files import atomic_write


def cell_rows(
    table: RobustnessTable, models: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """One row per model and cell: tidy data for any other tool.

    Args:
        table: `RobustnessTable`.
        models: sequence of str or None. Which models. Defaults to all.

    Returns:
        List of dicts with equal keys. Accuracies are fractions, `low` and `high` the
        ends of their 95 % interval, `gain` relative to the baseline (0.38 is 38 %).
    """
    return [
        {
            "model": model,
            "role": table.roles[model],
            "corruption": cell.corruption,
            "severity": cell.severity,
            "category": category(cell.corruption),
            **_columns("accuracy", result.accuracy),
            **_columns("gain", result.gain),
            "noise_std": _number(result.noise_std),
            **_losses(result),
            "images": result.images,
            "noise_samples": result.noise_samples,
        }
        for model in models or table.models
        for cell in table.cells
        for result in [table.results[model, cell]]
    ]


def corruption_rows(table: RobustnessTable) -> list[dict[str, Any]]:
    """One row per model and corruption: means over severities, with intervals.

    Args:
        table: `RobustnessTable`.

    Returns:
        List of dicts with equal keys, named as those of `cell_rows`.
    """
    return [
        {
            "model": model,
            "role": table.roles[model],
            "corruption": name,
            "category": table.categories[name],
            **_columns("accuracy", result.accuracy),
            **_columns("gain", result.gain),
            "noise_std": _number(result.noise_std),
        }
        for model in table.models
        for name in table.corruptions
        for result in [table.groups[model, name]]
    ]


def summary_rows(table: RobustnessTable) -> list[dict[str, Any]]:
    """One row per model: accuracy and gain on clean images, per category, on average.

    Args:
        table: `RobustnessTable`.

    Returns:
        List of dicts with equal keys, such as `noise`, `noise_low`, `noise_high`,
        `noise_gain`, `noise_gain_low`, `noise_gain_high`.
    """
    rows = []
    for model in table.models:
        row: dict[str, Any] = {"model": model, "role": table.roles[model]}
        for group in table.summary_groups:
            result = table.groups[model, group]
            row |= _columns(group, result.accuracy)
            row |= _columns(f"{group}_gain", result.gain)
        if MEAN in table.summary_groups:
            mean = table.groups[model, MEAN]
            row["mean_noise_std"] = _number(mean.noise_std)
            row["mean_corruption_error"] = _number(1.0 - mean.accuracy.value)
        for group in ("clean", MEAN):
            if group in table.summary_groups:
                row |= _losses(table.groups[model, group], f"{group}_")
        if table.alexnet:
            mce, relative = table.alexnet[model]
            row |= {
                "mce_alexnet": _number(mce),
                "relative_mce_alexnet": _number(relative),
            }
        rows.append(row)
    return rows


def seed_rows(table: RobustnessTable) -> list[dict[str, Any]]:
    """One row per variant of which there are several training seeds."""
    rows = []
    for summary in table.seeds:
        row: dict[str, Any] = {
            "variant": summary.variant,
            "runs": len(summary.models),
            "models": " ".join(summary.models),
        }
        measured = {"": summary.accuracy}
        if table.baseline:
            measured["_gain"] = summary.gain
        for suffix, values in measured.items():
            for group in summary.accuracy:
                mean, std = values.get(group, (None, None))
                row[f"{group}{suffix}_mean"] = _number(mean)
                row[f"{group}{suffix}_std"] = _number(std)
        rows.append(row)
    return rows


def diversity_rows(table: RobustnessTable) -> list[dict[str, Any]]:
    """One row per pair of members, on clean and on corrupted images."""
    return [
        {
            "images": kind,
            "model": first,
            "other": second,
            "disagreement": _number(diversity.disagreement[i, j]),
            "error_correlation": _number(diversity.error_correlation[i, j]),
        }
        for kind, diversity in table.diversity.items()
        for i, first in enumerate(diversity.models)
        for j, second in enumerate(diversity.models)
        if i < j
    ]


def class_rows(table: RobustnessTable) -> list[dict[str, Any]]:
    """One row per model and class, on clean and on corrupted images."""
    cells = {kind: table.cells_of(kind) for kind in ("clean", "corrupted")}
    rows = []
    for model in table.models:
        for kind in filter(cells.get, cells):
            scores = class_scores(table.confusion(model, cells[kind]))
            rows += [
                {
                    "model": model,
                    "images": kind,
                    "class": name,
                    "answers": int(count),
                    "recall": _number(recall),
                    "precision": _number(precision),
                }
                for name, count, recall, precision in zip(
                    table.class_names, *scores, strict=True
                )
            ]
    return rows


def write_tables(out: str | os.PathLike, table: RobustnessTable) -> None:
    """Writes `robustness.csv`, `summary.csv`, `classes.csv`, `predictions.csv`, and
    where there is something to say `corruptions.csv`, `seeds.csv` and `diversity.csv`.

    Args:
        out: str or path. The folder.
        table: `RobustnessTable`.
    """
    out = Path(out)
    write_csv(out / "robustness.csv", cell_rows(table))
    write_csv(out / "summary.csv", summary_rows(table))
    write_csv(out / "classes.csv", class_rows(table))
    write_csv(
        out / "predictions.csv", prediction_rows(table.answers, table.class_names)
    )
    for name, rows in (
        ("corruptions", corruption_rows(table)),
        ("seeds", seed_rows(table)),
        ("diversity", diversity_rows(table)),
    ):
        if rows:
            write_csv(out / f"{name}.csv", rows)


def write_csv(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes rows with equal keys, at least one, as CSV, atomically.

    What a spreadsheet would take for a formula has an apostrophe before it, which
    `v1keras.reading.read_table` takes off.
    """
    escaped = ({escape_csv(k): escape_csv(v) for k, v in row.items()} for row in rows)
    first = next(escaped)
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, list(first))
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(escaped)


def format_table(table: RobustnessTable) -> str:
    """The summary as text, for a terminal.

    Args:
        table: `RobustnessTable`.

    Returns:
        str. Accuracies in % per group, the half width of the 95 % interval of the mean,
        and the relative gain of the mean over the baseline with its interval.
    """
    has_mean = MEAN in table.summary_groups
    header = ["model", *table.summary_groups]
    if has_mean and table.baseline:
        header.append(f"gain over {escape_line(table.baseline)} [95 %]")
    lines = [header]
    for model in table.models:
        line = [escape_line(model)]
        for group in table.summary_groups:
            accuracy = table.groups[model, group].accuracy
            text = f"{100 * accuracy.value:.1f}"
            if group == MEAN:
                text += f" ±{50 * (accuracy.high - accuracy.low):.1f}"
            line.append(text)
        if has_mean and table.baseline:
            gain = table.groups[model, MEAN].gain
            line.append("" if model == table.baseline else format_gain(gain))
        lines.append(line)
    text = [f"Accuracy in % on {table.size()}"]
    text += _align(lines)
    for summary in table.seeds:
        if has_mean:
            mean, std = summary.accuracy[MEAN]
            text.append(
                f"{escape_line(summary.variant)}, {len(summary.models)} seeds: mean "
                f"{100 * mean:.1f} ± {100 * std:.1f} (standard deviation)"
            )
    if table.missing:
        text.append(
            f"PARTIAL: {len(table.missing)} of {len(table.planned)} cells are missing."
        )
    return "\n".join(text)


def format_gain(gain: Estimate) -> str:
    """A relative gain with its interval, in %; a dash where the baseline has none."""
    if not np.isfinite(gain).all():
        return "–"
    value, low, high = map(signed_percent, gain)
    return f"{value} % [{low}, {high}]"


def signed_percent(gain: float) -> str:
    """A gain in whole per cent, signed unless it is zero."""
    percent = round(100 * gain) if np.isfinite(gain) else gain
    return f"{percent:+.0f}" if percent else "0"


def _align(lines: Iterable[Sequence[str]]) -> list[str]:
    lines = list(lines)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]


def _losses(result: GroupResult, prefix: str = "") -> dict[str, float | str]:
    names = ("negative_log_likelihood", "brier_score", "expected_calibration_error")
    return {prefix + name: _number(getattr(result, name)) for name in names}


def _columns(name: str, estimate: Estimate | None) -> dict[str, float | str]:
    value, low, high = estimate or (None, None, None)
    prefix = "" if name == "accuracy" else f"{name}_"
    return {
        name: _number(value),
        f"{prefix}low": _number(low),
        f"{prefix}high": _number(high),
    }


def _number(value: float | None) -> float | str:
    """Six decimals; an empty field where there is no number."""
    return "" if value is None or value != value else round(float(value), 6)
