"""Which models a report shows first."""

from v1keras.evaluation.robustness import RobustnessTable


def is_strong(table: RobustnessTable, model: str) -> bool:
    """Whether readers look for this model first."""
    return table.roles[model] in ("ensemble", "student")


def bar_order(table: RobustnessTable) -> tuple[str, ...]:
    """Ensembles, students, members; the baseline, whose gain is zero, left out."""
    order = {"ensemble": 0, "student": 1, "member": 2, "baseline": 3}
    models = sorted(table.models, key=lambda model: order[table.roles[model]])
    others = tuple(model for model in models if model != table.baseline)
    return others or table.models


def best_single(table: RobustnessTable) -> str:
    """The model, no ensemble, that is right most often in the last group."""
    last = table.summary_groups[-1]
    return max(table.lineup.models, key=lambda m: table.groups[m, last].accuracy.value)


def open_and_folded(
    table: RobustnessTable,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The models that a page shows at once, and those that one unfolds.

    At once: ensembles, students, and the best single model.
    """
    best = best_single(table)
    models = bar_order(table)
    shown = tuple(m for m in models if is_strong(table, m) or m == best)
    return shown or models[:1], tuple(
        m for m in models if m not in (shown or models[:1])
    )
