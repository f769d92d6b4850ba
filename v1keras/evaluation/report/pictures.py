"""What the models were shown, as a part of a report."""

from collections.abc import Mapping

import numpy as np

from v1keras.evaluation.cache import Sample
from v1keras.evaluation.cells import CLEAN, Cell
from v1keras.evaluation.report.blocks import (
    Heading,
    Panel,
    Panels,
    Picture,
    Section,
    picture,
)
from v1keras.evaluation.report.errors import cell_words
from v1keras.evaluation.report.wording import words
from v1keras.evaluation.robustness import RobustnessTable


def samples_section(table: RobustnessTable, samples: Mapping[Cell, Sample]) -> Section:
    """A picture of every corruption, at the severities that are given.

    Args:
        table: `RobustnessTable`.
        samples: mapping from `Cell` to `Sample`.

    Returns:
        `Section`.
    """
    blocks: list[str | Heading | Panels] = []
    if any(sample.id is not None for sample in samples.values()):
        blocks.append(
            f"Below each picture what {table.leading} took it for: a tick where it was "
            "right."
        )
    if CLEAN in samples:
        clean = Panel("clean", (_picture(table, CLEAN, samples[CLEAN]),))
        blocks.append(Panels((clean,), "tiles"))
    for category in table.category_names:
        tiles = []
        for name in table.corruptions:
            own = sorted(cell for cell in samples if cell.corruption == name)
            if table.categories[name] == category and own:
                strip = tuple(_picture(table, cell, samples[cell]) for cell in own)
                levels = ", ".join(str(cell.severity) for cell in own)
                tiles.append(Panel(words(name), strip, f"severity {levels}"))
        blocks += [Heading(category), Panels(tuple(tiles), "tiles")]
    return Section("What the models were shown", tuple(blocks))


def _picture(table: RobustnessTable, cell: Cell, sample: Sample) -> Picture:
    given = table.answers[cell]
    places = np.flatnonzero(given.ids == sample.id) if sample.id else ()
    caption = ""
    if len(places):
        named = given.predictions[table.leading][0, places[0]]
        label = given.labels[places[0]]
        caption = ("\N{CHECK MARK} " if named == label else "") + table.class_names[
            named
        ]
        if cell == CLEAN:
            caption = f"{table.class_names[label]}: {caption}"
    return picture(sample.image, cell_words(cell), caption=caption)
