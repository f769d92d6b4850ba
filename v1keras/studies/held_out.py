"""Choices on held-out training images, which are corrupted for them only."""

from collections.abc import Mapping
from pathlib import Path

from v1keras.corruptions import BENCHMARK
from v1keras.data import ImageDataset
from v1keras.evaluation import (
    CellImages,
    CleanImages,
    LogitCache,
    OnlineImages,
    corrupted_cells,
    open_cache,
    predict_cells,
)
from v1keras.evaluation.members import analyse_members
from v1keras.evaluation.report import Section, members_section
from v1keras.evaluation.runs import RunModels, run_fingerprints
from v1keras.training import Run


def held_out_logits(
    runs: Mapping[str, Run],
    dataset: ImageDataset,
    out: Path,
    *,
    max_images: int,
    noise_samples: int = 1,
    seed: int = 0,
) -> tuple[LogitCache, CellImages]:
    """Shows the validation images, corrupted here, to some models.

    They were held out from training. They are corrupted for a choice among models
    only: nothing is trained on them.

    Args:
        runs: mapping from name to `Run`.
        dataset: `ImageDataset`.
        out: path. The folder of the logits; a second call goes on with it.
        max_images: int. How many images, drawn at random.
        noise_samples: int. Noise draws of stochastic models. Defaults to `1`.
        seed: int. Seed of subset, corruptions and noise. Defaults to `0`.

    Returns:
        A tuple of the `LogitCache` and the images.
    """
    held_out = dataset.split("validation")
    clean = CleanImages(
        held_out.images,
        held_out.labels,
        ids=held_out.ids,
        max_images=max_images,
        seed=seed,
    )
    images = OnlineImages(clean, corrupted_cells(BENCHMARK), seed=seed)
    cache = open_cache(
        out, run_fingerprints(runs), images, noise_samples=noise_samples, seed=seed
    )
    print(f"\n{', '.join(runs)}: on held-out training images", flush=True)
    predict_cells(cache, RunModels(runs), images, images.cells)
    return cache, images


def analyse_on_held_out(
    members: Mapping[str, Run], dataset: ImageDataset, out: Path, **settings
) -> Section:
    """What each member adds to the ensemble of all.

    Args:
        members: mapping from name to `Run`.
        dataset: `ImageDataset`.
        out: path. See `held_out_logits`.
        **settings: those of `held_out_logits`.

    Returns:
        `Section` of a report.
    """
    cache, images = held_out_logits(members, dataset, out, **settings)
    analysis = analyse_members(cache, list(members), images.cells)
    what = f"{analysis.images} held-out training images per cell, corrupted for it"
    return members_section(analysis, what)
