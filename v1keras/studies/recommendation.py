"""Which runs suit unlabelled photographs: held-out results, weighted by their quality."""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from v1keras.data.images import ImageFiles
from v1keras.data.quality import QUALITIES, measure_quality
from v1keras.escaping import escape_line
from v1keras.evaluation import CLEAN, Cell, CellImages, LogitCache
from v1keras.evaluation.bootstrap import bootstrap_accuracies, interval
from v1keras.evaluation.discriminant import fit_discriminant, mixture
from v1keras.evaluation.metrics import ensemble_logits
from v1keras.evaluation.runs import open_runs
from v1keras.evaluation.tables import write_csv
from v1keras.files import claim, write_json
from v1keras.prediction import find_image_files
from v1keras.studies.config import LEAST_IMAGES, RecommendConfig
from v1keras.studies.measure import measure_held_out_images, open_held_out
from v1keras.training.strategy import works_alone

# One for each quality: what others do could not be told from it.
CORRUPTIONS = ("gaussian_noise", "defocus_blur", "contrast", "jpeg_compression")
_RECORD = "recommendation.json"
# In the units of `QUALITIES`: differences far below them tell nothing.
_FLOORS = np.array([0.5, 10.0, 0.01, 0.0])
_BATCH = 128
# The share of unlike photographs above which there is a warning.
_WARNED = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class Likeness:
    """Which held-out images photographs look like, by `QUALITIES`.

    Args:
        cells: tuple of `Cell`, the clean one first.
        scores: float array (photographs, cells). Log-likelihoods, up to a term that the
            cells share.
        shares: float array (cells,). The shares in which the photographs look like
            them.
        photos: float array (4,). Median `QUALITIES` of the photographs.
        clean: float array (4,). Those of the clean held-out images.
        told_apart: float. The share of held-out images, other than those it was fitted
            on, whose corruption (or that they are clean) the quality tells.
        unlike: float. The share of photographs that are farther from all cells than
            99 % of the held-out images are from theirs.
    """

    cells: tuple[Cell, ...]
    scores: np.ndarray
    shares: np.ndarray
    photos: np.ndarray
    clean: np.ndarray
    told_apart: float
    unlike: float


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A run or an ensemble, and how accurate it should be on the photographs.

    Args:
        members: tuple of str. The names of the runs.
        accuracy: float. Expected on the photographs, if only quality counts.
        low: float. The lower end of its 95 % interval.
        high: float. The upper end.
        clean: float. Accuracy on held-out images as they are.
        best: float. In which share of the bootstrap it is the best of all.
    """

    members: tuple[str, ...]
    accuracy: float
    low: float
    high: float
    clean: float
    best: float


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What suits some photographs, and what that rests on.

    Args:
        candidates: tuple of `Candidate`, best first.
        likeness: `Likeness`.
    """

    candidates: tuple[Candidate, ...]
    likeness: Likeness


@works_alone("recommends runs")
def recommend(config: RecommendConfig) -> Recommendation:
    """Ranks runs and their ensembles for unlabelled photographs.

    Held-out images are corrupted by `CORRUPTIONS`. The quality of the photographs
    (`v1keras.data.quality`, at the size that the models see) says in which shares they
    look like these cells; what a model should reach is its accuracy in the cells, in
    these shares. Writes `recommendation.csv` and cached logits to `config.out`.

    Args:
        config: `RecommendConfig`.

    Returns:
        `Recommendation`.

    Raises:
        FileNotFoundError: if a run, the data or a photograph are missing.
        FileExistsError: if `config.out` holds something else.
        ValueError: if runs differ in classes or held out no common images, or a
            photograph cannot be read.

    Example:

    >>> images, _ = v1keras.data.draw_shapes(4, image_size=80, seed=0)
    >>> for number, image in enumerate(images):
    ...     keras.utils.save_img(f"photo{number}.png", image)
    >>> config = v1keras.studies.RecommendConfig(
    ...     photos=("photo0.png", "photo1.png", "photo2.png", "photo3.png"),
    ...     models=("runs/base", "runs/low_noise"),
    ...     images=20,
    ... )
    >>> recommendation = v1keras.studies.recommend(config)
    base, low_noise: on held-out training images
    ...
    >>> len(recommendation.candidates)
    3
    """
    out = Path(config.out)
    settings = {
        name: getattr(config, name) for name in ("images", "noise_samples", "seed")
    }
    claim(out, _RECORD, {"settings": settings}, what="recommendation")
    files = find_image_files(config.photos)
    runs = open_runs(config.models)
    dataset = open_held_out(config, runs)
    if (held_out := len(dataset.split("validation"))) < LEAST_IMAGES:
        raise ValueError(
            f"`models` must have held out at least {LEAST_IMAGES} images. "
            f"Received: {held_out} held-out images"
        )
    fit = (dataset.image_size, next(iter(runs.values())).crop_fraction)
    photos = ImageFiles(files, *fit)
    quality = np.concatenate(
        [
            measure_quality(photos[start : start + _BATCH])
            for start in range(0, len(photos), _BATCH)
        ]
    )
    write_json(out / _RECORD, {"settings": settings})
    cache, images = measure_held_out_images(
        config,
        dataset,
        runs,
        folder="logits",
        max_images=config.images,
        corruptions=CORRUPTIONS,
    )
    likeness = compare_quality(quality, _held_out_quality(images), images.cells)
    result = Recommendation(_rank(config, list(runs), cache, likeness), likeness)
    write_csv(out / "recommendation.csv", _rows(result))
    return result


def compare_quality(
    photos: np.ndarray, held_out: np.ndarray, cells: Sequence[Cell]
) -> Likeness:
    """Finds the shares in which photographs look like cells of held-out images.

    Args:
        photos: float array (photographs, 4). From `measure_quality`.
        held_out: float array (cells, images, 4).
        cells: sequence of `Cell`.

    Returns:
        `Likeness`.
    """
    known, new = (np.log(quality + _FLOORS) for quality in (held_out, photos))
    discriminant = fit_discriminant(known)
    scores = discriminant.scores(new)
    usual = discriminant.distance(known.reshape(-1, known.shape[-1]))
    halves = known[:, ::2], known[:, 1::2]
    names = np.array([cell.corruption for cell in cells])
    guesses = fit_discriminant(halves[0]).scores(halves[1]).argmax(axis=-1)
    told = [
        (names[guesses[names == name]] == name).mean() for name in dict.fromkeys(names)
    ]
    return Likeness(
        tuple(cells),
        scores,
        mixture(scores),
        np.median(photos, axis=0),
        np.median(held_out[list(cells).index(CLEAN)], axis=0),
        float(np.mean(told)),
        float((discriminant.distance(new) > np.quantile(usual, 0.99)).mean()),
    )


def _held_out_quality(images: CellImages) -> np.ndarray:
    """The quality of held-out images, (cells, images, 4)."""
    return np.stack(
        [
            np.concatenate(
                [
                    measure_quality(batch.images)
                    for batch in images.batches(cell, _BATCH)
                ]
            )
            for cell in images.cells
        ]
    )


def _rank(
    config: RecommendConfig, names: Sequence[str], cache: LogitCache, likeness: Likeness
) -> tuple[Candidate, ...]:
    """All runs and their ensembles, best first; photographs and images are redrawn."""
    most = min(config.max_members, len(names))
    subsets = [
        subset
        for size in range(1, most + 1)
        for subset in itertools.combinations(names, size)
    ]
    right, ids = [], []
    for cell in likeness.cells:
        labels, shown, logits = cache.read(cell, names)
        answers = (
            ensemble_logits([logits[m] for m in subset], average=config.average)
            for subset in subsets
        )
        right.append(
            np.array([(a.argmax(axis=-1) == labels).mean(axis=0) for a in answers])
        )
        ids.append(shown)
    accuracies = np.array([each.mean(axis=1) for each in right]).T
    by_image = bootstrap_accuracies(
        right, ids, replicates=config.bootstrap, seed=config.seed
    )
    count = len(likeness.scores)
    chances = np.full(count, 1.0 / count)
    rng = np.random.default_rng(config.seed)
    by_photo = np.array(
        [
            mixture(likeness.scores, rng.multinomial(count, chances))
            for _ in range(config.bootstrap)
        ]
    )
    draws = np.einsum("rmc,rc->rm", by_image, by_photo)
    best = np.bincount(draws.argmax(axis=1), minlength=len(subsets)) / len(draws)
    columns = (
        accuracies @ likeness.shares,
        *interval(draws),
        accuracies[:, likeness.cells.index(CLEAN)],
        best,
    )
    found = [
        Candidate(subset, *map(float, values))
        for subset, *values in zip(subsets, *columns, strict=True)
    ]
    # Of equals the one with fewer members, which costs less.
    return tuple(sorted(found, key=lambda each: (-each.accuracy, len(each.members))))


def format_recommendation(recommendation: Recommendation, top: int = 10) -> str:
    """A recommendation as lines of text, shares and accuracies in %.

    Args:
        recommendation: `Recommendation`.
        top: int. How many candidates to show. Defaults to `10`.
    """
    likeness = recommendation.likeness
    shares = {
        str(cell): share
        for cell, share in zip(likeness.cells, likeness.shares, strict=True)
        if share >= 0.005
    }
    alike = sorted(shares.items(), key=lambda item: -item[1])
    looks = ", ".join(f"{name} {share:.0%}" for name, share in alike)
    lines = [
        f"{len(likeness.scores)} photographs look like held-out images with: {looks}",
        f"{'median':12}{'photographs':>12}{'held out, clean':>17}",
        *(
            f"{name:12}{photo:12.3g}{clean:17.3g}"
            for name, photo, clean in zip(
                QUALITIES, likeness.photos, likeness.clean, strict=True
            )
        ),
        f"On other held-out images this tells the corruption in {likeness.told_apart:.0%}"
        f" (guessing: {1 / (len(CORRUPTIONS) + 1):.0%}).",
    ]
    if likeness.unlike > _WARNED:
        lines.append(
            f"warning: {likeness.unlike:.0%} of the photographs look like none of the "
            "held-out images; for these the ranking says little"
        )
    lines.append(f"{'expected':>8} {'[95 %]':>14} {'clean':>6} {'best in':>8}  model")
    lines += [
        f"{100 * each.accuracy:8.1f} "
        f"{f'[{100 * each.low:.1f}, {100 * each.high:.1f}]':>14} "
        f"{100 * each.clean:6.1f} {each.best:8.0%}  {escape_line(' + '.join(each.members))}"
        for each in recommendation.candidates[:top]
    ]
    return "\n".join(lines)


def _rows(recommendation: Recommendation) -> list[dict[str, Any]]:
    return [
        {
            "members": " ".join(each.members),
            "accuracy": round(each.accuracy, 4),
            "low": round(each.low, 4),
            "high": round(each.high, 4),
            "clean": round(each.clean, 4),
            "best": round(each.best, 4),
        }
        for each in recommendation.candidates
    ]
