"""The images that an export is checked on: clean ones, and the same ones corrupted."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from export.source import Source
from v1keras.corruptions import corrupt
from v1keras.data import ImageDataset
from v1keras.training.held_out import held_out_by_all, open_run_dataset

CLEAN = "clean"
# Part of the corruptions' random streams; exports of one model see the same images.
_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class CheckImages:
    """Labelled images in slices that show the same images.

    Args:
        split: str. `"validation"`, or `"test"` where there is no validation fold.
        truth: int array (N,). The right classes.
        slices: dict from name (`"clean"`, `"contrast/3"`) to uint8 array (N, S, S, 3).
    """

    split: str
    truth: np.ndarray
    slices: Mapping[str, np.ndarray]

    def stacked(self) -> np.ndarray:
        """All slices, one after the other, uint8 (slices * N, S, S, 3)."""
        return np.concatenate(list(self.slices.values()))

    def divide(self, answers: np.ndarray) -> dict[str, np.ndarray]:
        """Answers to `stacked`, (..., slices * N, classes), by slice."""
        parts = np.split(answers, len(self.slices), axis=-2)
        return dict(zip(self.slices, parts, strict=True))


def open_check_dataset(
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
    try:
        return open_run_dataset(source.runs[0], name, data_dir)
    except OSError as error:
        raise ValueError(
            f"the checks need images: give --dataset or --data_dir ({error})"
        ) from error


def select_images(
    source: Source,
    dataset: ImageDataset,
    *,
    count: int,
    corruptions: Sequence[str] = (),
    severity: int = 3,
) -> CheckImages:
    """Chooses the images of the checks.

    They come from the fold of the training images on which the run chose its best
    epoch, so that test images decide nothing. Where that fold is not known to be unseen
    (another data set, or runs with different folds) or was the test images, they are
    test images, and `split` says so.

    Args:
        source: `Source`.
        dataset: `ImageDataset`, as from `open_check_dataset`.
        count: int. How many images, evenly spaced.
        corruptions: sequence of str. Names of corruptions, one slice each. Defaults to
            `()`.
        severity: int. Of all of them, 1 to 5. Defaults to `3`.

    Returns:
        `CheckImages`.
    """
    split = "validation" if held_out_by_all(source.runs, dataset) else "test"
    shown = dataset.split(split).spread(count)
    images = np.asarray(shown.images)
    slices = {CLEAN: images} | {
        f"{name}/{severity}": corrupt(images, name, severity, seed=_SEED)
        for name in corruptions
    }
    return CheckImages(split, shown.labels, slices)
