"""The images that some runs held out from training."""

from collections.abc import Sequence

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

    Args:
        runs: sequence of `Run`.
        dataset: `ImageDataset`, opened by `open_run_dataset` for one of them.

    Returns:
        bool. False also where they are test images.
    """
    folds = {
        tuple(run.config["settings"].get(name) for name in _FOLD_SETTINGS.values())
        for run in runs
    }
    prints = {run.config["data"].get("fingerprint") for run in runs}
    one = len(folds) == 1 and prints == {dataset.fingerprint}
    return one and dataset.validation_source != "test"
