"""The report: one self-contained HTML file that opens offline."""

import html
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from v1keras.evaluation.cells import CLEAN, Cell
from v1keras.evaluation.palette import css_variables
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.evaluation.sections import (
    Section,
    headline,
    settings_list,
    table_sections,
)
from v1keras.files import write_text

_FOLDER = Path(__file__).parent
# Addresses of other files: neither data of the page itself nor places on it.
_OUTSIDE = re.compile(
    r"""(?:src|href)\s*=\s*["']?(?!data:|\#)[^"'\s>]"""
    r"""|url\(\s*["']?(?!data:|\#)|@import"""
)


class Requirement(NamedTuple):
    """Something that a report needs, and whether it is there.

    Args:
        name: str.
        met: bool.
    """

    name: str
    met: bool


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
        ValueError: if a required measurement is missing, or a section refers to
            something outside the file.
    """
    missing = [r.name for r in required_measurements(table, samples) if not r.met]
    if missing and not allow_partial:
        raise ValueError(
            "A report needs every measurement that it declares. "
            f"Received: {len(missing)} missing, {_some(missing)}"
        )
    parts = [*table_sections(table, samples), *sections]
    if settings:
        parts.append(settings_list(settings))
    page = _page(table, title, parts, missing)
    outside = _OUTSIDE.search(page)
    if outside:
        raise ValueError(
            "A report must not refer to anything outside its file. "
            f"Received: {page[outside.start() : outside.start() + 60]}"
        )
    path = Path(out)
    path = path if path.suffix == ".html" else path / "report.html"
    write_text(path, page)
    return path


def _page(
    table: RobustnessTable,
    title: str,
    parts: Sequence[Section],
    missing: Sequence[str],
) -> str:
    links = "".join(
        f'<a href="#part-{i}">{html.escape(part.title)}</a>'
        for i, part in enumerate(parts)
    )
    body = "".join(
        f'<section id="part-{i}"><h2>{html.escape(part.title)}</h2>{part.html}</section>'
        for i, part in enumerate(parts)
    )
    warning = ""
    if missing:
        warning = (
            f'<p class="warning"><strong>Partial report.</strong> {len(missing)} '
            f"measurements are missing: {html.escape(_some(missing))}.</p>"
        )
    style = (
        _read("report.css")
        + f":root{{{css_variables(table, 0)}}}"
        + f':root[data-theme="dark"]{{{css_variables(table, 1)}}}'
    )
    # The theme is set before the page is drawn, so that it does not flash.
    theme = (
        "document.documentElement.dataset.theme="
        'matchMedia("(prefers-color-scheme: dark)").matches?"dark":"light"'
    )
    name = html.escape(title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{style}</style><script>{theme}</script></head>"
        f'<body><header><div class="top"><h1>{name}</h1>'
        '<button class="theme" type="button" aria-label="Change colours"></button></div>'
        f'{headline(table)}<p class="note">{html.escape(_size(table))}</p>{warning}'
        f"<nav>{links}</nav></header><main>{body}</main>"
        "<footer>Made by v1keras. Metrics: Hendrycks &amp; Dietterich 2019; calibration: "
        "Guo et al. 2017; intervals: bootstrap over images, Efron 1979.</footer>"
        f"<script>{_read('report.js')}</script></body></html>\n"
    )


def _size(table: RobustnessTable) -> str:
    text = f"Measured on {table.size()}."
    _, fewest, _ = table.image_counts()
    if 0 < fewest < 1000:
        text += " With so few images a cell, read single cells with their intervals."
    return text


def _some(names: Sequence[str], count: int = 6) -> str:
    listed = ", ".join(names[:count])
    return listed if len(names) <= count else f"{listed} and {len(names) - count} more"


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
