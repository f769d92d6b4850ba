"""Where the images and labels of a data set on disk are.

Three layouts are understood: the official one of Tiny ImageNet, `train/` beside
`val/` or `test/` with one folder for each class, and class folders alone.
"""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from v1keras.data.images import SUFFIXES

_HELD_OUT = ("test", "val", "validation")
_HASHED_FILES = 1024
# `os.path` instead of `Path` in the loops over files (the marked lines): it is several
# times faster, which counts for the million files of ImageNet.


@dataclasses.dataclass(frozen=True, eq=False)
class FileList:
    """Labelled image files.

    Attributes:
        paths: tuple of str. The files.
        labels: int32 array (n,).
        ids: tuple of str. The names of the files relative to the data set.
    """

    paths: tuple[str, ...]
    labels: np.ndarray
    ids: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Folders:
    """A data set on disk.

    Attributes:
        class_names: tuple of str. Names of the class folders, sorted.
        display_names: tuple of str. What a reader calls the classes.
        splits: dict. `FileList` by the name "train", "test" or "validation"; "all"
            alone where the folders do not tell training from test images.
    """

    class_names: tuple[str, ...]
    display_names: tuple[str, ...]
    splits: dict[str, FileList]


def find_images(root: str | os.PathLike) -> Folders:
    """Finds out the layout of a folder and lists its images.

    Args:
        root: str or path. The folder of the data set.

    Returns:
        A `Folders`.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if its layout is not understood, a class has no images or the
            classes of its parts differ.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"`name` must be a folder. Received: name={root}")
    if (root / "val" / "val_annotations.txt").is_file():
        class_names, splits = _tiny_imagenet(root)
    elif (root / "train").is_dir():
        class_names, splits = _train_and_held_out(root)
    else:
        class_names = class_folders(root)
        splits = {"all": list_classes(root, class_names)}
    if len(class_names) < 2:
        raise ValueError(
            "`name` must be a folder with at least two class folders. "
            f"Received: name={root} with {len(class_names)}"
        )
    return Folders(class_names, _display_names(root, class_names), splits)


def class_folders(folder: Path) -> tuple[str, ...]:
    """The sorted names of the folders in `folder`, hidden ones left out."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and e.name[0] not in "._"]
    return tuple(sorted(names))


def list_classes(folder: Path, class_names: Sequence[str]) -> FileList:
    """Lists the images of class folders, by class, then by name.

    Args:
        folder: path. The folder that holds one folder for each class.
        class_names: sequence of str. The classes in the order of their labels.

    Returns:
        A `FileList`.

    Raises:
        ValueError: if a class has no images.
    """
    paths, labels = [], []
    for label, name in enumerate(class_names):
        found = _image_files(folder / name)
        if not found:
            raise ValueError(
                f"Every class must have images (*{', *'.join(SUFFIXES)}). "
                f"Received: no image in {folder / name}"
            )
        paths += found
        labels += [label] * len(found)
    ids = tuple(Path(path).relative_to(folder).as_posix() for path in paths)
    return FileList(tuple(paths), np.array(labels, np.int32), ids)


def fingerprint(splits: dict[str, FileList]) -> str:
    """A digest that differs when the images of a data set differ.

    It covers the name and the size in bytes of every file, and the content of 1024
    files of each split at equal distances: cheap for any size of data set.

    Args:
        splits: dict of `FileList` by name.

    Returns:
        str. A SHA-256 digest, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, files in sorted(splits.items()):
        step = -(-len(files.paths) // _HASHED_FILES)
        for index, path in enumerate(files.paths):
            size = os.stat(path).st_size  # noqa: PTH116
            line = [name, files.ids[index], int(files.labels[index]), size]
            digest.update(repr(line).encode())
            if index % step == 0:
                digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()


def _image_files(folder: Path) -> list[str]:
    """Image files below `folder`, sorted; `folder` itself may be missing."""
    found = []
    for parent, _, names in os.walk(folder):
        found += [
            os.path.join(parent, name)  # noqa: PTH118
            for name in names
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    return sorted(found)


def _tiny_imagenet(root: Path) -> tuple[tuple[str, ...], dict[str, FileList]]:
    if not (root / "train").is_dir():
        raise ValueError(
            f"`name` must hold train/ beside val/val_annotations.txt. Received: name={root}"
        )
    class_names = class_folders(root / "train")
    label_of = {name: label for label, name in enumerate(class_names)}
    annotations = root / "val" / "val_annotations.txt"
    rows = []
    for number, line in enumerate(annotations.read_text().splitlines(), start=1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise ValueError(
                "`val_annotations.txt` must hold a file name, a tab and a class in each line. "
                f"Received: line {number} of {annotations}"
            )
        # Other classes are skipped: a subset is made by removing training folders.
        if fields[1] in label_of:
            rows.append((label_of[fields[1]], fields[0]))
    rows.sort()
    empty = set(range(len(class_names))) - {label for label, _ in rows}
    if empty:
        raise ValueError(
            "`val_annotations.txt` must name images of every class. Received: none for "
            f"{_listed(class_names[label] for label in empty)} in {annotations}"
        )
    paths = tuple(str(root / "val" / "images" / name) for _, name in rows)
    missing = [path for path in paths if not os.path.isfile(path)]  # noqa: PTH113
    if missing:
        raise FileNotFoundError(
            f"`val_annotations.txt` must name images that exist. Received: {len(missing)} "
            f"images that do not, such as {missing[0]}"
        )
    test = FileList(
        paths,
        np.array([label for label, _ in rows], np.int32),
        tuple(f"{class_names[label]}/{name}" for label, name in rows),
    )
    train = list_classes(root / "train", class_names)
    return class_names, {"train": train, "test": test}


def _train_and_held_out(root: Path) -> tuple[tuple[str, ...], dict[str, FileList]]:
    class_names = class_folders(root / "train")
    splits = {"train": list_classes(root / "train", class_names)}
    # ImageNet's test/ has no class folders because its labels are not public.
    held_out = [
        name
        for name in _HELD_OUT
        if (root / name).is_dir() and class_folders(root / name)
    ]
    if not held_out:
        raise ValueError(
            "`name` must hold val/ or test/ with class folders beside train/. "
            f"Received: name={root}"
        )
    roles = dict(zip(("test", "validation"), held_out, strict=False))
    for role, name in roles.items():
        check_classes(class_folders(root / name), class_names, root / name)
        splits[role] = list_classes(root / name, class_names)
    return class_names, splits


def check_classes(
    found: Sequence[str], expected: Sequence[str], place: str | os.PathLike
) -> None:
    """Raises a `ValueError` that names the differences between two sets of classes."""
    missing = sorted(set(expected) - set(found))
    unknown = sorted(set(found) - set(expected))
    if missing or unknown:
        parts = [f"missing there: {_listed(missing)}"] if missing else []
        parts += [f"only there: {_listed(unknown)}"] if unknown else []
        raise ValueError(
            f"Class folders must be the same everywhere. Received: {place}, "
            f"{'; '.join(parts)}"
        )


def _listed(names: Sequence[str]) -> str:
    names = sorted(names)
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _display_names(root: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """The first word of each class in ImageNet's `words.txt`, else the folder name."""
    words = root / "words.txt"
    meanings = {}
    if words.is_file():
        for line in words.read_text(encoding="utf-8").splitlines():
            wnid, _, meaning = line.partition("\t")
            meanings[wnid] = meaning
    short = [meanings.get(name, name).split(",")[0].strip() for name in class_names]
    # Two classes of ImageNet are called "crane": these keep their long names.
    return tuple(
        meanings.get(name, name) if short.count(word) > 1 else word
        for name, word in zip(class_names, short, strict=True)
    )
