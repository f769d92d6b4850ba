"""Training of members and distillation of students: what they share."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras

from v1keras.command_line import defaults_of
from v1keras.data import (
    ImageDataset,
    Mixing,
    evaluation_batches,
    load_dataset,
    steps_per_epoch,
    training_batches,
)
from v1keras.files import claim, write_json
from v1keras.models import (
    Distiller,
    LabelAccuracy,
    LabelLoss,
    build_classifier,
    build_ensemble,
)
from v1keras.quiet import verbosity
from v1keras.training.checkpoint import RunCheckpoint
from v1keras.training.config import DistillConfig, TrainConfig
from v1keras.training.optimizer import make_optimizer, make_plateau
from v1keras.training.run import (
    CONFIG_FILE,
    LOG_FOLDER,
    Run,
    check_classes,
    check_same_classes,
    versions,
)
from v1keras.training.strategy import get_strategy, precision
from v1keras.training.teacher import TEACHER_FOLDER, TeacherLogits, cached_logits


class _Task(NamedTuple):
    """What is fitted, and what must be computed before.

    Args:
        model: `keras.Model`, not compiled.
        views: int. How many augmented views there are of each image; 0 for no limit.
        prepare: callable. Gives the teacher's cached logits, if any; called once the
            run's configuration is written.
    """

    model: keras.Model
    views: int = 0
    prepare: Callable[[], TeacherLogits | None] = lambda: None


def train(config: TrainConfig, dataset: ImageDataset | None = None) -> Run:
    """Trains one classifier and writes its run directory.

    An interrupted run goes on from its last finished epoch; a finished one is
    returned as it is.

    Args:
        config: `TrainConfig`.
        dataset: `ImageDataset` or None. The opened data set, for callers that train
            several runs on one; by default the one that `config` names is opened.

    Returns:
        `Run`.

    Raises:
        FileExistsError: if `config.out` is something else than this run.
        ValueError, FileNotFoundError: if the configuration or data are unusable.

    Example:

    >>> config = v1keras.training.TrainConfig(
    ...     dataset="shapes:240:24",
    ...     variant="sf_low",
    ...     stride=8,
    ...     width=4,
    ...     epochs=1,
    ...     out="runs/sf_low",
    ... )
    >>> run = v1keras.training.train(config)
    2/2 - ...
    >>> run.load_model().output_shape
    (None, 12)
    """

    def build(dataset: ImageDataset) -> _Task:
        return _Task(_classifier(config, dataset))

    return _fit(config, "member", dataset, build)


def distill(config: DistillConfig, dataset: ImageDataset | None = None) -> Run:
    """Teaches a student from an ensemble of runs and writes its run directory.

    Args:
        config: `DistillConfig`.
        dataset: `ImageDataset` or None; see `train`.

    Returns:
        `Run`.

    Raises:
        FileExistsError: if `config.out` is something else than this run.
        ValueError, FileNotFoundError: if members, configuration or data are unusable
            or do not fit each other.

    Example:

    >>> config = v1keras.training.DistillConfig(
    ...     members=("runs/base", "runs/low_noise"),
    ...     dataset="shapes:240:24",
    ...     stride=8,
    ...     width=4,
    ...     epochs=1,
    ...     out="runs/taught",
    ... )
    >>> run = v1keras.training.distill(config)
    2/2 - ...
    >>> run.load_model().output_shape
    (None, 12)
    """
    members = [Run.open(path) for path in config.members]
    check_same_classes(members)
    # A member that was interrupted would teach all the same, only badly.
    unfinished = [str(run.path) for run in members if not run.is_finished]
    if unfinished:
        raise ValueError(
            "The members of a teacher must be trained to their end; start their "
            f"training again to go on with it. Received: {', '.join(unfinished)}, "
            "not finished"
        )

    def build(dataset: ImageDataset) -> _Task:
        check_classes(members[0], f"data set {dataset.name}", dataset.class_names)
        student = _classifier(config, dataset)
        if not config.asks_teacher:
            return _Task(Distiller(None, student, alpha=0.0), config.teacher_views)
        teacher = build_ensemble([run.load_model() for run in members], name="teacher")
        if not config.teacher_views:
            return _Task(_distiller(config, teacher, student))
        cache = Path(config.teacher_cache or Path(config.out, TEACHER_FOLDER))
        return _Task(
            _distiller(config, None, student),
            config.teacher_views,
            lambda: cached_logits(cache, teacher, members, config, dataset),
        )

    return _fit(config, "student", dataset, build)


def _distiller(
    config: DistillConfig, teacher: keras.Model | None, student: keras.Model
) -> Distiller:
    common = {
        "teacher_draws": config.teacher_draws,
        "feature_layer": config.feature_layer,
        "teacher_layers": config.teacher_layers,
        "feature_weight": config.feature_weight,
    }
    if config.distillation_loss == "paper":
        return Distiller.paper(teacher, student, members=len(config.members), **common)
    return Distiller(
        teacher,
        student,
        temperature=config.temperature,
        alpha=config.alpha,
        **common,
    )


def _classifier(config: TrainConfig, dataset: ImageDataset) -> keras.Model:
    size = dataset.image_size
    return build_classifier(
        config.arch,
        config.resolve_variant(),
        num_classes=dataset.num_classes,
        input_shape=(size, size, 3),
        width=config.width,
        stride=config.stride,
        visual_degrees=config.visual_degrees,
        kernel_size=config.kernel_size,
        k_exc=config.k_exc,
        noise_scale=config.noise_scale,
        noise_level=config.noise_level,
        rectify_noise=config.rectify_noise,
        seed=config.seed,
    )


def _fit(
    config: TrainConfig,
    kind: str,
    dataset: ImageDataset | None,
    build: Callable[[ImageDataset], _Task],
) -> Run:
    folder = Path(config.out)
    stored = claim(
        folder,
        CONFIG_FILE,
        {"kind": kind, "settings": config.identity()},
        what="run",
        defaults={"settings": defaults_of(type(config))},
    )
    if stored is not None and Run(folder, stored).is_finished:
        return Run.open(folder)
    if dataset is None:
        dataset = open_dataset(config)
    train_split, validation = dataset.split("train"), dataset.split("validation")
    steps = steps_per_epoch(len(train_split), config.batch_size)

    with get_strategy(config.strategy).scope(), precision(config.mixed_precision):
        task = build(dataset)
        model = task.model
        plateau = make_plateau(config)
        model.compile(
            optimizer=make_optimizer(config, steps),
            metrics=[LabelAccuracy()],
            jit_compile=False,
            # A distiller has its own losses.
            loss=None if isinstance(model, Distiller) else LabelLoss(),
        )
        # Written once all could be built, so that a refused configuration leaves
        # nothing behind.
        write_json(folder / CONFIG_FILE, _record(config, kind, dataset))
        checkpoint = RunCheckpoint(folder, plateau)
        checkpoint.restore(model)
        logits = task.prepare()

    epoch = checkpoint.progress.epochs
    model.fit(
        training_batches(
            train_split,
            batch_size=config.batch_size,
            augment=config.augmentation,
            seed=config.seed,
            start_epoch=epoch,
            views=task.views,
            mixing=Mixing(config.mixup, config.cutmix)
            if config.mixup or config.cutmix
            else None,
            num_classes=dataset.num_classes,
            teacher_logits=logits and logits.train,
        ),
        validation_data=evaluation_batches(
            validation,
            batch_size=config.batch_size,
            teacher_logits=logits and logits.validation,
        ),
        initial_epoch=epoch,
        epochs=config.epochs,
        steps_per_epoch=steps,
        callbacks=[
            *plateau,
            keras.callbacks.TensorBoard(folder / LOG_FOLDER, write_graph=False),
            checkpoint,
        ],
        shuffle=False,  # the pipeline shuffles
        verbose=verbosity(),
    )
    progress = checkpoint.progress
    result = {
        "best_epoch": progress.best_epoch,
        "validation_accuracy": progress.best_accuracy,
        "seconds": round(sum(row["seconds"] for row in progress.history), 1),
    }
    write_json(folder / CONFIG_FILE, _record(config, kind, dataset, result))
    return Run.open(folder)


def open_dataset(config: TrainConfig) -> ImageDataset:
    """Opens the data set that a configuration names, with its splits."""
    return load_dataset(
        config.dataset,
        image_size=config.image_size,
        validation_fraction=config.validation_fraction,
        validation_source=config.validation_source,
        seed=config.split_seed,
        data_dir=config.data_dir,
    )


def _record(
    config: TrainConfig, kind: str, dataset: ImageDataset, result: dict | None = None
) -> dict:
    """The content of `config.json`."""
    return {
        "kind": kind,
        "name": Path(config.out).resolve().name,
        "settings": dataclasses.asdict(config),
        "variant": dataclasses.asdict(config.resolve_variant()),
        "class_names": list(dataset.class_names),
        "display_names": list(dataset.display_names),
        "image_size": dataset.image_size,
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "sizes": dataset.sizes,
        },
        "versions": versions(),
        "result": result,
    }
