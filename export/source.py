"""What is exported: one run, or several as an ensemble, and its data set."""

import dataclasses
from collections.abc import Sequence

import keras
import numpy as np

import v1keras
from export.sign import unique_labels
from v1keras.data import ImageDataset, Split, load_dataset
from v1keras.models import build_ensemble
from v1keras.training import Run, check_same_classes

FOLD_SETTINGS = {
    "validation_fraction": "validation_fraction",
    "validation_source": "validation_source",
    "seed": "split_seed",
}
"""Arguments of `load_dataset` that make the validation fold, and what runs call them."""


@dataclasses.dataclass(frozen=True)
class Source:
    """A classifier to be exported, with what is known about it.

    Args:
        model: keras.Model. Takes float32 pixels 0..255, gives logits.
        class_names: tuple of str. Identifiers of the classes, by output.
        labels: tuple of str. What answers call the classes; no two are equal.
        image_size: int. Height and width of the images, in pixels.
        runs: tuple of `Run`. Where it comes from.
    """

    model: keras.Model
    class_names: tuple[str, ...]
    labels: tuple[str, ...]
    image_size: int
    runs: tuple[Run, ...]


def open_source(
    paths: Sequence[str], *, noise: str = "off", noise_seed: int = 0
) -> Source:
    """Opens runs for export.

    Args:
        paths: sequence of str. Run directories; several are averaged.
        noise: str. `"off"`, `"fixed"` or `"stochastic"`. Defaults to `"off"`.
        noise_seed: int. Seed of the noise. Defaults to `0`.

    Returns:
        A `Source`.

    Raises:
        FileNotFoundError: if a folder is not a run.
        ValueError: if the runs do not have the same classes and image size, the
            configuration of one is incomplete, one is still being trained, or its model
            is not what its configuration says.
    """
    runs = [Run.open(path) for path in paths]
    check_same_classes(runs)
    for run in runs:
        if not run.is_finished:
            raise ValueError(f"the training of {run.path} is not finished")
    models = [_load_model(run) for run in runs]
    model = models[0] if len(models) == 1 else build_ensemble(models)
    v1keras.set_noise(model, noise, seed=noise_seed)
    first = runs[0]
    return Source(
        model=model,
        class_names=first.class_names,
        labels=unique_labels(first.class_names, first.display_names),
        image_size=first.image_size,
        runs=tuple(runs),
    )


def _load_model(run: Run) -> keras.Model:
    """The model of a run, if it takes the images and has the classes of the run."""
    model = run.load_model()
    size, classes = run.image_size, len(run.class_names)
    if model.input_shape[1:] != (size, size, 3) or model.output_shape[1:] != (classes,):
        raise ValueError(
            f"the model of {run.path} must take {size} x {size} RGB images and have "
            f"{classes} outputs, as its config.json says. Received: "
            f"input_shape={model.input_shape}, output_shape={model.output_shape}"
        )
    return model


def open_dataset(
    source: Source, name: str | None = None, data_dir: str | None = None
) -> ImageDataset:
    """Opens the data set whose images the checks use, with the fold of the first run.

    Args:
        source: `Source`.
        name: str or None. A data set; `None` is that of the first run.
        data_dir: str or None. Where TensorFlow Datasets keeps its files.

    Returns:
        An `ImageDataset`.

    Raises:
        ValueError: if its classes are not those of the source.
    """
    first = source.runs[0].config
    name = name or first["data"]["name"]
    fold = {
        argument: first["settings"][setting]
        for argument, setting in FOLD_SETTINGS.items()
        if setting in first["settings"]
    }
    try:
        dataset = load_dataset(
            name, image_size=source.image_size, data_dir=data_dir, **fold
        )
    except OSError as error:
        raise ValueError(
            f"the checks need images: give --dataset or --data_dir ({error})"
        ) from error
    if tuple(dataset.class_names) != source.class_names:
        raise ValueError(
            "the data set must have the classes of the run. "
            f"Received: dataset={name}, run={source.runs[0].path}"
        )
    return dataset


def spread(split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `count` images, evenly spaced, because classes are often in order.

    Args:
        split: `v1keras.data.Split`.
        count: int.

    Returns:
        Tuple of a uint8 array (N, S, S, 3) and an int array (N,) of their classes.
    """
    indices = np.linspace(0, len(split) - 1, min(count, len(split)))
    indices = np.unique(indices.round().astype(int))
    return np.asarray(split.images[indices]), split.labels[indices]
