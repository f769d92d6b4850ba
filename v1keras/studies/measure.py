"""What a study measures: test images, and held-out training images for choices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from v1keras.corruptions import BENCHMARK, EXTRA
from v1keras.data import ImageDataset
from v1keras.escaping import say
from v1keras.evaluation import (
    CLEAN,
    CellImages,
    CleanImages,
    EvaluateConfig,
    Lineup,
    LogitCache,
    OnlineImages,
    RobustnessTable,
    corrupted_cells,
    evaluate,
    open_cache,
    predict_cells,
)
from v1keras.evaluation.config import EvaluationSettings
from v1keras.evaluation.images import open_images
from v1keras.evaluation.members import analyse_members
from v1keras.evaluation.report import Section, members_section
from v1keras.evaluation.runs import RunModels, run_fingerprints
from v1keras.evaluation.verb import report_contents
from v1keras.studies.config import (
    ComparisonSettings,
    SelectionSettings,
    StudyConfig,
    settings_of,
)
from v1keras.training import Run
from v1keras.training.config import TrainingSettings
from v1keras.training.held_out import held_out_by_all, open_run_dataset
from v1keras.training.run import check_same_classes

EVALUATION_FOLDER = "evaluation"


def measure_test_images(
    config: TrainingSettings,
    dataset: ImageDataset,
    runs: Mapping[str, Run],
    lineup: Lineup,
) -> RobustnessTable:
    """Evaluates runs on the test images of a study.

    Args:
        config: `StudyConfig` or `AblationConfig`.
        dataset: `ImageDataset`.
        runs: mapping from name to `Run`.
        lineup: `Lineup` of all of them.

    Returns:
        A `RobustnessTable`.
    """
    say("", "Evaluation under corruptions")
    return evaluate(_evaluation(config, runs), runs, dataset, lineup)


def contents_of_test_images(
    config: TrainingSettings,
    images: CellImages,
    runs: Mapping[str, Run],
    table: RobustnessTable,
) -> dict[str, Any]:
    """What the report of a study shows beside the numbers; see `report_contents`."""
    return report_contents(
        Path(config.out) / EVALUATION_FOLDER,
        table,
        runs,
        images,
        strategy=config.strategy,
    )


def open_test_images(config: TrainingSettings, dataset: ImageDataset) -> CellImages:
    """Opens the corrupted test images, so that nothing is trained if some are missing.

    Args:
        config: `StudyConfig` or `AblationConfig`.
        dataset: `ImageDataset`.

    Returns:
        `CellImages`.

    Raises:
        FileNotFoundError: if there is no such corrupted set.
        ValueError: if it lacks some of the cells, or is not of these images.
    """
    images, _ = open_images(_evaluation(config, {}), dataset)
    return images


def _evaluation(config: TrainingSettings, runs: Mapping[str, Run]) -> EvaluateConfig:
    return EvaluateConfig(
        **settings_of(config, EvaluationSettings),
        out=f"{config.out}/{EVALUATION_FOLDER}",
        models=tuple(str(run.path) for run in runs.values()),
        dataset=config.dataset,
        data_dir=config.data_dir,
        seed=config.seed,
        strategy=config.strategy,
    )


def open_held_out(config: ComparisonSettings, runs: Mapping[str, Run]) -> ImageDataset:
    """Opens the data set of which all runs have held out the same images.

    Args:
        config: `ChooseConfig` or `RecommendConfig`.
        runs: mapping from name to `Run`.

    Returns:
        `ImageDataset`.

    Raises:
        FileNotFoundError: if there is no such data set.
        ValueError: if runs differ in classes, or held out no common images.
    """
    check_same_classes(list(runs.values()))
    first = next(iter(runs.values()))
    dataset = open_run_dataset(first, config.dataset, config.data_dir)
    if not held_out_by_all(list(runs.values()), dataset):
        raise ValueError(
            "`models` must have held out the same images of one data set (equal "
            "`split_seed` and `validation_fraction`, `validation_source` fold). "
            f"Received: {', '.join(str(run.path) for run in runs.values())}"
        )
    return dataset


def measure_held_out_images(
    config: SelectionSettings | ComparisonSettings,
    dataset: ImageDataset,
    runs: Mapping[str, Run],
    *,
    folder: str,
    max_images: int,
    corruptions: Sequence[str] | None = None,
) -> tuple[LogitCache, CellImages]:
    """Shows the validation images, corrupted here, to some models.

    They were held out from training. They are corrupted for a choice among models
    only: nothing is trained on them.

    Args:
        config: `StudyConfig`, `AblationConfig`, `ChooseConfig` or `RecommendConfig`.
        dataset: `ImageDataset`.
        runs: mapping from name to `Run`.
        folder: str. The folder of the logits in that of the study; a second call
            resumes it.
        max_images: int. How many images, drawn at random.
        corruptions: sequence of str or None. Defaults to those of `config.select_on`.

    Returns:
        A tuple of the `LogitCache` and the images.
    """
    held_out = dataset.split("validation")
    clean = CleanImages(
        held_out.images,
        held_out.labels,
        ids=held_out.ids,
        max_images=max_images,
        seed=config.seed,
    )
    if corruptions is None:
        corruptions = EXTRA if config.select_on == "extra" else BENCHMARK
    images = OnlineImages(clean, corrupted_cells(corruptions), seed=config.seed)
    cache = open_cache(
        Path(config.out) / folder,
        run_fingerprints(runs),
        images,
        noise_samples=config.noise_samples,
        seed=config.seed,
    )
    say("", f"{', '.join(runs)}: on held-out training images")
    predict_cells(cache, RunModels(runs, config.strategy), images, images.cells)
    return cache, images


def members_on_held_out_images(
    config: StudyConfig, dataset: ImageDataset, members: Mapping[str, Run]
) -> Section:
    """What each member adds to the ensemble of all, as a part of a report."""
    cache, images = measure_held_out_images(
        config,
        dataset,
        members,
        folder="members_analysis",
        max_images=config.member_images,
    )
    analysis = analyse_members(cache, list(members), images.cells)
    corrupted = ", ".join(
        dict.fromkeys(c.corruption for c in images.cells if c != CLEAN)
    )
    what = f"{analysis.images} held-out training images per cell: {corrupted}"
    return members_section(analysis, what)
