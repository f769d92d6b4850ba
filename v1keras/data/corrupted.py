"""Stored corrupted test sets: ImageNet-C, CIFAR-C and their relatives.

Hendrycks & Dietterich 2019 (arXiv 1903.12261) published their benchmarks as finished
images. A set has one cell for each corruption and severity, and every cell shows the
same images: the test images of ImageNet or CIFAR, but not of Tiny ImageNet, whose set was
made from other photographs of ImageNet in the same way
(https://github.com/hendrycks/robustness/issues/39).
"""

import abc
import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from v1keras.corruptions import BENCHMARK, SEVERITIES, canonical_name
from v1keras.data.folders import (
    check_classes,
    class_folders,
    fingerprint,
    image_files,
    list_classes,
)
from v1keras.data.images import (
    EncodedImages,
    ImageFiles,
    decoded_gib,
    fit_image,
    read_many,
)
from v1keras.data.splits import Split
from v1keras.data.tfds import TfdsImages, open_builder
from v1keras.reading import read_array

_ACCEPTED = (
    "`path` must be a folder in the layout of ImageNet-C "
    "(corruption/severity/class/ or category/corruption/severity/class/), a folder "
    "with the .npy files of CIFAR-10-C or CIFAR-100-C, or the name of a corrupted set "
    "of TensorFlow Datasets such as tfds:cifar10_corrupted"
)
# The archives hold indices only; these are the classes that the first ten mean.
_CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship",
    "truck",
)  # fmt: skip
# The archive of Tiny ImageNet-C has folders of all classes of ImageNet here.
_WITH_FURTHER_CLASSES = "frost"
_DOWNLOAD = "fetch the data set again"
# Of each cell, at equal distances.
_HASHED_IMAGES = 64
# Images, labels and ids of a cell.
_Cell = tuple[np.ndarray | EncodedImages, np.ndarray, Iterable[str]]


@dataclasses.dataclass(eq=False)
class CorruptedSet(abc.ABC):
    """A stored corrupted test set; opened by `open_corrupted`.

    Args:
        name: str. The path or name that it was opened by.
        class_names: tuple of str. The classes of the model, by label.
        image_size: int. Height and width of the images that are read, in pixels.
        sources: dict. Where each cell (corruption, severity) is stored.

    Attributes:
        defect: str. A known defect of the set as it is published, in one line, and what
            was done about it; empty if there is none.
    """

    name: str
    class_names: tuple[str, ...]
    image_size: int
    sources: dict[tuple[str, int], str]
    defect: str = dataclasses.field(default="", init=False)
    _counts: np.ndarray | None = dataclasses.field(default=None, init=False)

    @property
    def cells(self) -> tuple[tuple[str, int], ...]:
        """Pairs of corruption and severity, in the order of the benchmark."""
        return tuple(self.sources)

    def read(self, corruption: str, severity: int) -> Split:
        """Reads one cell.

        Args:
            corruption: str. The name of the corruption.
            severity: int. 1 to 5.

        Returns:
            A `Split`. Its images are those of every other cell, in the same order;
            `ids` names them.

        Raises:
            ValueError: if there is no such cell, if it has more or fewer images of a
                class than another cell, or one that cannot be read.
        """
        if (corruption, severity) not in self.sources:
            raise ValueError(
                "`corruption` and `severity` must be those of a stored cell. "
                f"Received: corruption={corruption!r}, severity={severity}"
            )
        images, labels, ids = self._read(self.sources[corruption, severity], severity)
        counts = np.bincount(labels, minlength=len(self.class_names))
        self._check_counts(counts, (corruption, severity))
        return Split(f"{corruption}/{severity}", images, labels, tuple(ids))

    def fingerprint(self, corruption: str, severity: int) -> str:
        """What changes with the images of a cell, without reading all of them.

        Args:
            corruption: str. The name of the corruption.
            severity: int. 1 to 5.
        """
        return self._fingerprint(self.sources[corruption, severity], severity)

    @abc.abstractmethod
    def _fingerprint(self, source: str, severity: int) -> str:
        """That of the cell that is stored at `source`."""

    @abc.abstractmethod
    def _read(self, source: str, severity: int) -> _Cell:
        """The cell that is stored at `source`."""

    def _check_counts(self, counts: np.ndarray, cell: tuple[str, int]) -> None:
        """Refuses a cell that has other numbers of images of a class than the first."""
        if self._counts is None:
            self._counts = counts
        different = np.flatnonzero(counts != self._counts)
        if different.size:
            label = different[0]
            raise ValueError(
                "Every cell must show the same images. Received: "
                f"{counts[label]} of class {self.class_names[label]} in {cell[0]} "
                f"{cell[1]}, {self._counts[label]} in others of {self.name}"
            )


@dataclasses.dataclass(eq=False)
class _FolderSet(CorruptedSet):
    """corruption/severity/class/*.JPEG, as ImageNet-C and Tiny ImageNet-C."""

    memory_limit: float

    def __post_init__(self) -> None:
        is_alone = {name for name, _ in self.sources} == {_WITH_FURTHER_CLASSES}
        further = set()
        for cell, folder in self.sources.items():
            found = set(class_folders(Path(folder)))
            if cell[0] == _WITH_FURTHER_CLASSES and not is_alone:
                further |= found - set(self.class_names)
                found -= further
            check_classes(sorted(found), self.class_names, folder)
            self._check_counts(_count_images(Path(folder), self.class_names), cell)
        if further:
            self.defect = (
                f"{self.name}: {_WITH_FURTHER_CLASSES} holds {len(further)} classes that "
                "other corruptions lack, as published "
                "(https://github.com/hendrycks/robustness/issues/60); they are left out."
            )

    def _fingerprint(self, source: str, severity: int) -> str:
        files = list_classes(Path(source), self.class_names)
        return fingerprint({"": files}, hashed=_HASHED_IMAGES)

    def _read(self, source: str, severity: int) -> _Cell:
        files = list_classes(Path(source), self.class_names)
        images = ImageFiles(files.paths, self.image_size)
        return _within(self.memory_limit, images), files.labels, files.ids


@dataclasses.dataclass(eq=False)
class _NpySet(CorruptedSet):
    """One array a corruption, severities one after the other, and `labels.npy`."""

    def __post_init__(self) -> None:
        self._labels = read_array(
            Path(self.name) / "labels.npy", _DOWNLOAD, dtype=np.integer, shape=(None,)
        )
        count = len(self._labels)
        if not count or count % len(SEVERITIES) or self._labels.min() < 0:
            raise ValueError(
                "`labels.npy` must hold as many labels, from 0 on, for each of the 5 "
                f"severities. Received: shape {self._labels.shape}, minimum "
                f"{self._labels.min(initial=0)} in {self.name}/labels.npy"
            )
        place = f"{self.name}/labels.npy"
        _check_indexed_classes(self.class_names, int(self._labels.max()) + 1, place)
        for path in sorted(set(self.sources.values())):
            self._open_archive(path)

    def _open_archive(self, path: str) -> np.ndarray:
        shape = (len(self._labels), None, None, 3)
        return read_array(path, _DOWNLOAD, dtype=np.uint8, shape=shape, mmap=True)

    def _fingerprint(self, source: str, severity: int) -> str:
        part = self._part(severity)
        stored = self._open_archive(source)[part]
        digest = hashlib.sha256(repr(stored.shape).encode())
        digest.update(np.ascontiguousarray(self._labels[part]).data)
        for image in stored[:: -(-len(stored) // _HASHED_IMAGES)]:
            digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def _part(self, severity: int) -> slice:
        count = len(self._labels) // len(SEVERITIES)
        return slice((severity - 1) * count, severity * count)

    def _read(self, source: str, severity: int) -> _Cell:
        part = self._part(severity)
        stored = self._open_archive(source)[part]
        count = len(stored)
        images = np.empty((count, self.image_size, self.image_size, 3), np.uint8)
        read_many(lambda i: fit_image(np.asarray(stored[i]), self.image_size), images)
        return images, self._labels[part].astype(np.int32), map(str, range(count))


@dataclasses.dataclass(eq=False)
class _TfdsSet(CorruptedSet):
    """One configuration a cell, as `cifar10_corrupted/fog_1`."""

    data_dir: str | os.PathLike | None
    memory_limit: float

    def _fingerprint(self, source: str, severity: int) -> str:
        # A version of TensorFlow Datasets does not change.
        return open_builder(source, self.data_dir).info.full_name

    def _read(self, source: str, severity: int) -> _Cell:
        data = TfdsImages(open_builder(source, self.data_dir))
        names = data.class_names
        if _are_indices(names):
            _check_indexed_classes(self.class_names, len(names), source)
            new_label = np.arange(len(names), dtype=np.int32)
        else:
            check_classes(names, self.class_names, source)
            new_label = np.array([self.class_names.index(n) for n in names], np.int32)
        data.prepare()
        split = "test" if "test" in data.builder.info.splits else "validation"
        images, labels = data.open(split, self.image_size)
        images = _within(self.memory_limit, images)
        return images, new_label[labels], map(str, range(len(labels)))


def _within(memory_limit: float, images: EncodedImages) -> np.ndarray | EncodedImages:
    """The images, decoded where that fits into a limit in GiB."""
    fits = decoded_gib(len(images), images.image_size) <= memory_limit
    return np.asarray(images) if fits else images


def open_corrupted(
    path: str | os.PathLike,
    class_names: Sequence[str],
    *,
    image_size: int,
    allow_partial: bool = False,
    data_dir: str | os.PathLike | None = None,
    memory_limit: float = 4.0,
) -> CorruptedSet:
    """Opens a stored corrupted test set for a model.

    Understood are folders in the layout of ImageNet-C and Tiny ImageNet-C
    (`fog/1/<class>/*.JPEG`, also below the categories in which ImageNet-C is
    published), the archives of CIFAR-10-C and CIFAR-100-C (`fog.npy` and
    `labels.npy`), and corrupted sets of TensorFlow Datasets (`tfds:cifar10_corrupted`,
    `tfds:imagenet2012_corrupted`). Names of corruptions in other spellings are mapped
    by `v1keras.corruptions.canonical_name`. The four extra corruptions, which no
    benchmark figure contains, are left out. So are the classes that `frost` of the
    published Tiny ImageNet-C has beyond those of other corruptions.

    Images are scaled to `image_size` and not cropped, which was done when the set was
    made.

    Args:
        path: str or path. The folder, or the name in TensorFlow Datasets.
        class_names: sequence of str. The classes of the model by label. Folders are
            matched by name. CIFAR's archives hold indices: the classes must be in
            CIFAR's (alphabetical) order.
        image_size: int. Height and width of the images in pixels.
        allow_partial: bool. Whether fewer than 15 x 5 cells will do. Defaults to
            `False`.
        data_dir: str, path or None. Where TensorFlow Datasets keeps its data.
        memory_limit: float. How many GiB (2**30 bytes) of decoded images of a cell may
            be held in memory; beyond, they are read from files when they are used.
            Defaults to `4.0`.

    Returns:
        A `CorruptedSet`.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if it is no corrupted set, cells are missing, or classes or counts
            do not fit.

    Example:

    >>> from v1keras.corruptions import CorruptionsConfig, write_corrupted
    >>> from v1keras.data import load_dataset
    >>> clean = load_dataset("shapes:24:24")
    >>> config = CorruptionsConfig(dataset="shapes:24:24", out="shapes-c")
    >>> path = write_corrupted(config, clean)
    >>> stored = open_corrupted(path, clean.class_names, image_size=64)
    >>> split = stored.read("fog", 3)
    >>> len(stored.cells), len(split)
    (75, 24)
    """
    if image_size < 1:
        raise ValueError(
            f"`image_size` must be positive. Received: image_size={image_size}"
        )
    name = os.fspath(path)
    folder = Path(name).expanduser()
    if folder.is_dir():
        name = str(folder)
        # Without what some systems leave beside a file, such as ._fog.npy.
        archives = sorted(folder.glob("[!.]*.npy"))
        found = _npy_cells(archives) if archives else _folder_cells(folder)
    elif re.fullmatch(r"(tfds:)?[a-z]\w*", name):
        name = name.removeprefix("tfds:")
        found = _tfds_cells(name)
    else:
        raise FileNotFoundError(
            f"{_ACCEPTED}. Received: path={name}, which is no folder"
        )
    sources = _benchmark_cells(found, name, allow_partial)
    common = (name, tuple(class_names), image_size, sources)
    if not folder.is_dir():
        return _TfdsSet(*common, data_dir, memory_limit)
    return _NpySet(*common) if archives else _FolderSet(*common, memory_limit)


def _benchmark_cells(
    found: list[tuple[str, int, str]], name: str, allow_partial: bool
) -> dict[tuple[str, int], str]:
    """Sorts cells (name of the corruption, severity, source) into the benchmark's."""
    by_cell: dict[tuple[str, int], str] = {}
    for stored_name, severity, source in found:
        cell = canonical_name(stored_name), severity
        if cell in by_cell:
            raise ValueError(
                "`path` must hold every cell once. Received: "
                f"{cell[0]} {severity} in {by_cell[cell]} and in {source}"
            )
        by_cell[cell] = source
    wanted = [(c, s) for c in BENCHMARK for s in SEVERITIES]
    missing = [f"{c} {s}" for c, s in wanted if (c, s) not in by_cell]
    if len(missing) == len(wanted):
        raise ValueError(
            f"{_ACCEPTED}. Received: path={name}, with no cell of a benchmark"
        )
    if missing and not allow_partial:
        raise ValueError(
            "`path` must hold the benchmark's 15 x 5 cells unless `allow_partial` is "
            f"True. Received: path={name}, without {', '.join(missing)}"
        )
    return {cell: by_cell[cell] for cell in wanted if cell in by_cell}


def _folder_cells(folder: Path) -> list[tuple[str, int, str]]:
    cells = []
    for name in class_folders(folder):
        inner = class_folders(folder / name)
        if _severities(inner):
            candidates = [folder / name]
        else:
            candidates = [folder / name / corruption for corruption in inner]
        for candidate in candidates:
            for severity in _severities(class_folders(candidate)):
                source = candidate / str(severity)
                cells.append((candidate.name, severity, str(source)))
    return cells


def _severities(names: Iterable[str]) -> list[int]:
    return [severity for severity in SEVERITIES if str(severity) in names]


def _npy_cells(archives: list[Path]) -> list[tuple[str, int, str]]:
    by_name = {path.stem: path for path in archives}
    if by_name.pop("labels", None) is None:
        raise ValueError(
            "`path` must hold labels.npy beside the archives of CIFAR-C. "
            f"Received: path={archives[0].parent}"
        )
    return [
        (name, severity, str(path))
        for name, path in by_name.items()
        for severity in SEVERITIES
    ]


def _tfds_cells(name: str) -> list[tuple[str, int, str]]:
    import tensorflow_datasets as tfds

    try:
        configs = tfds.builder_cls(name).BUILDER_CONFIGS
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"{_ACCEPTED}. Received: path={name}") from error
    parts = [config.name.rpartition("_") for config in configs]
    return [
        (stem, int(severity), f"{name}/{stem}_{severity}")
        for stem, _, severity in parts
        if severity.isdigit()
    ]


def _count_images(folder: Path, class_names: Sequence[str]) -> np.ndarray:
    """The number of images of each class, whose content is not looked at."""
    return np.array([len(image_files(folder / name, {})[0]) for name in class_names])


def _are_indices(names: Sequence[str]) -> bool:
    return list(names) == [str(index) for index in range(len(names))]


def _check_indexed_classes(class_names: Sequence[str], count: int, place: str) -> None:
    """Checks that labels which are bare indices mean the classes of the model."""
    names = [name.lower() for name in class_names]
    if len(names) != count:
        raise ValueError(
            f"`class_names` must name every class of {place}, and no other. "
            f"Received: {len(names)} names, labels of {count} classes"
        )
    ordered = list(_CIFAR10) if count == len(_CIFAR10) else sorted(names)
    if names != ordered and not _are_indices(names):
        raise ValueError(
            f"`class_names` must be CIFAR's classes in alphabetical order, whose indices "
            f"are the labels of {place}. Received: {', '.join(names[:10])}"
        )
