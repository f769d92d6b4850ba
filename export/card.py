"""The model card: what a version is, what it was made from and how good it is.

One content, written twice: as Markdown for repositories and as one HTML file that opens
offline.
"""

import dataclasses
import html
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from export.robustness import Robustness
from v1keras.files import write_text

MARKDOWN_FILE = "MODEL_CARD.md"
HTML_FILE = "model_card.html"

# Where things lay on the machine that trained says nothing about the model.
_LOCAL_SETTINGS = ("out", "data_dir", "strategy", "dataset", "members", "variant")
_NO_V1 = "This version has no V1 front-end, and so no neuronal noise."
_NOISE = {
    "off": "The V1 front-end of this version adds no noise: equal images get equal "
    "answers.",
    "fixed": "The V1 front-end of this version adds the same pattern of noise (seed "
    "{seed}) to every image: equal images get equal answers.",
    "stochastic": "The V1 front-end of this version draws new noise for every image: "
    "answers to equal images differ. The draws begin with seed {seed} when a server "
    "loads it.",
}
_GROUPS = ("clean", "noise", "blur", "weather", "digital", "mean")
_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
.table { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #8886; }
th, td { white-space: nowrap; font-variant-numeric: tabular-nums; }
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of a card.

    Args:
        header: tuple of str.
        rows: tuple of tuples of str, as long as the header.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a card.

    Args:
        title: str.
        blocks: tuple of str (paragraphs) and `Table`.
    """

    title: str
    blocks: tuple[str | Table, ...]


def write_card(
    folder: str | os.PathLike,
    name: str,
    metadata: Mapping[str, Any],
    robustness: Robustness | None = None,
) -> None:
    """Writes `MODEL_CARD.md` and `model_card.html`.

    Args:
        folder: str or path. The version's folder.
        name: str. The name that the model is served by.
        metadata: dict. The content of `metadata.json`.
        robustness: `Robustness` or None. What an evaluation has measured. Defaults to
            `None`: the card then says that there is none.
    """
    sections = [
        _model(metadata),
        _use(),
        _data(metadata),
        _training(metadata),
        _checks(metadata),
        _robustness(robustness),
        _files(metadata),
        _licence(metadata),
    ]
    write_text(Path(folder) / MARKDOWN_FILE, to_markdown(name, sections))
    write_text(Path(folder) / HTML_FILE, to_html(name, sections))


def to_markdown(title: str, sections: Iterable[Section]) -> str:
    """Sections as Markdown."""
    lines = [f"# {_markdown(title)}", ""]
    for section in sections:
        lines += [f"## {_markdown(section.title)}", ""]
        for block in section.blocks:
            if isinstance(block, Table):
                rows = [block.header, ("---",) * len(block.header), *block.rows]
                lines += ["| " + " | ".join(map(_markdown, row)) + " |" for row in rows]
            else:
                lines.append(_markdown(block))
            lines.append("")
    return "\n".join(lines)


def to_html(title: str, sections: Iterable[Section]) -> str:
    """Sections as one page that loads nothing."""
    title = html.escape(title)
    parts = [
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n<h1>{title}</h1>",
    ]
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [
            _html_table(block)
            if isinstance(block, Table)
            else f"<p>{html.escape(block)}</p>"
            for block in section.blocks
        ]
    return "\n".join([*parts, "</html>", ""])


def _html_table(table: Table) -> str:
    def row(tag: str, cells: Iterable[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}" for cell in cells)

    rows = "\n".join(row("td", cells) for cells in table.rows)
    head = row("th", table.header)
    return f'<div class="table"><table>\n{head}\n{rows}\n</table></div>'


def _markdown(text: str) -> str:
    """Text in which no character has a meaning of its own."""
    for character in "\\|*_<>`":
        text = text.replace(character, f"\\{character}")
    return text


def _model(metadata: Mapping[str, Any]) -> Section:
    runs = metadata["runs"]
    size, classes = metadata["input"]["shape"][1], len(metadata["class_names"])
    if len(runs) > 1:
        what = f"The mean of the logits of {len(runs)} image classifiers"
    elif runs[0]["kind"] == "student":
        what = "An image classifier that was taught by an ensemble (a student)"
    else:
        what = "An image classifier"
    noise = metadata["noise"]
    if any(run["variant"]["v1"] for run in runs):
        policy = _NOISE[noise["mode"]].format(seed=noise["seed"])
    else:
        policy = _NO_V1
    return Section(
        "Model",
        (
            f"{what}: RGB images of {size} x {size} pixels to {classes} classes. "
            "Variants other than base see through a fixed model of primary visual "
            "cortex (V1) with simple and complex cells.",
            Table(
                ("run", "variant", "backbone", "spatial frequencies", "cells", "noise"),
                tuple(_run_row(run) for run in runs),
            ),
            policy,
            f"Input: {metadata['input']['colors']} pixels, 0 to 255, float32. Image files "
            f"are fitted by the server: {metadata['input']['resize']}.",
        ),
    )


def _run_row(run: Mapping[str, Any]) -> tuple[str, ...]:
    variant, settings = run["variant"], run["settings"]
    back_end = f"{settings.get('arch', '-')}, width {settings.get('width', '-')}"
    if not variant["v1"]:
        return run["name"], variant["name"], back_end, "-", "-", "-"
    return (
        run["name"],
        variant["name"],
        back_end,
        f"{variant['sf_min']:g} to {variant['sf_max']:g} cycles/degree",
        f"{variant['simple_channels']} simple, {variant['complex_channels']} complex",
        f"gain {variant['noise_gain']:g} in training",
    )


def _use() -> Section:
    return Section(
        "Intended use",
        (
            "Research on robustness to image corruptions, and classification of images "
            "like those of the data below. Every image gets one of the classes, also one "
            "that shows none of them.",
            "Not made for decisions about people, for safety, or against images that "
            "are made to deceive it. The accuracies below hold for images that are "
            "drawn like the test images.",
        ),
    )


def _data(metadata: Mapping[str, Any]) -> Section:
    rows = []
    for run in metadata["runs"]:
        data = run["data"]
        sizes = ", ".join(
            f"{count} {name}" for name, count in data.get("sizes", {}).items()
        )
        row = (Path(data["name"]).name, sizes or "-", data.get("fingerprint") or "-")
        if row not in rows:
            rows.append(row)
    return Section(
        "Data",
        (
            Table(("data set", "images", "fingerprint"), tuple(rows)),
            # Names themselves may hold commas.
            f"Classes: {'; '.join(metadata['runs'][0]['display_names'])}.",
        ),
    )


def _training(metadata: Mapping[str, Any]) -> Section:
    runs = metadata["runs"]
    settings = [
        {
            name: _text(value)
            for name, value in run["settings"].items()
            if name not in _LOCAL_SETTINGS and value is not None
        }
        for run in runs
    ]
    names = list(dict.fromkeys(name for each in settings for name in each))
    rows = [
        (name, *(each.get(name, "-") for each in settings)) for name in sorted(names)
    ]
    taught = [
        f"{run['name']} was taught by "
        f"{', '.join(Path(member).name for member in run['settings']['members'])}."
        for run in runs
        if run["settings"].get("members")
    ]
    return Section(
        "Training",
        (Table(("setting", *(run["name"] for run in runs)), tuple(rows)), *taught),
    )


def _checks(metadata: Mapping[str, Any]) -> Section:
    accuracy = metadata["accuracy"]
    slices = tuple(next(iter(accuracy.values())))
    rows = tuple(
        (source, *(f"{values[name]:.1%}" for name in slices))
        for source, values in accuracy.items()
    )
    return Section(
        "Checks of this export",
        (
            f"Accuracy on {metadata['images']} {metadata['checked_on']} images: of the "
            "Keras model, of the exported files, and of the version that was served "
            "before (baseline), if there was one.",
            Table(("source", *slices), rows),
        ),
    )


def _robustness(robustness: Robustness | None) -> Section:
    title = "Accuracy, robustness and calibration"
    if robustness is None:
        return Section(
            title, ("Not evaluated: v1keras.evaluate measures it on test images.",)
        )
    clean, corrupted = _split_cells(robustness)
    draws = int(clean["noise_samples"])
    blocks: list[str | Table] = [
        f"Measured by v1keras.evaluate on {clean['images']} test images per cell, with "
        "the noise of the Keras model as in training"
        f" ({draws} draw{'' if draws == 1 else 's'}). Brackets hold 95 % intervals by bootstrap over images."
    ]
    if robustness.summary:
        row = robustness.summary
        groups = [group for group in _GROUPS if row.get(group)]
        blocks.append(
            Table(
                ("images", "accuracy"),
                tuple((group, _interval(row, f"{group}_", group)) for group in groups),
            )
        )
    else:
        blocks.append(
            Table(
                ("images", "accuracy"), (("clean", _interval(clean, "", "accuracy")),)
            )
        )
    if corrupted:
        severities = sorted({row["severity"] for row in corrupted})
        names = dict.fromkeys(row["corruption"] for row in corrupted)
        cells = {
            (row["corruption"], row["severity"]): _interval(row, "", "accuracy")
            for row in corrupted
        }
        blocks.append(
            Table(
                ("corruption", *(f"severity {level}" for level in severities)),
                tuple(
                    (name, *(cells.get((name, level), "-") for level in severities))
                    for name in names
                ),
            )
        )
    blocks.append(
        Table(
            ("calibration", "clean", "mean over corruptions"),
            tuple(
                (label, _decimal(clean[key]), _mean(corrupted, key))
                for label, key in (
                    ("expected calibration error", "expected_calibration_error"),
                    ("negative log-likelihood", "negative_log_likelihood"),
                    ("Brier score", "brier_score"),
                )
            ),
        )
    )
    return Section(title, tuple(blocks))


def _split_cells(
    robustness: Robustness,
) -> tuple[Mapping[str, str], list[Mapping[str, str]]]:
    clean = [row for row in robustness.cells if row["corruption"] == "clean"]
    return clean[0], [row for row in robustness.cells if row["corruption"] != "clean"]


def _files(metadata: Mapping[str, Any]) -> Section:
    quantize = metadata["quantize"]
    formats = {"savedmodel": "SavedModel, float32", "tflite": f"LiteRT, {quantize}"}
    sizes = tuple(
        (formats[name], f"{size / 1e6:.2f} MB")
        for name, size in metadata["bytes"].items()
    )
    times = tuple(
        (source, f"{value:.1f} ms")
        for source, value in metadata["milliseconds"].items()
    )
    sums = tuple(metadata["sha256"].items())
    return Section(
        "Files",
        (
            Table(("format", "size"), sizes),
            "Median time of a request with one image, on the processor of the machine "
            "that exported:",
            Table(("signature", "time"), times),
            Table(("file", "SHA-256"), sums),
        ),
    )


def _licence(metadata: Mapping[str, Any]) -> Section:
    versions = ", ".join(f"{name} {v}" for name, v in metadata["versions"].items())
    return Section(
        "Licence",
        (
            f"Weights: {metadata['license'] or 'no licence was stated'}. The terms of the "
            "data set may bind them too. Code: v1keras, Apache-2.0.",
            f"Made with {versions}.",
        ),
    )


def _interval(row: Mapping[str, str], prefix: str, key: str) -> str:
    value, low, high = row[key], row[f"{prefix}low"], row[f"{prefix}high"]
    if not value:
        return "-"
    text = f"{float(value):.1%}"
    return f"{text} [{float(low):.1%}, {float(high):.1%}]" if low and high else text


def _decimal(text: str) -> str:
    return f"{float(text):.3f}" if text else "-"


def _mean(rows: Sequence[Mapping[str, str]], key: str) -> str:
    values = [float(row[key]) for row in rows if row[key]]
    return f"{sum(values) / len(values):.3f}" if values else "-"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
