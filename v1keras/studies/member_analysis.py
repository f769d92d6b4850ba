"""What each member adds to the ensemble, on held-out training images."""

from pathlib import Path

from v1keras.corruptions import BENCHMARK, CORRUPTIONS
from v1keras.data import ImageDataset
from v1keras.evaluation import (
    CleanImages,
    OnlineImages,
    Section,
    corrupted_cells,
    open_cache,
    predict_cells,
)
from v1keras.evaluation.member_section import member_section
from v1keras.evaluation.members import analyse_members
from v1keras.files import file_fingerprint
from v1keras.training import Run
from v1keras.training.run import MODEL_FILE


def analyse(
    members: dict[str, Run],
    dataset: ImageDataset,
    out: Path,
    *,
    max_images: int,
    noise_samples: int = 1,
    seed: int = 0,
) -> Section:
    """Shows the validation images, corrupted here, to all members.

    They were held out from training. They are corrupted for this choice among members
    only: nothing is trained on them.

    Args:
        members: dict from name to `Run`.
        dataset: `ImageDataset`.
        out: path. The folder of the logits; a second call goes on with it.
        max_images: int. How many images, drawn at random.
        noise_samples: int. Noise draws of stochastic members. Defaults to `1`.
        seed: int. Seed of subset, corruptions and noise. Defaults to `0`.

    Returns:
        `Section` of a report.
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
    models = {name: run.load_model() for name, run in members.items()}
    fingerprints = {
        n: file_fingerprint(r.path / MODEL_FILE) for n, r in members.items()
    }
    cache = open_cache(
        out,
        models,
        images,
        noise_samples=noise_samples,
        seed=seed,
        fingerprints=fingerprints,
    )
    print("\nMembers on held-out training images", flush=True)
    predict_cells(cache, models, images, images.cells)
    categories = {name: each.category for name, each in CORRUPTIONS.items()}
    analysis = analyse_members(cache, list(models), images.cells, categories)
    what = f"{len(clean)} held-out training images per cell, corrupted by the benchmark"
    return member_section(analysis, what)
