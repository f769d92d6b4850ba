"""Where the images of each cell come from: corrupted here, or stored corrupted."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from v1keras.evaluation.cells import CLEAN, Cell


class Batch(NamedTuple):
    """Some images of a cell.

    Args:
        images: uint8 array of shape `(batch, height, width, 3)`.
        labels: int array of shape `(batch,)`.
        ids: str array of shape `(batch,)`. Equal for the same image in other cells.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray


class CellImages(Protocol):
    """The images of every cell of an evaluation.

    Attributes:
        cells: tuple of `Cell`. What there is.
        settings: dict that can be written as JSON. What the images depend on.
    """

    cells: tuple[Cell, ...]
    settings: dict[str, Any]

    def batches(self, cell: Cell, batch_size: int) -> Iterator[Batch]:
        """Gives the images of a cell, always in the same order."""
        ...


class CleanImages:
    """Labelled images in memory, optionally cut to a seeded subset.

    Args:
        images: uint8 array of shape `(images, height, width, 3)`.
        labels: int array of shape `(images,)`.
        ids: sequence of str or None. One name per image. Defaults to their positions.
        fingerprint: str or None. Changes with the images. Defaults to a hash of images
            and labels.
        max_images: int or None. How many images to keep, drawn at random; all when
            there are fewer. Defaults to `None`.
        seed: int. Of that draw. Defaults to `0`.
    """

    cells = (CLEAN,)

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        ids: Sequence[str] | None = None,
        fingerprint: str | None = None,
        max_images: int | None = None,
        seed: int = 0,
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                "Images must be uint8 RGB of shape (images, height, width, 3). "
                f"Received: dtype={images.dtype}, shape={images.shape}"
            )
        if len(labels) != len(images) or not len(images):
            raise ValueError(
                "There must be as many labels as images, and at least one. "
                f"Received: {len(images)} images, {len(labels)} labels"
            )
        if max_images is not None and max_images < 1:
            raise ValueError(
                f"max_images must be at least 1. Received: max_images={max_images}"
            )
        fingerprint = fingerprint or _hash(images, labels)
        names = np.array([str(i) for i in (ids or range(len(images)))])
        # In place of a copy of all images, only their positions are drawn.
        self.index = np.arange(len(images))
        if max_images is not None and max_images < len(images):
            rng = np.random.default_rng(seed)
            self.index = np.sort(rng.choice(len(images), max_images, replace=False))
        self.images, self.labels, self.ids = images, np.asarray(labels), names
        self.settings = {
            "fingerprint": fingerprint,
            "images": len(self.index),
            "subset_seed": seed if len(self.index) < len(images) else None,
        }

    def __len__(self) -> int:
        return len(self.index)

    def batches(self, cell: Cell, batch_size: int) -> Iterator[Batch]:
        """Gives the clean images."""
        for start in range(0, len(self.index), batch_size):
            chosen = self.index[start : start + batch_size]
            yield Batch(self.images[chosen], self.labels[chosen], self.ids[chosen])


class OnlineImages:
    """Clean images and their corruptions, computed while they are shown.

    Args:
        clean: `CleanImages`.
        cells: sequence of `Cell`. The corrupted cells.
        seed: int. Seed of the corruptions. Defaults to `0`.
        corrupt: callable or None. Has the signature of `v1keras.corruptions.corrupt`,
            which is the default.

    Example:

    >>> clean = CleanImages(np.zeros((8, 64, 64, 3), "uint8"), np.zeros(8, int))
    >>> images = OnlineImages(clean, corrupted_cells(["fog", "snow"]))
    >>> len(images.cells)
    11
    """

    def __init__(
        self,
        clean: CleanImages,
        cells: Sequence[Cell],
        *,
        seed: int = 0,
        corrupt: Callable[..., np.ndarray] | None = None,
    ) -> None:
        if corrupt is None:
            from v1keras.corruptions import corrupt
        self.cells = (CLEAN, *(cell for cell in cells if cell != CLEAN))
        self.settings = {"clean": clean.settings, "corrupted": f"online, seed {seed}"}
        self._clean, self._seed, self._corrupt = clean, seed, corrupt

    def batches(self, cell: Cell, batch_size: int) -> Iterator[Batch]:
        """Gives the images of a cell; the result for an image depends on it alone."""
        start = 0
        for batch in self._clean.batches(CLEAN, batch_size):
            if cell != CLEAN:
                index = self._clean.index[start : start + len(batch.images)]
                images = self._corrupt(
                    batch.images,
                    cell.corruption,
                    cell.severity,
                    seed=self._seed,
                    index=index,
                )
                batch = batch._replace(images=images)
            start += len(batch.images)
            yield batch


def _hash(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, str(array.dtype))).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
