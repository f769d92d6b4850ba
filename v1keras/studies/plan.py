"""What a study takes, before it begins: trainings, images, time and disk."""

import contextlib
import dataclasses
import functools
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import keras
import numpy as np

from v1keras.data import ImageDataset, Split
from v1keras.escaping import say
from v1keras.evaluation import Lineup
from v1keras.studies.config import STUDENT, StudyConfig
from v1keras.studies.measure import (
    measure_test_images,
    open_test_images,
)
from v1keras.training import Run, TrainConfig, distill, open_dataset, train
from v1keras.training.engine import get_engine
from v1keras.training.strategy import refuse_workers

_STEPS = 20
# Images in each cell of the evaluation that is timed.
_IMAGES = 4
# Images that a model answers at once, as in an evaluation.
_BATCH = 128
# They change the values that a front-end computes with, not what it computes.
_VALUES = (
    "name", "sf_min", "sf_max", "sf_corr", "gabor_seed", "distribution", "balanced",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class PlannedTrainings:
    """Trainings of which each takes equally long.

    Args:
        names: tuple of str.
        epochs: int. Of each.
        images: int. Training images of an epoch.
        seconds: float. The time of each, estimated.
        bytes: int. What each leaves on the disk.
    """

    names: tuple[str, ...]
    epochs: int
    images: int
    seconds: float
    bytes: int


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a whole study takes, on this machine and by one process.

    Args:
        trainings: tuple of `PlannedTrainings`. Members, controls, and the student.
        evaluation: str. What is evaluated, in words.
        evaluation_seconds: float. Its time, a rough estimate.
        evaluation_bytes: int. What it leaves on the disk.
    """

    trainings: tuple[PlannedTrainings, ...]
    evaluation: str
    evaluation_seconds: float
    evaluation_bytes: int

    @property
    def seconds(self) -> float:
        """The time of all trainings and of the evaluation."""
        trainings = sum(len(t.names) * t.seconds for t in self.trainings)
        return trainings + self.evaluation_seconds

    @property
    def bytes(self) -> int:
        """What all trainings and the evaluation leave on the disk."""
        trainings = sum(len(t.names) * t.bytes for t in self.trainings)
        return trainings + self.evaluation_bytes


def plan_study(config: StudyConfig) -> Plan:
    """Estimates what a study takes; writes nothing into its folder.

    Some steps of each kind of training are measured, with their share of validation, and
    an evaluation of a few images. What has been trained already is counted as well. The
    export is not.

    Args:
        config: `StudyConfig`.

    Returns:
        `Plan`.

    Raises:
        ValueError, FileNotFoundError: if the configuration or data are unusable.
    """
    refuse_workers(config.strategy)
    dataset = open_dataset(config)
    open_test_images(config, dataset)
    kinds: dict[str, dict[str, TrainConfig]] = {}
    for name, each in config.trainings().items():
        kinds.setdefault(_kind(each), {})[name] = each
    trainings, measured = [], {}
    # A run stands for all of its kind.
    kind_of = {name: next(iter(same)) for same in kinds.values() for name in same}
    with tempfile.TemporaryDirectory(prefix="v1keras-plan-") as folder:
        for same in kinds.values():
            name, first = next(iter(same.items()))
            measured[name], planned = _plan(same, first, dataset, folder, train)
            trainings.append(planned)
        teach = functools.partial(
            distill, members=[measured[kind_of[name]] for name in config.members()]
        )
        student = config.student_config()
        measured[STUDENT], planned = _plan([STUDENT], student, dataset, folder, teach)
        trainings.append(planned)
        kind_of[STUDENT] = STUDENT
        say("Evaluation: measures a few images")
        return Plan(
            tuple(trainings),
            *_plan_evaluation(config, dataset, folder, measured, kind_of),
        )


def _kind(config: TrainConfig) -> str:
    """What tells trainings apart that may take differently long."""
    variant = config.resolve_variant().to_dict()
    for name in _VALUES:
        del variant[name]
    for name in ("noise_gain", "subcortical_noise_gain"):
        variant[name] = variant[name] > 0
    return json.dumps([variant, config.epochs])


def _plan(
    names: Iterable[str],
    config: TrainConfig,
    dataset: ImageDataset,
    folder: str,
    begin: Callable[..., Run],
) -> tuple[Run, PlannedTrainings]:
    """Trains two short epochs: the first one compiles, the second one is measured."""
    names = tuple(names)
    say(f"{names[0]}: measures {_STEPS} steps")
    short = dataclasses.replace(
        config,
        out=f"{folder}/{names[0]}",
        epochs=2,
        # The same work, that cannot diverge.
        learning_rate=min(config.learning_rate, 1e-4),
        warmup_epochs=0.0,
        noise_warmup_epochs=0.0,
    )
    clock = _Clock()
    few = _excerpt(dataset, config.batch_size)
    started = time.perf_counter()
    with _silence():
        run = begin(short, few, callbacks=[clock])
        keras.backend.clear_session()
    whole = time.perf_counter() - started
    epoch = clock.whole - clock.training - clock.validation
    for split, seconds in (("train", clock.training), ("validation", clock.validation)):
        batches = (
            -(-len(each.split(split)) // config.batch_size) for each in (dataset, few)
        )
        epoch += seconds * next(batches) / next(batches)
    return run, PlannedTrainings(
        names,
        config.epochs,
        images=len(dataset.split("train")),
        seconds=whole - 2 * clock.whole + config.epochs * epoch,
        bytes=sum(f.stat().st_size for f in run.path.rglob("*") if f.is_file()),
    )


class _Clock(keras.callbacks.Callback):
    """Seconds of the last epoch: of its training, of its validation, and whole."""

    def __init__(self) -> None:
        super().__init__()
        self.training = self.validation = self.whole = 0.0
        self._epoch = self._part = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 0:
            self._part = time.perf_counter()

    def on_test_begin(self, logs=None):
        now = time.perf_counter()
        self.training, self._part = now - self._part, now

    def on_test_end(self, logs=None):
        self.validation = time.perf_counter() - self._part

    def on_train_end(self, logs=None):
        # The checkpoint has been written.
        self.whole = time.perf_counter() - self._epoch


def _excerpt(dataset: ImageDataset, batch_size: int) -> ImageDataset:
    """As many training images as make `_STEPS` steps, and their share of the others."""
    train, validation, test = map(dataset.split, ("train", "validation", "test"))
    steps = min(_STEPS, max(1, len(train) // batch_size))
    share = steps * batch_size / len(train)
    batches = max(1, round(share * len(validation) / batch_size))

    def first(split: Split, count: int) -> Callable[[], Split]:
        indices = np.arange(min(count, len(split)))
        return functools.partial(split.subset, indices)

    return dataclasses.replace(
        dataset,
        sources={
            "train": first(train, steps * batch_size),
            "validation": first(validation, batches * batch_size),
            "test": first(test, len(test)),
        },
        validation_source="folder",
    )


def _plan_evaluation(
    config: StudyConfig,
    dataset: ImageDataset,
    folder: str,
    measured: Mapping[str, Run],
    kind_of: Mapping[str, str],
) -> tuple[str, float, int]:
    """What is evaluated, the time that it takes and the bytes that it leaves."""
    short = dataclasses.replace(config, out=folder, max_images=_IMAGES)
    images = open_test_images(short, dataset)
    started = time.perf_counter()
    for cell in images.cells:
        for _ in images.batches(cell, _IMAGES):
            pass
    making = (time.perf_counter() - started) / (len(images.cells) * _IMAGES)
    started = time.perf_counter()
    with _silence():
        measure_test_images(
            short, dataset, measured, Lineup(tuple(measured), students=(STUDENT,))
        )
    whole = time.perf_counter() - started
    test = len(dataset.split("test"))
    count = min(test, config.max_images or test)
    few = dataset.split("test").subset(np.arange(min(count, _BATCH)))
    shown = few.in_memory().images
    each = {kind: _time_answer(run, shown) for kind, run in measured.items()}
    models, draws = len(kind_of), config.noise_samples
    answering = sum(each[kind] for kind in kind_of.values())
    cells = len(images.cells)
    seconds = whole * models / len(measured) + cells * count * (
        making + draws * answering
    )
    logits = cells * count * models * draws * dataset.num_classes
    size = logits * np.dtype("float32").itemsize
    return f"{models} models on {count} images in {cells} cells", seconds, size


def _time_answer(run: Run, images: np.ndarray) -> float:
    """The seconds that a model takes for one of several images."""
    answer = get_engine().compiled(run.load_model())
    answer(images)  # compiles
    started = time.perf_counter()
    answer(images)
    seconds = time.perf_counter() - started
    keras.backend.clear_session()
    return seconds / len(images)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def format_plan(plan: Plan) -> str:
    """A plan as lines of text.

    Args:
        plan: `Plan`.

    Example:

    >>> each = {"epochs": 60, "images": 95_000, "bytes": 90_000_000}
    >>> plan = v1keras.studies.Plan(
    ...     (
    ...         v1keras.studies.PlannedTrainings(("sf_low", "sf_mid"), seconds=9000, **each),
    ...         v1keras.studies.PlannedTrainings(("student",), seconds=90_000, **each),
    ...     ),
    ...     "3 models on 500 images in 76 cells",
    ...     evaluation_seconds=150,
    ...     evaluation_bytes=1_000_000,
    ... )
    >>> print(v1keras.studies.format_plan(plan))
    trainings                    epochs  images/epoch  time each  disk each
    sf_low, 1 like it                60         95000      2.5 h    90.0 MB
    student                          60         95000     25.0 h    90.0 MB
    Evaluation of 3 models on 500 images in 76 cells: 2.5 min, 1.0 MB
    In all 180 epochs of 3 trainings, 17100000 images: 30.0 h by one process, 271.0 MB
    By a process for each member, as fast as here: 27.5 h
    Not counted: start and export.
    """
    lines = [
        f"{'trainings':28} epochs  images/epoch  time each  disk each",
        *(
            f"{_like(each.names):28} {each.epochs:6}  {each.images:12}  "
            f"{_duration(each.seconds):>9}  {_size(each.bytes):>9}"
            for each in plan.trainings
        ),
    ]
    count = sum(len(each.names) for each in plan.trainings)
    epochs = sum(len(each.names) * each.epochs for each in plan.trainings)
    images = sum(len(t.names) * t.epochs * t.images for t in plan.trainings)
    *members, student = plan.trainings
    longest = max(each.seconds for each in members)
    at_once = longest + student.seconds + plan.evaluation_seconds
    return "\n".join(
        (
            *lines,
            f"Evaluation of {plan.evaluation}: {_duration(plan.evaluation_seconds)}, "
            f"{_size(plan.evaluation_bytes)}",
            f"In all {epochs} epochs of {count} trainings, {images} images: "
            f"{_duration(plan.seconds)} by one process, {_size(plan.bytes)}",
            f"By a process for each member, as fast as here: {_duration(at_once)}",
            "Not counted: start and export.",
        )
    )


def _like(names: tuple[str, ...]) -> str:
    first, *others = names
    return f"{first}, {len(others)} like it" if others else first


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
