"""Beginning, resuming and reopening runs: what may be trained in a folder, and how."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from v1keras.command_line import defaults_of
from v1keras.data import ImageDataset, load_dataset
from v1keras.escaping import say
from v1keras.files import claim, file_fingerprint, require_writable
from v1keras.training.checkpoint import is_without_epochs
from v1keras.training.config import TrainConfig
from v1keras.training.data_changes import data_changes
from v1keras.training.engine import get_engine
from v1keras.training.going_on import (
    epochs_of_shorter_run,
    reopen,
    require_checkpoint,
)
from v1keras.training.held_out import folds_behind, make_fold, other_folds
from v1keras.training.initial import (
    initial_changes,
    initial_fingerprint,
    initial_run,
)
from v1keras.training.run import CONFIG_FILE, Run, resolve_v1, versions
from v1keras.training.teacher import teacher_changes, teacher_fingerprints


def open_dataset(config: TrainConfig, run: Run | None = None) -> ImageDataset:
    """Opens the data set that a configuration names, checks and prints what it is.

    Args:
        config: `TrainConfig`.
        run: `Run` or None. One that was begun on the data, which keeps its crop fraction
            unless `config` has another. Defaults to `None`.
    """
    crop_fraction = config.crop_fraction
    if crop_fraction is None and run is not None:
        crop_fraction = run.crop_fraction
    dataset = load_dataset(
        config.dataset,
        image_size=config.image_size,
        crop_fraction=crop_fraction,
        validation_fraction=config.validation_fraction,
        validation_source=config.validation_source,
        seed=config.split_seed,
        data_dir=config.data_dir,
    )
    dataset.require_training_images()
    dataset.check_images()
    say(dataset.summary())
    return dataset


def open_finished(config: TrainConfig, dataset: ImageDataset) -> Run | None:
    """The finished run of a training; nothing is trained.

    Args:
        config: `TrainConfig`.
        dataset: `ImageDataset`. The opened data set.

    Returns:
        `Run`, or None if its training has not begun or is not finished.

    Raises:
        FileExistsError: if `config.out` is something else than this run, or was begun
            with other data.
    """
    _, run = open_run(config, "member", dataset)
    return run if run is not None and run.is_finished else None


def open_run(
    config: TrainConfig,
    kind: str,
    dataset: ImageDataset | None,
    members: Sequence[Run] = (),
) -> tuple[ImageDataset | None, Run | None]:
    """Opens the data set of a training, and the run that is in `out` already.

    Args:
        config: `TrainConfig`.
        kind: str. `"member"` or `"student"`.
        dataset: `ImageDataset` or None. The opened data set, where there is one.
        members: sequence of `Run`. Those of a student's teacher. Defaults to none.

    Returns:
        A tuple of the data set and the `Run`, which is `None` if nothing was begun. A
        finished one that shall go on is unfinished here. The data set is `None` only
        beside a finished run, where opening it could mean a download.

    Raises:
        FileExistsError: if `config.out` is something else than this run, or was begun
            with other data, another teacher or other weights.
        FileNotFoundError: if a finished run has lost what is needed of it.
    """
    get_engine().check(config)
    shorter = epochs_of_shorter_run(config)
    claimed = dataclasses.replace(config, epochs=shorter) if shorter else config
    try:
        stored = _claim(claimed, kind)
    except FileExistsError:
        if not is_without_epochs(config.out):
            raise
        # Nothing would be lost: a learning rate that was too high can be lowered.
        say(f"{config.out}: begun anew, as no epoch was finished with its settings.")
        stored = None
    run = None if stored is None else Run.open(config.out)
    if run is not None and run.is_finished:
        run.find_model()
        run = reopen(run) if shorter else run
    is_finished = run is not None and run.is_finished
    if not is_finished:
        require_writable(config.out)
    if dataset is None and (not is_finished or _is_at_hand(config.dataset)):
        dataset = open_dataset(config, run)
    elif dataset is not None:
        dataset.require_training_images()
    if run is not None:
        require_checkpoint(run)
        changes = data_changes(run, dataset) if dataset is not None else []
        changes += teacher_changes(run, members) + initial_changes(run)
        _claim(claimed, kind, changes=lambda _: changes)
    return dataset, run


def _claim(config: TrainConfig, kind: str, **further: Any) -> dict[str, Any] | None:
    return claim(
        config.out,
        CONFIG_FILE,
        {
            "kind": kind,
            "settings": config.identity(),
            "gabors": _gabors_fingerprint(config),
        },
        what="run",
        defaults={"settings": defaults_of(type(config))},
        **further,
    )


def _is_at_hand(dataset: str) -> bool:
    """Whether a data set is drawn or in a folder, so that it need not be fetched."""
    return dataset.partition(":")[0] == "shapes" or Path(dataset).expanduser().is_dir()


def _gabors_fingerprint(config: TrainConfig) -> str | None:
    """What tells the receptive fields of a file from others of the same name."""
    return config.gabors and file_fingerprint(config.gabors)


def make_record(
    config: TrainConfig,
    kind: str,
    dataset: ImageDataset,
    members: Sequence[Run] = (),
    begun: Run | None = None,
) -> dict[str, Any]:
    """The content of `config.json` of a run that begins or goes on.

    Args:
        config: `TrainConfig`.
        kind: str. `"member"` or `"student"`.
        dataset: `ImageDataset`.
        members: sequence of `Run`. Those of a student's teacher. Defaults to none.
        begun: `Run` or None. One that goes on, which keeps what it has learnt from: the
            weights that it began with may be gone. Defaults to `None`.

    Returns:
        dict.
    """
    origin = _origin(config, members) if begun is None else _origin_of(begun)
    settings, variant = dataclasses.asdict(config), config.resolve_variant()
    return {
        "kind": kind,
        "name": Path(config.out).resolve().name,
        "settings": settings,
        "variant": variant.to_dict(),
        "v1": resolve_v1(settings, variant, dataset.image_size),
        "gabors": _gabors_fingerprint(config),
        "teacher": teacher_fingerprints(members) or None,
        **origin,
        "class_names": list(dataset.class_names),
        "display_names": list(dataset.display_names),
        "image_size": dataset.image_size,
        "crop_fraction": dataset.crop_fraction,
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "sizes": dataset.sizes,
        },
        "versions": versions(),
        "result": None,
    }


def warn_of_folds(config: TrainConfig, dataset: ImageDataset, record: dict) -> None:
    """Says where a run learns from others that have seen its validation images.

    Args:
        config: `TrainConfig`.
        dataset: `ImageDataset`.
        record: dict, as from `make_record`.
    """
    fold = make_fold(dataclasses.asdict(config), dataset)
    for other in other_folds(fold, record.get("learnt_from", ())):
        has = [f"{key}={value}" for key, value in other.items() if value != fold[key]]
        say(
            "Validation accuracy will be too high, and no image counts as held out: "
            "--init or a member of the teacher has seen validation images, as it was "
            f"trained with {', '.join(has)}."
        )


def _origin(config: TrainConfig, members: Sequence[Run]) -> dict[str, Any]:
    """The weights that a run begins with, and the folds of what it learns from."""
    first = config.init and initial_run(config.init)
    return {
        "init": config.init and initial_fingerprint(config.init),
        "learnt_from": folds_behind([*members, *([first] if first else [])]),
    }


def _origin_of(begun: Run) -> dict[str, Any]:
    # Runs of version 0.1.0 did not note it.
    return {k: begun.config[k] for k in ("init", "learnt_from") if k in begun.config}
