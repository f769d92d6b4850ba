"""Recipes of distillation: chosen on held-out images, measured once on test images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from v1keras.data import ImageDataset
from v1keras.escaping import say
from v1keras.evaluation import CLEAN, Lineup, RobustnessTable
from v1keras.evaluation.cells import MEAN, mean_over_corruptions
from v1keras.evaluation.metrics import accuracy
from v1keras.evaluation.runs import ENSEMBLE, name_runs, run_variants
from v1keras.evaluation.tables import write_csv
from v1keras.files import claim, require_writable, write_json
from v1keras.reading import read_table
from v1keras.studies.measure import (
    measure_held_out_images,
    measure_test_images,
    open_test_images,
)
from v1keras.studies.recipes import AblationConfig
from v1keras.training import DistillConfig, Run, distill, open_dataset, versions
from v1keras.training.strategy import works_alone

_WITHOUT = "without_teacher"
_RECORD = "ablation.json"
# Scores of different ones are not those of one comparison.
_COMPARED = ("epochs", "seed", "select_on", "validation_images", "noise_samples")


@works_alone("compares recipes")
def run_ablation(config: AblationConfig) -> dict[str, Any]:
    """Trains a student by each recipe, chooses one, and measures it.

    The choice is by mean corrupted accuracy on held-out training images. The chosen
    recipe is then trained with several seeds, with its teacher and without, and
    measured on the test images: `retention = (student - base) / (ensemble - base)` in
    mean corrupted accuracy. `seeds=0` ends with the choice. Writes `recipes.csv`,
    `result.json` and an evaluation. A second call resumes where the first one stopped.

    Args:
        config: `AblationConfig`.

    Returns:
        dict, the content of `result.json`: without retentions for `seeds=0`.

    Raises:
        FileExistsError: if a folder holds something else.
        ValueError, FileNotFoundError: if configuration, members or data are unusable.
    """
    students = config.read_recipes()
    base, *members = (Run.open(path) for path in (config.base, *config.members))
    dataset = open_dataset(config)
    if config.seeds:
        open_test_images(config, dataset)
    out = Path(config.out)
    _begin(config)
    scores = _read_scores(out / "recipes.csv")
    for name, student in students.items():
        run = _train(student, dataset, members)
        scores[name] = _score(name, run, config, dataset)
        rows = [scores[each] for each in students if each in scores]
        write_csv(out / "recipes.csv", rows)
    chosen = max(rows, key=lambda row: row["corrupted"])["recipe"]
    say(
        "",
        f"Chosen on held-out training images under the {config.select_on} corruptions: "
        f"{chosen}",
    )
    result = {"recipe": chosen, "selected_on": config.select_on}
    if config.seeds:
        result |= _measure(config, dataset, base, members, students[chosen])
    write_json(out / "result.json", result)
    return result


def _begin(config: AblationConfig) -> None:
    """Notes what the scores in the folder depend on, or refuses other scores there."""
    file = Path(config.out, _RECORD)
    shared = {name: getattr(config, name) for name in _COMPARED}
    # Version 0.1.0 left no record of an ablation.
    is_older = Path(config.out, "students").is_dir() and not file.is_file()
    if not is_older:
        claim(config.out, _RECORD, {"settings": shared}, what="ablation")
    require_writable(config.out)
    write_json(file, {"settings": shared, "versions": versions()})


def _train(student: DistillConfig, dataset: ImageDataset, members: list[Run]) -> Run:
    say("", f"{Path(student.out).name}")
    run = distill(student, dataset, members)
    keras.backend.clear_session()
    return run


def _read_scores(file: Path) -> dict[str, dict[str, Any]]:
    """What was measured before, by recipe, so that a table never gets shorter."""
    columns = {"recipe": str, "clean": float, "corrupted": float}
    try:
        rows = read_table(file, columns, "")
    except (FileNotFoundError, ValueError):  # all is measured again
        return {}
    return {row["recipe"]: row for row in rows}


def _score(
    name: str, run: Run, config: AblationConfig, dataset: ImageDataset
) -> dict[str, Any]:
    """Accuracies of one recipe's student on held-out training images."""
    cache, images = measure_held_out_images(
        config,
        dataset,
        {name: run},
        folder="held_out",
        max_images=config.validation_images,
    )
    accuracies = {}
    for cell in images.cells:
        labels, _, logits = cache.read(cell, [name])
        accuracies[cell] = accuracy(logits[name], labels)
    keras.backend.clear_session()
    row = {
        "recipe": name,
        "clean": round(accuracies[CLEAN], 4),
        "corrupted": round(mean_over_corruptions(accuracies), 4),
    }
    say(f"{name}: clean {row['clean']:.4f}, corrupted {row['corrupted']:.4f}")
    return row


def _measure(
    config: AblationConfig,
    dataset: ImageDataset,
    base: Run,
    members: list[Run],
    recipe: DistillConfig,
) -> dict[str, Any]:
    """What the chosen recipe reaches on the test images, taught and untaught."""
    name = Path(recipe.out).name
    seeds = range(config.seed, config.seed + config.seeds)
    taught = [recipe] + [
        config.seeded(recipe, f"{name}_seed{seed}", seed) for seed in seeds[1:]
    ]
    untaught = [
        config.seeded(recipe.untaught(), f"{_WITHOUT}_{name}_seed{seed}", seed)
        for seed in seeds
    ]
    students = [_train(student, dataset, members) for student in (*taught, *untaught)]
    table = _table(config, dataset, base, members, students)
    names = table.lineup.students
    kept, kept_alone = names[: len(taught)], names[len(taught) :]
    return {
        "retention": _retentions(table, kept),
        "retention_without_teacher": _retentions(table, kept_alone),
        "points_over_base": _points(table, kept),
        "points_over_base_without_teacher": _points(table, kept_alone),
    }


def _table(
    config: AblationConfig,
    dataset: ImageDataset,
    base: Run,
    members: list[Run],
    students: list[Run],
) -> RobustnessTable:
    """The table of the test images."""
    runs = name_runs([base, *members, *students])
    names = tuple(runs)
    first_student = 1 + len(members)
    lineup = Lineup(
        names,
        baseline=names[0],
        students=names[first_student:],
        ensembles={ENSEMBLE: names[1:first_student]},
        variants=run_variants(runs),
    )
    return measure_test_images(config, dataset, runs, lineup)


def retention(base: float, ensemble: float, student: float) -> float | None:
    """Which share of the ensemble's gain over the base a student keeps.

    Args:
        base: float. Mean corrupted accuracy of the plain CNN.
        ensemble: float. That of the ensemble.
        student: float. That of the student.

    Returns:
        float, or None where the ensemble gains nothing that could be kept.
    """
    if ensemble <= base:
        return None
    return (student - base) / (ensemble - base)


def _retentions(table: RobustnessTable, students: Sequence[str]) -> list[float | None]:
    base, ensemble, *own = (
        table.groups[model, MEAN].accuracy.value
        for model in (table.baseline, ENSEMBLE, *students)
    )
    return [retention(base, ensemble, value) for value in own]


def _points(table: RobustnessTable, students: Sequence[str]) -> dict[str, float]:
    """Percentage points of the students' mean accuracy over the base, per group."""
    result = {}
    for group in table.summary_groups:
        base, *own = (
            100 * table.groups[model, group].accuracy.value
            for model in (table.baseline, *students)
        )
        result[group] = round(float(np.mean(own)) - base, 2)
    return result
