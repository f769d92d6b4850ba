"""What the figures of an evaluation rest on too little of."""

from collections.abc import Iterator, Mapping

import numpy as np

from v1keras.evaluation.cells import CLEAN
from v1keras.evaluation.robustness import RobustnessTable
from v1keras.training import Run

# One image of fewer is more than a tenth of a point, or than half a point.
_ENOUGH_IN_A_CELL, _ENOUGH_FOR_A_CHOICE = 1000, 200
# How much larger than the mean the largest class may be, as a share of the mean, and in
# standard deviations: a random draw of few images is unequal by itself.
_UNEQUAL, _BY_CHANCE = 0.5, 4.0
# More runs than these are counted.
_NAMED = 6


def cautions(
    table: RobustnessTable, runs: Mapping[str, Run] | None = None
) -> Iterator[str]:
    """One sentence for each figure that rests on little.

    Args:
        table: `RobustnessTable`.
        runs: mapping from name to `Run`, or None. How the models were trained.

    Yields:
        str.
    """
    classes = len(table.class_names)
    known = max((len(run.class_names) for run in (runs or {}).values()), default=0)
    if classes < known:
        yield (
            f"Models choose among the {classes} of their {known} classes that the test "
            "images are of, which is easier than among all."
        )
    clean, fewest, _ = table.image_counts()
    images = fewest or clean
    if images < _ENOUGH_IN_A_CELL:
        yield (
            f"Only {images} images a cell: one image is {100 / images:.1f} points. Read "
            "single cells with their intervals."
        )
    largest, mean = np.bincount(table.answers[CLEAN].labels).max(), clean * table.chance
    if largest - mean > max(_UNEQUAL * mean, _BY_CHANCE * np.sqrt(mean)):
        yield (
            f"The largest class makes up {100 * largest / clean:.1f} % of the images: naming it "
            f"always is right more often than guessing ({100 * table.chance:.1f} %)."
        )
    chosen_on: dict[int | str, list[str]] = {}
    for name, run in (runs or {}).items():
        if not run.is_finished:
            yield f"The training of {name} has not finished: its best epoch so far."
        if run.config["settings"].get("validation_source") == "test":
            chosen_on.setdefault("test", []).append(name)
        else:
            size = run.config["data"].get("sizes", {}).get("validation", np.inf)
            if size < _ENOUGH_FOR_A_CHOICE:
                chosen_on.setdefault(size, []).append(name)
    for size, names in chosen_on.items():
        named = ", ".join(names) if len(names) <= _NAMED else f"{len(names)} runs"
        which = f"The best epoch of {named} was chosen on"
        if size == "test":
            yield (
                f"{which} the test images, as in the paper: accuracies on clean images "
                "are optimistic."
            )
        else:
            yield f"{which} {size} images: one image is {100 / size:.1f} points."
