"""The trainings of a study, which any number of processes share."""

import os

import keras

from v1keras.data import ImageDataset
from v1keras.escaping import say
from v1keras.locks import FolderInUseError
from v1keras.studies.config import StudyConfig
from v1keras.training import Run, open_finished, train

# What Slurm and Kubernetes call the number of a task within an array of them.
_TASK_NUMBERS = ("SLURM_ARRAY_TASK_ID", "JOB_COMPLETION_INDEX")


def open_trainings(config: StudyConfig, dataset: ImageDataset) -> dict[str, Run | None]:
    """The run of each training of a study, whoever has trained it.

    Args:
        config: `StudyConfig`.
        dataset: `ImageDataset`.

    Returns:
        dict from the name of each training to its `Run`, or to None if it is not
        finished.

    Raises:
        FileExistsError: if a folder holds a run of other settings, classes or data.
    """
    return {
        name: open_finished(each, dataset) for name, each in config.trainings().items()
    }


def train_free(config: StudyConfig, dataset: ImageDataset) -> dict[str, Run] | None:
    """Trains what nobody else works on, until there is nothing more to take.

    Each training belongs to whoever holds its folder. One whose process was killed is
    free again, and resumes.

    Args:
        config: `StudyConfig`.
        dataset: `ImageDataset`.

    Returns:
        dict from the name of each training to its `Run`, or None if some are left to
        other processes.

    Raises:
        FileExistsError: see `open_trainings`.
    """
    trainings = config.trainings()
    every = list(trainings)
    chosen = config.only or _from_own_number(every)
    while True:
        trained = False
        runs = open_trainings(config, dataset)
        for name in [name for name in chosen if runs[name] is None]:
            say("", f"[{every.index(name) + 1}/{len(every) + 1}] {name}")
            try:
                train(trainings[name], dataset)
            except FolderInUseError as error:
                say(f"{error.holder} there")
            else:
                trained = True
            # Graphs and weights of the last model would stay in memory otherwise.
            keras.backend.clear_session()
        if not trained:
            break
    left = [name for name, run in runs.items() if run is None]
    if not left:
        return runs
    say("", f"Left to others: {', '.join(left)}; whoever trains the last one goes on.")
    return None


def _from_own_number(names: list[str]) -> list[str]:
    """All names, from the one on that has the number of this task of an array job.

    So that tasks begin with different ones, however many tasks there are.
    """
    given = (os.environ.get(name, "") for name in _TASK_NUMBERS)
    first = int(next(filter(str.isdecimal, given), "0")) % len(names)
    return names[first:] + names[:first]
