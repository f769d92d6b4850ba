"""The errors of a report: confusions, classes, and the surest mistakes."""

from collections.abc import Iterator, Sequence

import numpy as np

from v1keras.evaluation.answers import ClassScores, Mistake, class_scores
from v1keras.evaluation.cells import CLEAN, Cell
from v1keras.evaluation.report.blocks import (
    Heading,
    Panel,
    Panels,
    Section,
    Table,
    TableCell,
    matrix,
    picture,
)
from v1keras.evaluation.report.wording import NONE, percent, words
from v1keras.evaluation.robustness import RobustnessTable

# More classes than these fill no matrix that one can read, and no table.
_IN_A_MATRIX, _IN_A_TABLE = 20, 50
_ARROW = "\N{RIGHTWARDS ARROW}"


def errors_section(
    table: RobustnessTable, mistakes: Sequence[tuple[Mistake, np.ndarray]]
) -> Section:
    """What the leading model takes for what.

    Args:
        table: `RobustnessTable`.
        mistakes: sequence of (`Mistake`, uint8 RGB image). Those to show.

    Returns:
        `Section`.
    """
    model = table.leading
    cells = {kind: table.cells_of(kind) for kind in ("clean", "corrupted")}
    confusions = {k: table.confusion(model, c) for k, c in cells.items() if c}
    blocks = [
        f"Of {model}. All models, image by image, are in predictions.csv, and their "
        "classes in classes.csv.",
    ]
    if len(table.class_names) <= _IN_A_MATRIX:
        panels = tuple(
            Panel(kind, _matrix(table.class_names, counts))
            for kind, counts in confusions.items()
        )
        blocks += [
            Heading("Confusion matrices"),
            "Rows are classes, columns what the model named, in % of the row.",
            Panels(panels, "wide"),
        ]
    names = table.class_names
    images = np.bincount(table.answers[CLEAN].labels, minlength=len(names))
    blocks += [Heading("Classes"), *_classes(names, images, confusions)]
    if "corrupted" in confusions:
        blocks += [
            Heading("What corruptions turn into what"),
            "The confusions that each corruption adds most to those of clean images: "
            "which share of the class is taken for the other one.",
            Table(
                ("corruption", "most", "second", "third"), tuple(_turned(table, model))
            ),
        ]
    if mistakes:
        blocks += [
            Heading("Surest mistakes"),
            "Class, what the model named, and the probability that it gave.",
            Panels(_mistake_panels(table, mistakes), "small"),
        ]
    return Section("Errors", tuple(blocks))


def _matrix(names: Sequence[str], counts: np.ndarray) -> Table:
    shares = _shares(counts)

    def cell(i: int, j: int) -> str | TableCell:
        share, tip = shares[i, j], f"{names[i]} {_ARROW} {names[j]}"
        return TableCell(percent(share, 0), share=share, tip=tip) if share > 0 else ""

    return matrix(names, cell)


def _shares(counts: np.ndarray) -> np.ndarray:
    """Each row of a confusion matrix as shares of its class."""
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _classes(
    names: Sequence[str], images: np.ndarray, confusions: dict[str, np.ndarray]
) -> Iterator[str | Table]:
    """Recall and precision of each class, the worst first."""
    scores = {kind: class_scores(counts) for kind, counts in confusions.items()}
    last = list(confusions)[-1]
    shares = _shares(confusions[last])
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(np.nan_to_num(scores[last].recall, nan=2.0), kind="stable")
    rows = tuple(
        (
            names[i],
            f"{images[i]}",
            *(_score(each, i) for each in scores.values()),
            _taken_for(names, shares[i]),
        )
        for i in order[:_IN_A_TABLE]
    )
    yield (
        "Recall: which share of a class is recognised; below it the precision: which "
        "share of the answers that name it is right. Those that are recognised least "
        "first. The mean recall of all classes is the balanced accuracy: "
        + ", ".join(
            f"{percent(each.balanced_accuracy)} % ({kind})"
            for kind, each in scores.items()
        )
        + "."
    )
    head = ("class", "clean images", *scores, f"most often taken for ({last})")
    yield Table(head, rows, sortable=True)


def _score(scores: ClassScores, i: int) -> TableCell:
    recall, precision = float(scores.recall[i]), float(scores.precision[i])
    key = recall if np.isfinite(recall) else -1.0
    return TableCell(percent(recall), percent(precision), key)


def _taken_for(names: Sequence[str], shares: np.ndarray) -> str:
    most = int(np.argmax(shares))
    return f"{names[most]} {percent(shares[most], 0)} %" if shares[most] else NONE


def _turned(table: RobustnessTable, model: str) -> Iterator[tuple[str, ...]]:
    """Three confusions for each corruption that it adds most to."""
    clean = _shares(table.confusion(model, (CLEAN,)))
    for name in table.corruptions:
        own = [cell for cell in table.cells if cell.corruption == name]
        shares = _shares(table.confusion(model, own))
        added = shares - clean
        np.fill_diagonal(added, 0.0)
        most = np.argsort(-added, axis=None, kind="stable")[:3]
        places = [divmod(int(place), len(added)) for place in most]
        places += [(0, 0)] * (3 - len(places))
        yield (
            words(name),
            *(
                f"{table.class_names[i]} {_ARROW} {table.class_names[j]} "
                f"{percent(shares[i, j], 0)} %"
                if added[i, j] > 0
                else NONE
                for i, j in places
            ),
        )


def _mistake_panels(
    table: RobustnessTable, mistakes: Sequence[tuple[Mistake, np.ndarray]]
) -> tuple[Panel, ...]:
    panels = []
    for mistake, image in mistakes:
        label, named = (
            table.class_names[i] for i in (mistake.label, mistake.prediction)
        )
        title = f"{label} {_ARROW} {named}"
        note = f"{percent(mistake.confidence, 0)} %, {cell_words(mistake.cell)}"
        panels.append(Panel(title, (picture(image, title, caption=note),)))
    return tuple(panels)


def cell_words(cell: Cell) -> str:
    """A cell as one reads it, such as `"fog 3"`."""
    return "clean" if cell == CLEAN else f"{words(cell.corruption)} {cell.severity}"
