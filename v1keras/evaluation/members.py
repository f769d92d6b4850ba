"""What each member adds to an ensemble, from cached logits."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from v1keras.evaluation.cache import LogitCache
from v1keras.evaluation.cells import CLEAN, MEAN, Cell, cell_weights, group_weights
from v1keras.evaluation.metrics import accuracy, ensemble_logits


@dataclasses.dataclass(frozen=True)
class MemberAnalysis:
    """Accuracies of an ensemble and of parts of it, per group of cells.

    Args:
        members: tuple of str.
        groups: tuple of str. `"clean"`, the categories and `"mean"`, over all
            corruptions but extra ones, or over these if there are no others.
        images: int. How many images a cell has.
        ensemble: dict from group to the accuracy of all members together.
        alone: dict from (member, group) to the member's own accuracy.
        without: dict from (member, group) to the accuracy of the others together.
        greedy: tuple of (member, dict from group to accuracy). The member that the
            ensemble so far gains most from in the mean, step by step from none.
    """

    members: tuple[str, ...]
    groups: tuple[str, ...]
    images: int
    ensemble: dict[str, float]
    alone: dict[tuple[str, str], float]
    without: dict[tuple[str, str], float]
    greedy: tuple[tuple[str, dict[str, float]], ...]

    def contribution(self, member: str, group: str) -> float:
        """How much accuracy the ensemble loses without a member."""
        return self.ensemble[group] - self.without[member, group]


def analyse_members(
    cache: LogitCache,
    members: Sequence[str],
    cells: Sequence[Cell],
    *,
    average: str = "logits",
) -> MemberAnalysis:
    """Leaves out each member once, and builds the ensemble up greedily.

    The order that it finds is a choice. Use logits of held-out training images for it,
    never those of test images.

    Args:
        cache: `LogitCache` that holds all members in all cells.
        members: sequence of str, at least two.
        cells: sequence of `Cell`, corrupted ones among them.
        average: str. `"logits"` or `"probabilities"`. Defaults to `"logits"`.

    Returns:
        `MemberAnalysis`.

    Raises:
        ValueError: if there are fewer than two members or no corrupted cell.

    Example:

    >>> cell = Cell("fog", 1)
    >>> cache = LogitCache("logits", {}, {"sf_low": "3f2a", "sf_high": "81c0"})
    >>> right, wrong = np.eye(10)[[[0] * 8]], np.eye(10)[[[1] * 8]]
    >>> answers = {"sf_low": 2 * right, "sf_high": wrong}
    >>> cache.add(cell, np.zeros(8, int), np.arange(8), answers)
    >>> analysis = analyse_members(cache, list(answers), [cell])
    >>> analysis.contribution("sf_low", "weather")
    1.0
    """
    members = tuple(members)
    corrupted = [cell for cell in cells if cell != CLEAN]
    if len(members) < 2 or not corrupted:
        raise ValueError(
            "`members` must be at least two and `cells` hold a corrupted one. Received: "
            f"members={', '.join(members)}, cells={', '.join(map(str, cells))}"
        )
    single = {cell.corruption for cell in corrupted}
    groups = {g: w for g, w in group_weights(cells).items() if g not in single}
    # Choices are made on extra corruptions, which the mean of a result leaves out.
    groups.setdefault(MEAN, cell_weights(cells, single))

    def score(subsets: Sequence[tuple[str, ...]]) -> list[dict[str, float]]:
        """The accuracies of some ensembles, in one pass over the cells."""
        accuracies = np.array(
            [_accuracies(cache, cell, subsets, average) for cell in cells]
        )
        return [
            {group: float(weights @ column) for group, weights in groups.items()}
            for column in accuracies.T
        ]

    others = [tuple(m for m in members if m != left_out) for left_out in members]
    whole, *parts = score([members, *((m,) for m in members), *others])
    alone, without = parts[: len(members)], parts[len(members) :]
    chosen: list[tuple[str, dict[str, float]]] = []
    while len(chosen) < len(members):
        taken = tuple(member for member, _ in chosen)
        candidates = [member for member in members if member not in taken]
        results = score([(*taken, candidate) for candidate in candidates])
        # The first of equals, in the order of the members.
        best = int(np.argmax([result[MEAN] for result in results]))
        chosen.append((candidates[best], results[best]))
    return MemberAnalysis(
        members=members,
        groups=tuple(groups),
        images=len(cache.read(cells[0], members[:1]).labels),
        ensemble=whole,
        alone=_by_member(members, alone),
        without=_by_member(members, without),
        greedy=tuple(chosen),
    )


def _accuracies(
    cache: LogitCache, cell: Cell, subsets: Sequence[tuple[str, ...]], average: str
) -> list[float]:
    needed = tuple(dict.fromkeys(member for subset in subsets for member in subset))
    labels, _, logits = cache.read(cell, needed)
    return [
        accuracy(ensemble_logits([logits[m] for m in subset], average=average), labels)
        for subset in subsets
    ]


def _by_member(
    members: Sequence[str], results: Sequence[dict[str, float]]
) -> dict[tuple[str, str], float]:
    return {
        (member, group): value
        for member, result in zip(members, results, strict=True)
        for group, value in result.items()
    }
