"""Training of members and distillation of students: what they share."""

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path

import keras

from v1keras.data import (
    ImageDataset,
    Mixing,
    evaluation_batches,
    training_batches,
)
from v1keras.escaping import say
from v1keras.files import write_json
from v1keras.models import (
    Distiller,
    LabelLoss,
    build_classifier,
    build_ensemble,
)
from v1keras.quiet import verbosity
from v1keras.training.checkpoint import RunCheckpoint
from v1keras.training.config import DistillConfig, TrainConfig
from v1keras.training.engine import get_engine
from v1keras.training.initial import freeze_backbone, take_weights
from v1keras.training.noise_warmup import NoiseWarmup
from v1keras.training.objective import make_label_loss, make_metrics
from v1keras.training.opening import make_record, open_run, warn_of_folds
from v1keras.training.optimizer import make_averages, make_optimizer, make_plateau
from v1keras.training.run import (
    CONFIG_FILE,
    LOG_FOLDER,
    Run,
    check_classes,
    check_different,
    check_same_classes,
)
from v1keras.training.strategy import (
    get_strategy,
    get_workers,
    precision,
    predicting_strategy,
    wait_for_all,
    works_together,
)
from v1keras.training.teacher import (
    TEACHER_FOLDER,
    TeacherLogits,
    cached_logits,
)


@works_together("trains")
def train(
    config: TrainConfig,
    dataset: ImageDataset | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Trains one classifier and writes its run directory.

    An interrupted run resumes from its last finished epoch; a finished one is
    returned as it is, or goes on if more epochs are wanted. Each is refused if the data
    set has changed since it was begun.
    One of which no epoch was finished may be begun anew with other settings.
    A finished run is not compared where its folder of images is gone, or where the data
    set would have to be fetched by TensorFlow Datasets.

    Args:
        config: `TrainConfig`.
        dataset: `ImageDataset` or None. The opened data set, for callers that train
            several runs on one; by default the one that `config` names is opened.
        callbacks: sequence of `keras.callbacks.Callback`. They are called before the
            checkpoint of an epoch is written, by every worker, and may end the training
            by `model.stop_training`. What they remember is not kept for a resumed
            training. Defaults to none.

    Returns:
        `Run`.

    Raises:
        FileExistsError: if `config.out` is something else than this run, or was begun
            with other data.
        ValueError, FileNotFoundError: if the configuration or data are unusable, or a
            finished run that shall go on has lost its checkpoint.

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
    shapes:240:24: 12 classes (circle, square, ...
    2/2 - ...
    >>> run.load_model().output_shape
    (None, 12)
    """
    dataset, run = open_run(config, "member", dataset)
    if run is not None and run.is_finished:
        return run
    with get_strategy(config.strategy).scope(), _precision(config):
        model = _classifier(config, dataset)
        loss = make_label_loss(config, dataset)
        checkpoint = _begin(config, "member", dataset, run, model, loss)
    with get_engine().log_errors(Path(config.out, LOG_FOLDER)):
        return _fit(config, dataset, model, checkpoint, callbacks)


@works_together("trains")
def distill(
    config: DistillConfig,
    dataset: ImageDataset | None = None,
    members: Sequence[Run] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
) -> Run:
    """Teaches a student from an ensemble of runs and writes its run directory.

    It resumes as `train` does, and is also refused if the teacher has changed since.

    Args:
        config: `DistillConfig`.
        dataset: `ImageDataset` or None; see `train`.
        members: sequence of `Run` or None. The opened members, for callers that have
            them; by default those that `config` names are opened.
        callbacks: sequence of `keras.callbacks.Callback`; see `train`.

    Returns:
        `Run`.

    Raises:
        FileExistsError: if `config.out` is something else than this run, or was begun
            with other data or another teacher.
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
    shapes:240:24: 12 classes (circle, square, ...
    2/2 - ...
    >>> run.load_model().output_shape
    (None, 12)
    """
    if members is None:
        members = [Run.open(path) for path in config.members]
    check_same_classes(members)
    check_different(members, "members")
    # A member that was interrupted would teach all the same, only badly.
    unfinished = [str(run.path) for run in members if not run.is_finished]
    if unfinished:
        raise ValueError(
            "`members` must be trained to their end; the command that trained them "
            f"resumes it. Received: members={','.join(unfinished)}, not finished"
        )

    taught_by = members if config.asks_teacher else ()
    dataset, run = open_run(config, "student", dataset, taught_by)
    if run is not None and run.is_finished:
        return run
    check_classes(members[0], f"data set {dataset.name}", dataset.class_names)
    if members[0].crop_fraction != dataset.crop_fraction:
        raise ValueError(
            "`crop_fraction` must be that of the members. Received: "
            f"crop_fraction={dataset.crop_fraction:g}, members with "
            f"{members[0].crop_fraction:g}"
        )
    with get_strategy(config.strategy).scope(), _precision(config):
        student = _classifier(config, dataset)
        online = config.asks_teacher and not config.teacher_views
        teacher = _teacher(members) if online else None
        loss = make_label_loss(config, dataset)
        model = _distiller(config, teacher, student, loss)
        # A distiller has its own losses.
        checkpoint = _begin(config, "student", dataset, run, model, None, taught_by)
    stored = config.asks_teacher and config.teacher_views
    logits = _teacher_logits(config, dataset, members) if stored else None
    with get_engine().log_errors(Path(config.out, LOG_FOLDER)):
        return _fit(
            config, dataset, model, checkpoint, callbacks, config.teacher_views, logits
        )


def _teacher(members: Sequence[Run]) -> keras.Model:
    return build_ensemble([run.load_model() for run in members], name="teacher")


def _teacher_logits(
    config: DistillConfig, dataset: ImageDataset, members: Sequence[Run]
) -> TeacherLogits:
    """The stored answers of the teacher, which the chief asks for all workers."""
    workers = get_workers(config.strategy)
    # With several workers, `predict` would wait for all of them.
    strategy = get_strategy(predicting_strategy(config.strategy))
    cache = Path(config.teacher_cache or Path(config.out, TEACHER_FOLDER))
    if not workers.is_chief:
        wait_for_all(workers)
    with strategy.scope(), _precision(config):
        logits = cached_logits(cache, _teacher(members), members, config, dataset)
    if workers.is_chief:
        wait_for_all(workers)
    return logits


def _distiller(
    config: DistillConfig,
    teacher: keras.Model | None,
    student: keras.Model,
    label_loss: LabelLoss,
) -> Distiller:
    if not config.asks_teacher:
        return Distiller(None, student, alpha=0.0, label_loss=label_loss)
    common = {
        "label_loss": label_loss,
        "teacher_draws": config.teacher_draws,
        "feature_layer": config.feature_layer,
        "teacher_layers": config.teacher_layers,
        "feature_weight": config.feature_weight,
        "disagreement": config.disagreement,
        "seed": config.seed,
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


def _precision(config: TrainConfig) -> contextlib.AbstractContextManager:
    return precision(config.mixed_precision, config.compute_dtype)


def _classifier(config: TrainConfig, dataset: ImageDataset) -> keras.Model:
    size = dataset.image_size
    model = build_classifier(
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
        normalization=config.normalization,
        pixel_scaling=config.pixel_scaling or "symmetric",
        seed=config.seed,
    )
    if config.freeze:
        freeze_backbone(model)
    return model


def _begin(
    config: TrainConfig,
    kind: str,
    dataset: ImageDataset,
    run: Run | None,
    model: keras.Model,
    loss: keras.losses.Loss | None,
    members: Sequence[Run] = (),
) -> RunCheckpoint:
    """Compiles the model and brings it to the last finished epoch."""
    metrics = make_metrics(config, dataset)
    replicas = get_engine().count_replicas(get_strategy(config.strategy))
    model.compile(
        optimizer=make_optimizer(config, _steps(config, dataset)[0], replicas),
        loss=loss,
        metrics=metrics,
        jit_compile=get_engine().JIT_COMPILE,
    )
    folder = Path(config.out)
    writes = get_workers(config.strategy).is_chief
    checkpoint = RunCheckpoint(
        folder,
        make_plateau(config),
        writes=writes,
        monitor=f"val_{metrics[-1].name}",
        averages=make_averages(config),
    )
    earlier = [] if run is None else run.config.get("earlier_results", [])
    checkpoint.restore(model, may_begin_anew=not earlier)
    if config.init and not checkpoint.progress.epochs:
        learner = model.student if isinstance(model, Distiller) else model
        frozen = config.freeze is not None
        say(take_weights(learner, config.init, dataset.class_names, frozen=frozen))
    # Written once all could be built, so that a refused configuration leaves nothing
    # behind.
    if writes:
        begun = run if checkpoint.progress.epochs else None
        record = make_record(config, kind, dataset, members, begun)
        if begun is None:
            warn_of_folds(config, dataset, record)
        if earlier:
            record["earlier_results"] = earlier
        write_json(folder / CONFIG_FILE, record)
    return checkpoint


def _fit(
    config: TrainConfig,
    dataset: ImageDataset,
    model: keras.Model,
    checkpoint: RunCheckpoint,
    further: Sequence[keras.callbacks.Callback],
    views: int = 0,
    logits: TeacherLogits | None = None,
) -> Run:
    """Trains the remaining epochs and notes the result."""
    progress = checkpoint.progress
    workers = get_workers(config.strategy)
    mixes = config.mixup or config.cutmix
    training = functools.partial(
        training_batches,
        dataset.split("train"),
        batch_size=config.batch_size,
        augment=config.augmentation,
        seed=config.seed,
        start_epoch=progress.epochs,
        views=views,
        mixing=Mixing(config.mixup, config.cutmix) if mixes else None,
        num_classes=dataset.num_classes,
        teacher_logits=logits and logits.train,
    )
    validation = functools.partial(
        evaluation_batches,
        dataset.split("validation"),
        batch_size=config.batch_size,
        teacher_logits=logits and logits.validation,
    )
    callbacks = [
        *checkpoint.plateau,
        *checkpoint.averages,
        NoiseWarmup(
            config.noise_warmup_epochs,
            # A teacher answers with all of its noise.
            model.student if isinstance(model, Distiller) else model,
        ),
        *further,
    ]
    if workers.is_chief:
        run = Run.open(checkpoint.folder)
        callbacks += get_engine().log_callbacks(run, training)
    steps, validation_steps = _steps(config, dataset)
    get_engine().fit(
        get_strategy(config.strategy),
        model,
        training,
        validation,
        initial_epoch=progress.epochs,
        epochs=config.epochs,
        steps_per_epoch=steps,
        validation_steps=validation_steps,
        callbacks=[*callbacks, checkpoint],
        verbose=verbosity(),
    )
    if workers.is_chief:
        record = Run.open(checkpoint.folder).config
        record["result"] = {
            "epochs": progress.epochs,
            "best_epoch": progress.best_epoch,
            "validation_accuracy": progress.best["val_accuracy"],
            "seconds": round(sum(row["seconds"] for row in progress.history), 1),
        }
        if config.class_weight is not None:
            balanced = progress.best["val_balanced_accuracy"]
            record["result"]["validation_balanced_accuracy"] = balanced
        write_json(checkpoint.folder / CONFIG_FILE, record)
        checkpoint.finish()
    wait_for_all(workers)
    return Run.open(checkpoint.folder)


def _steps(config: TrainConfig, dataset: ImageDataset) -> tuple[int, int]:
    """Steps of an epoch, of training and of validation.

    Batches that replicas cannot share are refused here.
    """
    strategy = get_strategy(config.strategy)
    training, validation = (
        get_engine().count_batches(
            strategy, len(dataset.split(name)), config.batch_size
        )
        for name in ("train", "validation")
    )
    return training, validation
