"""The report: one self-contained HTML file that opens offline.

All names are escaped, and the page's policy lets a browser load nothing else.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from v1keras.evaluation.cells import MEAN, Cell
from v1keras.evaluation.report.blocks import Section, printable
from v1keras.evaluation.report.charts import bar_order, is_strong, signed
from v1keras.evaluation.report.palette import DIVERGING, model_colours
from v1keras.evaluation.report.sections import settings_section, table_sections
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.files import write_text

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("v1keras.evaluation.report"),
    autoescape=True,
    finalize=lambda value: printable(value) if type(value) is str else value,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def required_measurements(
    table: RobustnessTable, samples: Mapping[Cell, np.ndarray] | None = None
) -> dict[str, bool]:
    """Everything that a complete report of this table is made from.

    Args:
        table: `RobustnessTable`.
        samples: mapping from `Cell` to image, or None when the report shall show none.

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
    samples: Mapping[Cell, np.ndarray] | None = None,
    sections: Sequence[Section] = (),
    settings: Mapping[str, Any] | None = None,
    allow_partial: bool = False,
) -> Path:
    """Writes `report.html`: tables, charts and pictures in one file.

    Args:
        out: str or path. The folder in which to write, or the `.html` file itself.
        table: `RobustnessTable`.
        title: str. What was evaluated.
        samples: mapping from `Cell` to a uint8 RGB image, or None. What the models were
            shown. Defaults to no pictures.
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
    1/1 - ...
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
    parts = [*table_sections(table, samples), *sections]
    if settings:
        parts.append(settings_section(settings))
    base = table.groups.get((table.baseline, MEAN))
    page = _TEMPLATES.get_template("report.html").render(
        title=title,
        headline=_headline(table),
        baseline=table.baseline,
        base=_percent(base.accuracy.value) if base else "",
        size=table.size(),
        few_images=0 < table.image_counts()[1] < 1000,
        missing=f"{len(missing)} measurements are missing: {_some(missing)}"
        if missing
        else "",
        sections=parts,
        colours=list(model_colours(table).values()),
        steps=DIVERGING,
    )
    path = Path(out)
    path = path if path.suffix == ".html" else path / "report.html"
    write_text(path, page)
    return path


def _headline(table: RobustnessTable) -> list[dict[str, Any]]:
    """One sentence per ensemble and student: the result that readers look for."""
    if table.baseline is None or MEAN not in table.summary_groups:
        return []
    accuracies = {m: table.groups[m, MEAN].accuracy.value for m in table.lineup.models}
    best = max(accuracies, key=accuracies.get)
    sentences = []
    for model in bar_order(table):
        result = table.groups[model, MEAN]
        if not is_strong(table, model) or not np.isfinite(result.gain.value):
            continue
        value, low, high = map(signed, result.gain)
        beaten = accuracies[best] > result.accuracy.value
        sentences.append(
            {
                "model": model,
                "accuracy": _percent(result.accuracy.value),
                "gain": value,
                "interval": f"{low} to {high}",
                "uncertain": result.gain.low <= 0 <= result.gain.high,
                "better": best if beaten and model in table.lineup.ensembles else None,
                "best_accuracy": _percent(accuracies[best]),
            }
        )
    return sentences


def _percent(accuracy: float) -> str:
    return f"{100 * accuracy:.1f}"


def _some(names: Sequence[str], count: int = 6) -> str:
    listed = ", ".join(names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more"
