"""Whether two evaluations of the same models tell the same."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import sem

from v1keras.corruptions import CORRUPTIONS
from v1keras.escaping import escape_line
from v1keras.evaluation.cache import LogitCache
from v1keras.evaluation.cells import CLEAN, Cell, corrupted_cells
from v1keras.evaluation.images import image_names
from v1keras.evaluation.lineup import Lineup
from v1keras.evaluation.metrics import ensemble_logits

# Standard errors that a 95 % interval of a normal distribution reaches either way.
_NORMAL_95 = 1.96


class Comparison(NamedTuple):
    """One model under one corruption in two evaluations.

    Args:
        model: str.
        corruption: str. Or `"clean"`.
        first: float. Its accuracy in the first evaluation, mean over severities.
        second: float. In the second one.
        margin: float. How far the two may differ by chance, at 95 %.
        images: int. How many images both showed; 0 if they showed different ones.
    """

    model: str
    corruption: str
    first: float
    second: float
    margin: float
    images: int

    @property
    def agrees(self) -> bool:
        """Whether the difference may be chance."""
        return abs(self.first - self.second) <= self.margin


def compare_evaluations(
    first: LogitCache,
    second: LogitCache,
    lineup: Lineup | None = None,
    *,
    paired: bool = True,
) -> list[Comparison]:
    """Sets two evaluations side by side, such as of a stored set and of an online one.

    Where both showed at least half of the images of the smaller one (of equal name,
    and without exception of equal class), these alone are compared, image by image:
    what makes some images harder than others then cancels out. Otherwise the margin is
    that of independent images. One in twenty comparisons lies outside its margin by
    chance alone.

    Args:
        first: `LogitCache`. Of the first evaluation.
        second: `LogitCache`. With models (of equal name and weights) and cells in
            common.
        lineup: `Lineup` or None. The models and ensembles to compare. Defaults to all
            models that both have.
        paired: bool. Whether to compare images that both have one by one, if there are
            enough. Defaults to `True`.

    Returns:
        List of `Comparison`, one per model and corruption that both have.

    Raises:
        ValueError: if they have no model or no cell in common, or one image only.

    Example:

    >>> first, second = (LogitCache(n, {}, {"base": "3f2a"}) for n in ("a", "b"))
    >>> for cache, best in ((first, 0), (second, 1)):
    ...     answers = {"base": np.eye(10)[[[best] * 8]]}
    ...     cache.add(Cell("snow", 1), np.zeros(8, int), np.arange(8), answers)
    >>> rows = compare_evaluations(first, second)
    >>> [row.corruption for row in rows if not row.agrees]
    ['snow']
    """
    there = first.cells() & second.cells()
    cells = [c for c in (CLEAN, *corrupted_cells(tuple(CORRUPTIONS))) if c in there]
    same = dict(first.fingerprints.items() & second.fingerprints.items())
    models = [
        name
        for name in (lineup.measured if lineup else first.fingerprints)
        if name in same
        and all(name in cache.models(c) for cache in (first, second) for c in cells)
    ]
    if not models or not cells:
        raise ValueError(
            "Both evaluations must have a model (of equal name and weights) and a cell "
            "in common. Received: "
            f"{first.path} and {second.path}"
        )
    lineup = lineup or Lineup(tuple(models))
    groups = {name: (name,) for name in lineup.models if name in models}
    groups |= {n: p for n, p in lineup.ensembles.items() if set(p) <= set(models)}
    rows = []
    for corruption in dict.fromkeys(cell.corruption for cell in cells):
        own = [cell for cell in cells if cell.corruption == corruption]
        rows += _comparisons(
            corruption,
            groups,
            _scores(first, own, groups, lineup.average),
            _scores(second, own, groups, lineup.average),
            paired,
        )
    return sorted(rows, key=lambda row: list(groups).index(row.model))


def comparison_rows(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """One row per model and corruption, for a CSV file."""
    return [
        {
            **row._asdict(),
            **{
                key: round(getattr(row, key), 6)
                for key in ("first", "second", "margin")
            },
            "agrees": row.agrees,
        }
        for row in comparisons
    ]


def format_comparison(comparisons: Sequence[Comparison]) -> str:
    """What a comparison came to, as text for a terminal."""
    corrupted = [row for row in comparisons if row.corruption != CLEAN.corruption]
    apart = [row for row in corrupted if not row.agrees]
    images = comparisons[-1].images
    on = f"the same {images} images" if images else "different images"
    lines = [
        f"{len(corrupted) - len(apart)} of {len(corrupted)} accuracies per model and "
        f"corruption agree within 95 % margins, on {on}; {len(corrupted) / 20:.0f} are "
        "expected outside by chance"
    ]
    lines += [
        f"  {escape_line(row.model)}, {row.corruption}: {100 * row.first:.1f} and "
        f"{100 * row.second:.1f} %, margin {100 * row.margin:.1f}"
        for row in apart
    ]
    return "\n".join(lines)


class _Scores(NamedTuple):
    """How often each model is right on each image, mean over draws and severities."""

    images: np.ndarray
    labels: np.ndarray
    right: np.ndarray


def _scores(
    cache: LogitCache,
    cells: Sequence[Cell],
    groups: Mapping[str, Sequence[str]],
    average: str,
) -> _Scores:
    scores: _Scores | None = None
    members = list(dict.fromkeys(name for parts in groups.values() for name in parts))
    for cell in cells:
        labels, ids, logits = cache.read(cell, members)
        answers = [
            ensemble_logits([logits[name] for name in parts], average=average)
            for parts in groups.values()
        ]
        right = np.stack([(a.argmax(-1) == labels).mean(axis=0) for a in answers])
        own = _Scores(np.array(image_names(ids)), labels, right / len(cells))
        if scores is not None:
            here, there = _common(scores, own)
            right = scores.right[:, here] + own.right[:, there]
            own = _Scores(scores.images[here], scores.labels[here], right)
        scores = own
    return scores


def _comparisons(
    corruption: str,
    models: Sequence[str],
    first: _Scores,
    second: _Scores,
    paired: bool,
) -> Iterator[Comparison]:
    here, there = _common(first, second)
    # A few common images would tell less than all of both do.
    fewest = min(len(first.images), len(second.images))
    enough = len(here) > 1 and 2 * len(here) >= fewest
    # Positions serve as names where there are no files; of another order, they name
    # other images.
    same = np.array_equal(first.labels[here], second.labels[there])
    paired = paired and enough and same
    for model, a, b in zip(models, first.right, second.right, strict=True):
        if paired:
            a, b = a[here], b[there]
        if min(len(a), len(b)) < 2:
            raise ValueError(
                "Both evaluations must have at least two images, whose spread gives the "
                f"margin. Received: {len(a)} and {len(b)} images of {corruption}"
            )
        error = sem(a - b) if paired else np.hypot(sem(a), sem(b))
        yield Comparison(
            model,
            corruption,
            float(a.mean()),
            float(b.mean()),
            float(_NORMAL_95 * error),
            len(here) if paired else 0,
        )


def _common(first: _Scores, second: _Scores) -> tuple[np.ndarray, np.ndarray]:
    """The places of the images that both have, in the one and in the other."""
    return np.intersect1d(first.images, second.images, return_indices=True)[1:]
