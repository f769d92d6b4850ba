"""What a report shows of members and their ensemble."""

from collections.abc import Mapping

import numpy as np

from v1keras.evaluation.cells import MEAN
from v1keras.evaluation.members import MemberAnalysis
from v1keras.evaluation.report.blocks import (
    Bar,
    Bars,
    Heading,
    Panel,
    Panels,
    Section,
    Table,
    TableCell,
    matrix,
)
from v1keras.evaluation.report.wording import percent, signed
from v1keras.evaluation.robustness import RobustnessTable


def members_section(analysis: MemberAnalysis, images: str) -> Section:
    """What each member adds to an ensemble: its contributions, and the greedy order.

    Args:
        analysis: `MemberAnalysis`.
        images: str. What images it was made on, for the reader.

    Returns:
        `Section`.
    """
    points = {
        group: {m: analysis.contribution(m, group) for m in analysis.members}
        for group in (MEAN, *(g for g in analysis.groups if g != MEAN))
    }
    longest = max(abs(v) for values in points.values() for v in values.values())
    # One scale for all groups, so that charts can be compared.
    scale = max(longest, 0.001)
    charts = tuple(
        Panel(group, Bars(_point_bars(values), -scale, scale, ((0.0, "0"),)))
        for group, values in points.items()
    )
    rows = tuple(
        (f"{step}. {member}", *(percent(result[group]) for group in analysis.groups))
        for step, (member, result) in enumerate(analysis.greedy, start=1)
    )
    return Section(
        "What each member adds",
        (
            f"Measured on {images}. Bars: how many percentage points of accuracy the "
            "ensemble loses when one member is left out; negative where it is better "
            "off without.",
            Panels(charts),
            Heading("Built up greedily"),
            "Accuracy in % of the ensemble of the members so far; each step adds the "
            "one that helps the mean most.",
            Table(("member", *analysis.groups), rows),
        ),
    )


def diversity_section(table: RobustnessTable) -> Section:
    """How members differ, and what averaging them adds."""
    kind = "corrupted" if "corrupted" in table.diversity else "clean"
    shown = table.diversity[kind]
    matrices = tuple(
        Panel(
            title, _matrix(shown.models, values), f"mean {signed(mean).lstrip('+')} %"
        )
        for title, values, mean in (
            ("Disagreement", shown.disagreement, shown.mean_disagreement()),
            (
                "Correlation of errors",
                shown.error_correlation,
                shown.mean_error_correlation(),
            ),
        )
    )
    return Section(
        "Members and ensemble",
        (
            "Accuracy in %.",
            _members_table(table, shown.models),
            f"On {kind} images, in %. Disagreement: how often two members name "
            "different classes. Correlation of errors: 100 when they fail on the same "
            "images, 0 when they fail independently. The more members differ, the more "
            "averaging them can gain.",
            Panels(matrices, "wide"),
        ),
    )


def _members_table(table: RobustnessTable, members: tuple[str, ...]) -> Table:
    """The mean member, the best member and the ensembles, side by side."""
    groups = table.summary_groups
    mean: list[str | TableCell] = [f"mean of {len(members)} members"]
    best: list[str | TableCell] = ["best member"]
    for group in groups:
        values = [table.groups[name, group].accuracy.value for name in members]
        mean.append(percent(np.mean(values)))
        best.append(TableCell(percent(max(values)), members[int(np.argmax(values))]))
    ensembles = (
        (
            TableCell(
                f"{name} of {len(parts)} ({table.lineup.average})", style="strong"
            ),
            *(percent(table.groups[name, g].accuracy.value) for g in groups),
        )
        for name, parts in table.lineup.ensembles.items()
    )
    return Table(("", *groups), (tuple(mean), tuple(best), *ensembles))


def _matrix(models: tuple[str, ...], values: np.ndarray) -> Table:
    def cell(i: int, j: int) -> str | TableCell:
        if i == j:
            return "·"
        if not np.isfinite(values[i, j]):
            return "–"
        share = float(np.clip(values[i, j], 0, 1))
        return TableCell(signed(values[i, j]).lstrip("+"), share=share)

    return matrix(models, cell)


def _point_bars(points: Mapping[str, float]) -> tuple[Bar, ...]:
    """Bars of percentage points, the longest first."""
    order = sorted(points, key=lambda name: -points[name])
    return tuple(
        Bar(name, signed(points[name], 1), *3 * (points[name],), "accent")
        for name in order
    )
