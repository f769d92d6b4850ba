"""The images that some runs, and those that they learnt from, held out from training."""

from collections.abc import Mapping, Sequence
from typing import Any

from v1keras.data import ImageDataset, load_dataset
from v1keras.training.run import Run, check_classes

# Arguments of `load_dataset` and the settings of a run that they come from.
_FOLD_SETTINGS = {
    "validation_fraction": "validation_fraction",
    "validation_source": "validation_source",
    "seed": "split_seed",
}


def open_run_dataset(
    run: Run, name: str | None = None, data_dir: str | None = None
) -> ImageDataset:
    """Opens the data set of a run, with the validation images that the run had.

    Args:
        run: `Run`.
        name: str or None. Another place or name of the data set. Defaults to what the
            run was trained on.
        data_dir: str or None. Where TensorFlow Datasets keeps its data.

    Returns:
        `ImageDataset`.

    Raises:
        FileNotFoundError: if there is no such data set.
        ValueError: if its classes are not those of the run.
    """
    settings = run.config["settings"]
    name = name or run.config["data"]["name"]
    fold = {
        argument: settings[setting]
        for argument, setting in _FOLD_SETTINGS.items()
        if setting in settings
    }
    dataset = load_dataset(
        name,
        image_size=run.image_size,
        crop_fraction=run.crop_fraction,
        data_dir=data_dir,
        **fold,
    )
    check_classes(run, f"data set {name}", dataset.class_names)
    return dataset


def held_out_by_all(runs: Sequence[Run], dataset: ImageDataset) -> bool:
    """Whether the validation images of a data set were training images of no run.

    Runs whose weights they began with, and their teachers', count too, where those are
    known to have seen this data set.

    Args:
        runs: sequence of `Run`.
        dataset: `ImageDataset`, opened by `open_run_dataset` for one of them.

    Returns:
        bool. False also where they are test images.
    """
    first, *others = (_own_fold(run) for run in runs)
    is_one = all(fold == first for fold in others)
    is_known = first["fingerprint"] == dataset.fingerprint
    is_kept = not other_folds(first, folds_behind(runs))
    return is_one and is_known and is_kept and dataset.validation_source != "test"


def folds_behind(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The folds of some runs, and of all that these have learnt from.

    Args:
        runs: sequence of `Run`.

    Returns:
        list of dict: what tells a data set (`"name"`, `"fingerprint"`) and the images
        that were held out of it.
    """
    folds = []
    for run in runs:
        further = [_own_fold(run), *run.config.get("learnt_from", ())]
        folds += [fold for fold in further if fold not in folds]
    return folds


def make_fold(settings: Mapping[str, Any], dataset: ImageDataset) -> dict[str, Any]:
    """The fold that a training with some settings holds out of a data set."""
    return _fold(settings, dataset.name, dataset.fingerprint)


def other_folds(
    fold: Mapping[str, Any], folds: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Those of some folds that are of the same data set, and hold out other images."""
    return [
        other
        for other in folds
        if other != fold
        and any(other[key] == fold[key] for key in ("name", "fingerprint"))
    ]


def _own_fold(run: Run) -> dict[str, Any]:
    data = run.config["data"]
    return _fold(run.config["settings"], data["name"], data.get("fingerprint"))


def _fold(
    settings: Mapping[str, Any], name: str, fingerprint: str | None
) -> dict[str, Any]:
    held_out = {key: settings.get(key) for key in _FOLD_SETTINGS.values()}
    return {"name": name, "fingerprint": fingerprint, **held_out}
