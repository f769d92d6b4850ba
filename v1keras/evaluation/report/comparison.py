"""Two evaluations side by side, as a part of a report."""

from collections.abc import Sequence

from v1keras.evaluation.comparison import Comparison
from v1keras.evaluation.report.blocks import Section, Table, TableCell
from v1keras.evaluation.report.wording import percent, signed, words


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
        (words(name), *(_pair(by_place[name, model]) for model in models))
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


def _pair(row: Comparison) -> TableCell:
    difference = signed(row.first - row.second, 1)
    return TableCell(
        f"{percent(row.first)}  {percent(row.second)}",
        f"{difference} (±{percent(row.margin)})",
        style="" if row.agrees else "apart",
    )
