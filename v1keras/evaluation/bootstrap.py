"""Intervals by bootstrap over images (Efron, 1979), jointly over cells and models."""

from collections.abc import Sequence

import numpy as np

# Replicates that are drawn at a time: bounds memory at replicates x images floats.
_CHUNK = 100


def bootstrap_accuracies(
    scores: Sequence[np.ndarray],
    ids: Sequence[np.ndarray],
    *,
    replicates: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Accuracies of every model in every cell on resampled sets of images.

    Cells often show the same images under different corruptions. An image is therefore
    drawn with all its cells and for all models at once, so that the intervals of means
    over cells, and of differences between models, are those of independent images.

    Args:
        scores: sequence over cells of arrays of shape `(models, images)`. Whether the
            image is classified correctly, or how often over noise draws, in 0..1.
        ids: sequence over cells of arrays of shape `(images,)`. What tells which
            images of different cells are the same.
        replicates: int. How often to resample. Defaults to `1000`.
        seed: int. Defaults to `0`.

    Returns:
        A float32 array of shape `(replicates, models, cells)`; NaN where a replicate
        holds no image of a cell.

    Example:

    >>> scores = [np.array([[1, 0, 1, 1]])]
    >>> draws = bootstrap_accuracies(scores, [np.arange(4)], replicates=200)
    >>> interval(draws[:, 0, 0])
    array([0.25, 1.  ])
    """
    if replicates < 1:
        raise ValueError(
            f"`replicates` must be at least 1. Received: replicates={replicates}"
        )
    # Cells that show the same images may share one array of their names.
    different = {id(cell): np.asarray(cell).astype(str) for cell in ids}
    universe, inverse = np.unique(
        np.concatenate(list(different.values())), return_inverse=True
    )
    ends = np.cumsum([len(names) for names in different.values()])[:-1]
    place = dict(zip(different, np.split(inverse, ends), strict=True))
    positions = [place[id(cell)] for cell in ids]
    n = len(universe)
    rng = np.random.default_rng(seed)
    models = len(scores[0])
    result = np.empty((replicates, models, len(scores)), np.float32)
    for start in range(0, replicates, _CHUNK):
        size = min(_CHUNK, replicates - start)
        weights = np.stack(
            [np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(size)]
        ).astype(np.float32)
        for c, (score, where) in enumerate(zip(scores, positions, strict=True)):
            chosen = weights[:, where]
            with np.errstate(divide="ignore", invalid="ignore"):
                result[start : start + size, :, c] = (
                    chosen @ np.asarray(score, np.float32).T
                ) / chosen.sum(axis=1, keepdims=True)
    return result


def interval(draws: np.ndarray, *, level: float = 0.95) -> np.ndarray:
    """The percentile interval of bootstrap draws.

    Args:
        draws: array of shape `(replicates, ...)`.
        level: float. The probability that the interval shall hold. Defaults to `0.95`.

    Returns:
        An array of shape `(2, ...)`: lower and upper ends.
    """
    tail = 50.0 * (1.0 - level)
    finite = np.isfinite(draws)
    if finite.all():
        return np.percentile(draws, [tail, 100.0 - tail], axis=0)
    # A column without any finite draw stays NaN, without NumPy's warning about it.
    filled = np.where(finite.any(axis=0), draws, 0.0)
    ends = np.nanpercentile(filled, [tail, 100.0 - tail], axis=0)
    return np.where(finite.any(axis=0), ends, np.nan)
