"""Where the images of each cell come from: corrupted here, or stored corrupted."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np

from v1keras.corruptions import BENCHMARK, SEVERITIES, canonical_name, corrupt
from v1keras.corruptions.digital import jpeg_compression
from v1keras.corruptions.severities import STORED_JPEG_QUALITY
from v1keras.data import ImageDataset, open_corrupted
from v1keras.escaping import say
from v1keras.evaluation.cache import SHOWN
from v1keras.evaluation.cells import CLEAN, Cell, corrupted_cells
from v1keras.evaluation.config import CLEAN_ONLY, ONLINE, EvaluateConfig

# Rows; their images may have to be decoded.
_HASHED_AT_ONCE = 512


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
        fingerprints: dict from `Cell` to a str that changes with the images, of the
            cells of which `settings` does not tell it.
        sample_id: str. The image that a report shows in every cell.
    """

    cells: tuple[Cell, ...]
    settings: dict[str, Any]
    fingerprints: dict[Cell, str]
    sample_id: str

    def batches(self, cell: Cell, batch_size: int) -> Iterator[Batch]:
        """Gives the images of a cell, always in the same order."""
        ...

    def picture(self, cell: Cell, name: str) -> np.ndarray:
        """Gives the image that has this id in a cell, as it is shown there."""
        ...

    def shuffled(self, seed: int) -> "CellImages":
        """Gives the same images in a random order, equal in all cells."""
        ...


class CleanImages:
    """Labelled clean images, optionally a seeded subset of them.

    Args:
        images: uint8 array of shape `(images, height, width, 3)`, or anything that is
            indexed like one.
        labels: int array of shape `(images,)`.
        ids: sequence of str or None. One name per image. Defaults to their positions.
        fingerprint: str or None. Changes with the images. Defaults to a hash of images
            and labels.
        shown: mapping or None. What else the images depend on, where the fingerprint
            is that of their files: their size and crop. Defaults to `None`.
        max_images: int or None. How many images to keep, drawn at random; all when
            there are fewer. Defaults to `None`.
        seed: int. Of that draw. Defaults to `0`.
    """

    cells = (CLEAN,)
    fingerprints: ClassVar[dict[Cell, str]] = {}

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        ids: Sequence[str] | None = None,
        fingerprint: str | None = None,
        shown: Mapping[str, Any] | None = None,
        max_images: int | None = None,
        seed: int = 0,
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise ValueError(
                "`images` must be uint8 RGB of shape (images, height, width, 3). "
                f"Received: dtype={images.dtype}, shape={images.shape}"
            )
        if len(labels) != len(images) or not len(images):
            raise ValueError(
                "`labels` must have the length of `images`, at least 1. "
                f"Received: {len(images)} images, {len(labels)} labels"
            )
        fingerprint = fingerprint or _hash(images, np.asarray(labels))
        names = range(len(images)) if ids is None else ids
        names = np.array([str(name) for name in names])
        # In place of a copy of all images, only their positions are drawn.
        self.index = _subset(len(images), max_images, seed)
        self.images, self.labels, self.ids = images, np.asarray(labels), names
        self.sample_id = names[self.index[0]]
        self.settings = {
            "fingerprint": fingerprint,
            "images": len(self.index),
            "subset_seed": seed if len(self.index) < len(images) else None,
            **({} if shown is None else {SHOWN: dict(shown)}),
        }

    def __len__(self) -> int:
        return len(self.index)

    def only(self, ids: Sequence[str], labels: np.ndarray) -> "CleanImages | None":
        """The images of these names alone.

        Args:
            ids: sequence of str. Names of images, whatever the format of their files.
            labels: int array. The class of each.

        Returns:
            `CleanImages`, or None if one of them is not here or of another class.
        """
        places = {name: place for place, name in enumerate(image_names(self.ids))}
        chosen = [places.get(name) for name in image_names(ids)]
        if None in chosen or np.any(self.labels[chosen] != labels):
            return None
        these = copy.copy(self)
        these.index = np.sort(chosen)
        these.sample_id = self.ids[these.index[0]]
        these.settings = {
            **self.settings,
            "images": len(chosen),
            "subset_seed": "that of the corrupted images",
        }
        return these

    def batches(self, cell: Cell, batch_size: int) -> Iterator[Batch]:
        """Gives the clean images."""
        for start in range(0, len(self.index), batch_size):
            chosen = self.index[start : start + batch_size]
            yield Batch(self.images[chosen], self.labels[chosen], self.ids[chosen])

    def shuffled(self, seed: int) -> "CleanImages":
        """Gives the same images in a random order."""
        these = copy.copy(self)
        these.index = np.random.default_rng(seed).permutation(self.index)
        these.settings = {**self.settings, "order_seed": seed}
        return these

    def place(self, name: str) -> int:
        """The position of the image that has this id, among all."""
        return int(np.flatnonzero(self.ids == name)[0])

    def picture(self, cell: Cell, name: str) -> np.ndarray:
        """Gives a clean image."""
        return self.images[self.place(name)]


class OnlineImages:
    """Clean images and their corruptions, computed while they are shown.

    Args:
        clean: `CleanImages`.
        cells: sequence of `Cell`. The corrupted cells.
        seed: int. Seed of the corruptions. Defaults to `0`.
        jpeg: bool. Whether corrupted images are compressed as JPEG of quality 85, as
            the published sets were when they were stored. Defaults to `False`.
        corrupt: callable. Has the signature of `v1keras.corruptions.corrupt`, which is
            the default.

    Example:

    >>> clean = CleanImages(np.zeros((8, 64, 64, 3), "uint8"), np.zeros(8, int))
    >>> images = OnlineImages(clean, [Cell("fog", 1), Cell("fog", 2)])
    >>> len(images.cells)
    3
    """

    fingerprints: ClassVar[dict[Cell, str]] = {}

    def __init__(
        self,
        clean: CleanImages,
        cells: Sequence[Cell],
        *,
        seed: int = 0,
        jpeg: bool = False,
        corrupt: Callable[..., np.ndarray] = corrupt,
    ) -> None:
        self.cells = (CLEAN, *(cell for cell in cells if cell != CLEAN))
        how = f"online, seed {seed}" + (", JPEG" if jpeg else "")
        self.settings = {"clean": clean.settings, "corrupted": how}
        self.sample_id = clean.sample_id
        self._clean, self._seed, self._jpeg = clean, seed, jpeg
        self._corrupt = corrupt

    def batches(self, cell: Cell, batch_size: int) -> Iterator[Batch]:
        """Gives the images of a cell; the result for an image depends on it alone."""
        start = 0
        for batch in self._clean.batches(CLEAN, batch_size):
            index = self._clean.index[start : start + len(batch.images)]
            start += len(batch.images)
            yield batch._replace(images=self._shown(batch.images, cell, index))

    def picture(self, cell: Cell, name: str) -> np.ndarray:
        """Gives an image of a cell."""
        image = self._clean.picture(CLEAN, name)
        return self._shown(image[None], cell, np.array([self._clean.place(name)]))[0]

    def shuffled(self, seed: int) -> "OnlineImages":
        """Gives the same images in a random order, equal in all cells."""
        these = copy.copy(self)
        these._clean = self._clean.shuffled(seed)
        these.settings = {**self.settings, "clean": these._clean.settings}
        return these

    def _shown(self, images: np.ndarray, cell: Cell, index: np.ndarray) -> np.ndarray:
        """Clean images at these positions, as a cell shows them."""
        if cell == CLEAN:
            return images
        images = self._corrupt(
            images, cell.corruption, cell.severity, seed=self._seed, index=index
        )
        return (
            jpeg_compression(images, STORED_JPEG_QUALITY, ()) if self._jpeg else images
        )


class StoredImages:
    """Clean images, and a corrupted set that is stored.

    Args:
        clean: `CleanImages`.
        stored: a `v1keras.data.CorruptedSet`, or anything with its `cells`,
            `read(corruption, severity)` and `fingerprint(corruption, severity)`.
        max_images: int or None. How many images of each cell to keep, drawn at random
            and the same in all cells, the clean one among them where the names and
            classes of images tell which these are. Defaults to all.
        seed: int. Of that draw. Defaults to `0`.

    Raises:
        ValueError: if `stored` has more images of a class than there are clean ones.
    """

    def __init__(
        self,
        clean: CleanImages,
        stored: Any,
        *,
        max_images: int | None = None,
        seed: int = 0,
    ) -> None:
        self.cells = (CLEAN, *(Cell(*cell) for cell in stored.cells))
        first = stored.read(*self.cells[1])
        _check_counts(first.labels, clean.labels)
        self._index = _subset(len(first.labels), max_images, seed)
        self._names = dict(zip(image_names(clean.ids), clean.ids, strict=True))
        names = np.array([str(name) for name in first.ids])
        if max_images is not None:
            chosen = first.labels[self._index]
            clean = clean.only(names[self._index], chosen) or clean
        self._clean, self._stored = clean, stored
        self.sample_id = self._clean_ids(names)[self._index[0]]
        # Each cell by itself, so that a set may grow.
        self.fingerprints = {
            cell: stored.fingerprint(*cell) for cell in self.cells if cell != CLEAN
        }
        self.settings = {
            "clean": clean.settings,
            "corrupted": {
                "images": len(self._index),
                "subset_seed": seed if len(self._index) < len(names) else None,
            },
        }

    def batches(self, cell: Cell, batch_size: int) -> Iterator[Batch]:
        """Gives the images of a cell."""
        if cell == CLEAN:
            yield from self._clean.batches(CLEAN, batch_size)
            return
        split = self._stored.read(*cell)
        ids = self._clean_ids(split.ids)
        for start in range(0, len(self._index), batch_size):
            chosen = self._index[start : start + batch_size]
            yield Batch(split.images[chosen], split.labels[chosen], ids[chosen])

    def picture(self, cell: Cell, name: str) -> np.ndarray:
        """Gives an image of a cell."""
        if cell == CLEAN:
            return self._clean.picture(CLEAN, name)
        split = self._stored.read(*cell)
        place = np.flatnonzero(self._clean_ids(split.ids) == name)[0]
        return split.images[place]

    def shuffled(self, seed: int) -> "StoredImages":
        """Gives the same images in a random order, equal in all corrupted cells."""
        these = copy.copy(self)
        these._clean = self._clean.shuffled(seed)
        these._index = np.random.default_rng(seed).permutation(self._index)
        these.settings = {**self.settings, "clean": these._clean.settings}
        return these

    def _clean_ids(self, ids: Sequence[str]) -> np.ndarray:
        """What the clean images are called that have these names, else the names."""
        pairs = zip(image_names(ids), ids, strict=True)
        return np.array([self._names.get(name, str(own)) for name, own in pairs])


def open_images(
    config: EvaluateConfig, dataset: ImageDataset
) -> tuple[CellImages, tuple[Cell, ...]]:
    """The test images that a configuration asks for.

    Args:
        config: `EvaluateConfig`.
        dataset: `ImageDataset`.

    Returns:
        A tuple of `CellImages` and of the cells to measure, the clean one first. The
        images have all of them unless `config.allow_partial`.

    Raises:
        FileNotFoundError: if there is no such corrupted set.
        ValueError: if it lacks some of the cells, or is not of these images.
    """
    subset = {"max_images": config.max_images, "seed": config.seed}
    test = dataset.split("test")
    clean = CleanImages(
        test.images,
        test.labels,
        ids=test.ids,
        fingerprint=dataset.fingerprint,
        shown={
            "image_size": dataset.image_size,
            "crop_fraction": dataset.crop_fraction,
        },
        **subset,
    )
    if config.corrupted == CLEAN_ONLY:
        return clean, clean.cells
    names = tuple(map(canonical_name, config.corruptions)) or BENCHMARK
    cells = corrupted_cells(names, sorted(set(config.severities)))
    planned = tuple(dict.fromkeys((CLEAN, *cells)))
    if config.corrupted == ONLINE:
        return OnlineImages(clean, cells, seed=config.seed, jpeg=config.jpeg), planned
    whole = not config.corruptions and len(cells) == len(BENCHMARK) * len(SEVERITIES)
    stored = open_corrupted(
        config.corrupted,
        dataset.class_names,
        image_size=dataset.image_size,
        # What was asked for need not be the whole set.
        allow_partial=config.allow_partial or not whole,
        data_dir=config.data_dir,
    )
    if stored.defect:
        say(stored.defect)
    images = StoredImages(clean, stored, **subset)
    missing = [str(cell) for cell in planned if cell not in images.cells]
    if missing and not config.allow_partial:
        raise ValueError(
            "`corrupted` must hold all cells, unless `allow_partial` is True. "
            f"Received: corrupted={config.corrupted} without {', '.join(missing)}"
        )
    return images, planned


def image_names(ids: Sequence[str]) -> list[str]:
    """Names of images that do not depend on the format of their files."""
    names = [str(PurePosixPath(str(name)).with_suffix("")) for name in ids]
    return names if len(set(names)) == len(names) else list(map(str, ids))


def _check_counts(corrupted: np.ndarray, clean: np.ndarray) -> None:
    """Refuses a corrupted set that shows more images of a class than there are."""
    classes = max(corrupted.max(), clean.max()) + 1
    there, here = (
        np.bincount(labels, minlength=classes) for labels in (corrupted, clean)
    )
    if np.any(there > here):
        worst = int(np.argmax(there - here))
        raise ValueError(
            "`corrupted` must show at most as many images of a class as there are clean "
            f"test images. Received: {there[worst]} corrupted images of class {worst} in "
            f"a cell, {here[worst]} clean ones"
        )


def _subset(count: int, max_images: int | None, seed: int) -> np.ndarray:
    """Sorted positions of at most `max_images` of `count` images."""
    if max_images is not None and max_images < 1:
        raise ValueError(
            f"`max_images` must be at least 1. Received: max_images={max_images}"
        )
    if max_images is None or max_images >= count:
        return np.arange(count)
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(count, max_images, replace=False))


def _hash(*arrays: np.ndarray) -> str:
    """A digest of arrays, or of what is indexed like one, a part at a time."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr((array.shape, str(array.dtype))).encode())
        for start in range(0, len(array), _HASHED_AT_ONCE):
            part = array[start : start + _HASHED_AT_ONCE]
            digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
