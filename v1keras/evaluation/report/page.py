"""The report: one self-contained HTML file that opens offline."""

import os
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from v1keras.evaluation.cells import CLEAN, MEAN, Cell
from v1keras.evaluation.report.blocks import Section, printable
from v1keras.evaluation.report.charts import signed
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


class Requirement(NamedTuple):
    """Something that a report needs, and whether it is there.

    Args:
        name: str.
        met: bool.
    """

    name: str
    met: bool


class Sentence(NamedTuple):
    """The values of a sentence of the headline, as text in %."""

    model: str
    accuracy: str
    baseline: str
    baseline_accuracy: str
    gain: str
    low: str
    high: str


def required_measurements(
    table: RobustnessTable, samples: Mapping[Cell, np.ndarray] | None = None
) -> list[Requirement]:
    """Everything that a complete report of this table is made from.

    Args:
        table: `RobustnessTable`.
        samples: mapping from `Cell` to image, or None when the report shall show none.

    Returns:
        List of `Requirement`.
    """
    requirements = [
        Requirement(f"{model} in {cell}", (model, cell) in table.results)
        for model in table.models
        for cell in table.planned
    ]
    kinds = ["clean", *(["corrupted"] if table.planned != (CLEAN,) else [])]
    requirements += [
        Requirement(
            f"calibration of {model}, {kind}", (model, kind) in table.reliability
        )
        for model in table.models
        for kind in kinds
    ]
    if samples is not None:
        names = dict.fromkeys(cell.corruption for cell in table.planned)
        shown = {cell.corruption for cell in samples}
        requirements += [
            Requirement(f"sample of {name}", name in shown) for name in names
        ]
    return requirements


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
        ValueError: if a required measurement is missing, or a chart of a section refers
            to something outside the file.

    Example:

    >>> write_report(
    ...     "evaluation",
    ...     table,
    ...     title="Two variants",
    ...     sections=[Section("Notes", ("Whatever belongs here.",))],
    ... )
    """
    missing = [r.name for r in required_measurements(table, samples) if not r.met]
    if missing and not allow_partial:
        raise ValueError(
            "A report needs every measurement that it declares. "
            f"Received: {len(missing)} missing, {_some(missing)}"
        )
    parts = [*table_sections(table, samples), *sections]
    if settings:
        parts.append(settings_section(settings))
    page = _TEMPLATES.get_template("report.html").render(
        title=title,
        headline=_headline(table),
        size=table.size(),
        few_images=0 < table.image_counts()[1] < 1000,
        missing=f"{len(missing)} measurements are missing: {_some(missing)}"
        if missing
        else "",
        sections=parts,
        colours=list(model_colours(table).values()),
        steps=DIVERGING,
    )
    outside = outside_references(page)
    if outside:
        raise ValueError(
            "A report must not refer to anything outside its file. "
            f"Received: {outside[0]}"
        )
    path = Path(out)
    path = path if path.suffix == ".html" else path / "report.html"
    write_text(path, page)
    return path


def outside_references(page: str) -> list[str]:
    """What a browser would load or go to from a page, but for the page itself.

    Args:
        page: str. HTML.

    Returns:
        List of tags and addresses, as they stand in attributes and style sheets.
    """
    parser = _References()
    parser.feed(page)
    parser.close()
    return parser.found


class _References(HTMLParser):
    """Collects references out of a page from its tags, attributes and styles."""

    # fmt: off
    _ADDRESSES = frozenset((
        "action", "background", "cite", "data", "formaction", "href", "manifest", "ping",
        "poster", "src", "srcset", "xlink:href",
    ))
    # fmt: on
    _STYLES = frozenset(("clip-path", "fill", "filter", "mask", "stroke", "style"))
    _LOADING = frozenset(("base", "embed", "frame", "iframe", "link", "object"))

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self._in_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in_style = tag == "style"
        if tag in self._LOADING:
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            value = (value or "").strip()
            refresh = name == "http-equiv" and value.lower() == "refresh"
            inside = name not in self._ADDRESSES or value.startswith(("data:", "#"))
            if refresh or not inside:
                self.found.append(f"<{tag} {name}={value}>")
            if name in self._STYLES:
                self._check_style(value)

    def handle_data(self, data: str) -> None:
        if self._in_style:
            self._check_style(data)
            self._in_style = False

    def _check_style(self, style: str) -> None:
        wrong = r"""(?i)(?:url|image-set)\(\s*["']?(?!data:|\#)[^)]*\)|@import[^;]*"""
        self.found += re.findall(wrong, style)


def _headline(table: RobustnessTable) -> list[Sentence]:
    """One sentence per ensemble and student: the result that readers look for."""
    if table.baseline is None or MEAN not in table.summary_groups:
        return []
    base = table.groups[table.baseline, MEAN].accuracy.value
    strong = [m for m in table.models if table.roles[m] in ("ensemble", "student")]
    return [
        Sentence(
            model,
            f"{100 * table.groups[model, MEAN].accuracy.value:.1f}",
            table.baseline,
            f"{100 * base:.1f}",
            *map(signed, table.groups[model, MEAN].gain),
        )
        for model in sorted(strong, key=lambda m: table.roles[m] != "ensemble")
    ]


def _some(names: Sequence[str], count: int = 6) -> str:
    listed = ", ".join(names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more"
