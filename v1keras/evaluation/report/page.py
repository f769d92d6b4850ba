"""The report: one self-contained HTML file that opens offline.

All names are escaped, and the page's policy lets a browser load nothing else.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from v1keras.escaping import escape_html
from v1keras.evaluation.answers import Mistake
from v1keras.evaluation.cache import Sample
from v1keras.evaluation.cautions import cautions
from v1keras.evaluation.cells import MEAN, Cell
from v1keras.evaluation.costs import Cost
from v1keras.evaluation.report.blocks import Section, Table
from v1keras.evaluation.report.conditions import (
    calibration_section,
    curves_section,
    gains_section,
    heat_maps_section,
)
from v1keras.evaluation.report.errors import errors_section
from v1keras.evaluation.report.members import diversity_section
from v1keras.evaluation.report.order import bar_order, best_single, is_strong
from v1keras.evaluation.report.palette import DIVERGING, model_styles
from v1keras.evaluation.report.pictures import samples_section
from v1keras.evaluation.report.runs import models_section, training_section
from v1keras.evaluation.report.summary import summary_section
from v1keras.evaluation.report.wording import NONE, percent, signed
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.files import write_text
from v1keras.training import Run

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("v1keras.evaluation.report"),
    autoescape=True,
    finalize=escape_html,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def required_measurements(
    table: RobustnessTable, samples: Mapping[Cell, Sample] | None = None
) -> dict[str, bool]:
    """Everything that a complete report of this table is made from.

    Args:
        table: `RobustnessTable`.
        samples: mapping from `Cell` to `Sample`, or None when the report shall show
            none.

    Returns:
        dict from the name of a measurement to whether it is there.
    """
    required = {
        f"{model} in {cell}": (model, cell) in table.results
        for model in table.models
        for cell in table.planned
    }
    for model in table.models:
        for kind in ("clean", "corrupted")[: len(table.planned)]:
            known = (model, kind) in table.reliability
            required[f"calibration of {model}, {kind}"] = known
    if samples is not None:
        shown = {cell.corruption for cell in samples}
        for cell in table.planned:
            required[f"sample of {cell.corruption}"] = cell.corruption in shown
    return required


def write_report(
    out: str | os.PathLike,
    table: RobustnessTable,
    *,
    title: str,
    runs: Mapping[str, Run] | None = None,
    costs: Mapping[str, Cost] | None = None,
    samples: Mapping[Cell, Sample] | None = None,
    mistakes: Sequence[tuple[Mistake, np.ndarray]] = (),
    sections: Sequence[Section] = (),
    settings: Mapping[str, Any] | None = None,
    allow_partial: bool = False,
) -> Path:
    """Writes `report.html`: tables, charts and pictures in one file.

    Args:
        out: str or path. The folder in which to write, or the `.html` file itself.
        table: `RobustnessTable`.
        title: str. What was evaluated.
        runs: mapping from model to `Run`, or None. How the models were trained.
            Defaults to models of which nothing else is known.
        costs: mapping from each model and ensemble to its `Cost`, or None. Defaults to
            unknown costs.
        samples: mapping from `Cell` to `Sample`, or None. What the models were shown.
            Defaults to no pictures.
        mistakes: sequence of (`Mistake`, uint8 RGB image). Mistakes to show, such as
            those of `confident_mistakes`. Defaults to none.
        sections: sequence of `Section`. Further parts, before the settings.
        settings: mapping or None. What to list under "Settings".
        allow_partial: bool. Whether measurements may be missing; the report then says
            which. Defaults to `False`.

    Returns:
        Path. The file.

    Raises:
        ValueError: if a required measurement is missing.

    Example:

    >>> config = v1keras.evaluation.EvaluateConfig(
    ...     models=["runs/base"],
    ...     dataset="shapes:24:24",
    ...     corrupted="none",
    ...     out="evaluation",
    ... )
    >>> table = v1keras.evaluation.evaluate(config)
    1/1 clean: ...
    >>> notes = Section("Notes", ("Whatever belongs here.",))
    >>> write_report("mine", table, title="Mine", sections=[notes]).as_posix()
    'mine/report.html'
    """
    required = required_measurements(table, samples)
    missing = [name for name, there in required.items() if not there]
    if missing and not allow_partial:
        raise ValueError(
            "A report needs every measurement that it declares. "
            f"Received: {len(missing)} missing, {_some(missing)}"
        )
    runs = {n: run for n, run in (runs or {}).items() if n in table.models}
    costs = costs or {}
    parts = [models_section(table, runs, costs), summary_section(table)]
    if len(table.summary_groups) > 1:
        parts += [gains_section(table), heat_maps_section(table), curves_section(table)]
    parts += [errors_section(table, mistakes), calibration_section(table, runs)]
    if table.diversity:
        parts.append(diversity_section(table))
    if samples:
        parts.append(samples_section(table, samples))
    if runs:
        parts.append(training_section(table, runs))
    parts += sections
    if settings:
        rows = tuple((str(key), _plain(value)) for key, value in settings.items())
        parts.append(
            Section("Settings", (Table(("setting", "value"), rows, "settings"),))
        )
    base = table.groups.get((table.baseline, MEAN))
    page = _TEMPLATES.get_template("report.html").render(
        title=title,
        headline=_headline(table, costs),
        cautions=list(cautions(table, runs)),
        chance=percent(table.chance),
        classes=len(table.class_names),
        baseline=table.baseline,
        base=percent(base.accuracy.value) if base else "",
        size=table.size(),
        missing=f"{len(missing)} measurements are missing: {_some(missing)}"
        if missing
        else "",
        sections=parts,
        styles=list(model_styles(table).values()),
        steps=DIVERGING,
    )
    path = Path(out)
    path = path if path.suffix == ".html" else path / "report.html"
    write_text(path, page)
    return path


def _headline(
    table: RobustnessTable, costs: Mapping[str, Cost]
) -> list[dict[str, Any]]:
    """One sentence per ensemble and student: the result that readers look for."""
    if table.baseline is None or MEAN not in table.summary_groups:
        return []
    best = best_single(table)
    reached = table.groups[best, MEAN].accuracy.value
    whole = next(iter(table.lineup.ensembles), None) if costs else None
    sentences = []
    for model in bar_order(table):
        result = table.groups[model, MEAN]
        further = model in table.lineup.further_seeds
        if further or not is_strong(table, model) or not np.isfinite(result.gain.value):
            continue
        value, low, high = map(signed, result.gain)
        beaten = reached > result.accuracy.value
        cheap = whole and table.roles[model] == "student"
        sentences.append(
            {
                "model": model,
                "accuracy": percent(result.accuracy.value),
                "gain": value,
                "interval": f"{low} to {high}",
                "uncertain": result.gain.low <= 0 <= result.gain.high,
                "guesses": table.at_chance(model, MEAN),
                "cost": percent(costs[model].operations / costs[whole].operations, 0)
                if cheap
                else None,
                "whole": whole,
                "better": best if beaten and model in table.lineup.ensembles else None,
                "best_accuracy": percent(reached),
            }
        )
    return sentences


def _plain(value: Any) -> str:
    """A setting as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or NONE
    return NONE if value is None else str(value)


def _some(names: Sequence[str], count: int = 6) -> str:
    listed = ", ".join(names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more"
