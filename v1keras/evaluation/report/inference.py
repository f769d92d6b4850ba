"""Other ways to ask the same models, as a part of a report."""

from collections.abc import Sequence

from v1keras.evaluation.inference import OtherInference
from v1keras.evaluation.report.blocks import Heading, Section, Table, TableCell
from v1keras.evaluation.report.wording import percent, signed
from v1keras.evaluation.robustness import RobustnessTable


def inference_section(
    table: RobustnessTable, others: Sequence[OtherInference]
) -> Section:
    """Accuracies of the usual inference and of others, side by side.

    Args:
        table: `RobustnessTable`. Of the usual one.
        others: sequence of `OtherInference`.

    Returns:
        `Section`.
    """
    blocks: list[str | Heading | Table] = [
        "Apart from all other figures of this report. Accuracy in %; below it the "
        "points that it adds to the usual inference, and its 95 % interval.",
        *(other.note for other in others),
    ]
    head = ("model", "usual", *(other.name for other in others))
    for group in dict.fromkeys((table.summary_groups[-1], "clean")):
        rows = tuple(
            (
                model,
                percent(table.groups[model, group].accuracy.value),
                *(_added(table, other.table, model, group) for other in others),
            )
            for model in table.models
        )
        blocks += [Heading(group), Table(head, rows)]
    return Section("Other inference", tuple(blocks))


def _added(
    table: RobustnessTable, other: RobustnessTable, model: str, group: str
) -> TableCell:
    here, there = (t.groups[model, group].accuracy for t in (table, other))
    points = signed(there.value - here.value, 1)
    interval = f"[{percent(there.low)}, {percent(there.high)}]"
    return TableCell(percent(there.value), f"{points}\n{interval}")
