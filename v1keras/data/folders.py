"""Where the images and labels of a data set on disk are.

Four layouts are understood: the official one of Tiny ImageNet, `train/` beside
`val/` or `test/` (or synonyms) with one folder for each class, one of these without
`train/`, and class folders alone.
"""

import collections
import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from v1keras.data.decoding import read_orientation
from v1keras.data.images import SUFFIXES, read_file
from v1keras.reading import read_text

# Training, training_set, seg_train, Test, testing, valid, validation-images, ...
_SPLIT_FOLDER = re.compile(
    r"(?:seg_)?(?:(train|training)|(test|testing)|(val|valid|validation))"
    r"(?:[ _-]?(?:set|data|images))?",
    re.IGNORECASE,
)
_ROLES = ("train", "test", "val")
_USUAL_NAMES = ("train", "test", "val", "validation")
_HASHED_FILES = 1024
_DOWNLOAD = "fetch the data set again"
# Archives and network drives keep copies and thumbnails of images in such folders.
_OF_SYSTEMS = ("__MACOSX", "@eaDir")
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
            alone where the folders do not tell training from test images, and "test"
            alone where there are no others.
        left_out: dict. The number of files that are not in any split, by kind
            ("*.gif").
    """

    class_names: tuple[str, ...]
    display_names: tuple[str, ...]
    splits: dict[str, FileList]
    left_out: dict[str, int]


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
    left_out: collections.Counter[str] = collections.Counter()
    if (root / "val" / "val_annotations.txt").is_file():
        class_names, splits = _tiny_imagenet(root, left_out)
    elif split_folders := _split_folders(root):
        class_names, splits = _train_and_held_out(root, split_folders, left_out)
    else:
        class_names = _classes(root)
        splits = {"all": _list_training(root, class_names, left_out)}
    display_names = _display_names(root, class_names)
    return Folders(class_names, display_names, splits, dict(left_out))


def class_folders(folder: Path) -> tuple[str, ...]:
    """The sorted names of the folders in `folder`, hidden ones left out."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not _is_hidden(e.name)]
    return tuple(sorted(names))


def list_classes(
    folder: Path,
    class_names: Sequence[str],
    left_out: collections.Counter[str] | None = None,
) -> FileList:
    """Lists the images of class folders, by class, then by name.

    Links are followed.

    Args:
        folder: path. The folder that holds one folder for each class.
        class_names: sequence of str. The classes in the order of their labels.
        left_out: `Counter` or None. Counts the files that are not listed, by kind.
            Defaults to `None`.

    Returns:
        A `FileList`.

    Raises:
        ValueError: if a class has no images, or links lead to a folder twice.
    """
    paths, labels = [], []
    seen: dict[str, str] = {}
    for label, name in enumerate(class_names):
        found, others = image_files(folder / name, seen)
        if left_out is not None:
            left_out.update(others)
        if not found:
            raise ValueError(
                f"Every class must have images (*{', *'.join(SUFFIXES)}). Received: "
                f"no image in {folder / name}{_only(others)}"
            )
        paths += found
        labels += [label] * len(found)
    if left_out is not None and (loose := _loose_images(folder)):
        left_out["images outside of class folders"] += loose
    ids = tuple(Path(path).relative_to(folder).as_posix() for path in paths)
    return FileList(tuple(paths), np.array(labels, np.int32), ids)


def fingerprint(splits: dict[str, FileList], *, hashed: int = _HASHED_FILES) -> str:
    """A digest that differs when the images of a data set differ.

    It covers the name and the size in bytes of every file, and of some files of each
    split at equal distances the content and how it is turned when it is read: cheap for
    any size of data set.

    Args:
        splits: dict of `FileList` by name.
        hashed: int. Of how many files of a split, at most. Defaults to 1024.

    Returns:
        str. A SHA-256 digest, 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, files in sorted(splits.items()):
        step = -(-len(files.paths) // hashed)
        for index, path in enumerate(files.paths):
            size = os.stat(path).st_size  # noqa: PTH116
            line = [name, files.ids[index], int(files.labels[index]), size]
            digest.update(repr(line).encode())
            if index % step == 0:
                content = read_file(path)
                digest.update(hashlib.sha256(content).digest())
                # Version 0.1.0 did not turn images: its runs saw others.
                if (orientation := read_orientation(content)) != 1:
                    digest.update(f"turned {orientation}".encode())
    return digest.hexdigest()


def image_files(
    folder: Path, seen: dict[str, str]
) -> tuple[list[str], collections.Counter[str]]:
    """The image files below `folder`, sorted, and how many other files there are.

    Args:
        folder: path.
        seen: dict. The folders that were read before, by their real path; extended.

    Raises:
        OSError: if a folder cannot be read.
        ValueError: if links lead to a folder twice.
    """
    found, others = [], collections.Counter()
    for parent, inner, names in os.walk(folder, onerror=_raise, followlinks=True):
        # Such as .ipynb_checkpoints, which holds copies of the images around it.
        inner[:] = [name for name in inner if not _is_hidden(name)]
        place = os.path.realpath(parent)
        if place in seen:
            # A link to a folder around it would be followed without end, and one to
            # another class would give its images two labels.
            raise ValueError(
                "Every folder of images must be there once. Received: "
                f"{parent}, a link to {seen[place]}"
            )
        seen[place] = parent
        for name in names:
            if _is_hidden(name):
                continue
            if name.lower().endswith(SUFFIXES):
                found.append(os.path.join(parent, name))  # noqa: PTH118
            else:
                ending = os.path.splitext(name)[1].lower()  # noqa: PTH122
                others[f"*{ending}" if ending else "without an ending"] += 1
    return sorted(found), others


def _is_hidden(name: str) -> bool:
    """Whether a file or folder is of a system or a program, not of the data set."""
    return name.startswith(".") or name in _OF_SYSTEMS


def _raise(error: OSError) -> None:
    raise error


def _only(others: collections.Counter[str]) -> str:
    return f", only {counted(others)}" if others else ""


def counted(kinds: dict[str, int]) -> str:
    """Numbers of files by kind, such as "12 *.gif, 3 *.heic"."""
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _loose_images(folder: Path) -> int:
    """The number of images that lie in no folder."""
    with os.scandir(folder) as entries:
        return sum(e.name.lower().endswith(SUFFIXES) and e.is_file() for e in entries)


def _classes(folder: Path) -> tuple[str, ...]:
    """The classes of a folder whose class folders say which there are: at least two."""
    names = class_folders(folder)
    if len(names) < 2:
        images = _loose_images(folder)
        what = f"the class folder {names[0]} alone" if names else "no class folders"
        holds = f"{images} images and {what}" if images else what
        question = "; did you mean its parent?" if images and not names else ""
        raise ValueError(
            "`name` must be a folder with at least two class folders. "
            f"Received: {folder}, which holds {holds}{question}"
        )
    return names


def _list_training(
    folder: Path, class_names: Sequence[str], left_out: collections.Counter[str]
) -> FileList:
    """`list_classes`, if the class folders look like classes."""
    files = list_classes(folder, class_names, left_out)
    parts = [name.split("/") for name in files.ids]
    if all(len(part) > 2 for part in parts):
        inner: dict[str, set[str]] = collections.defaultdict(set)
        for part in parts:
            inner[part[0]].add(part[1])
        common = set.intersection(*inner.values())
        # One is normal: Tiny ImageNet keeps the images of each class in images/.
        if len(common) > 1:
            raise ValueError(
                "Class folders must hold the images of one class. Received: "
                f"{folder}, whose folders {listed(class_names)} hold nothing but "
                f"the same folders, {listed(sorted(common))}; are these the classes?"
            )
    return files


def _split_folders(root: Path) -> dict[str, list[Path]]:
    """The folders of training and held-out images by role, if `root` has such.

    A class may be called "Train": without held-out images beside it, or with images
    instead of folders in it, it is one.
    """
    names = class_folders(root)
    matches = {name: _SPLIT_FOLDER.fullmatch(name) for name in names}
    found: dict[str, list[Path]] = {role: [] for role in _ROLES}
    for name, match in matches.items():
        # ImageNet's test/ has no class folders because its labels are not public.
        if match and class_folders(root / name):
            found[_ROLES[match.lastindex - 1]].append(root / name)
    for role, folders in found.items():
        if len(folders) > 1:
            usual = [folder for folder in folders if folder.name in _USUAL_NAMES]
            if not usual:
                raise ValueError(
                    f"`name` must hold one folder of {role} images. Received: "
                    f"name={root} with {listed([f.name for f in folders])}"
                )
            found[role] = usual
    is_divided = bool(found["train"] and (found["test"] or found["val"]))
    if "train" in names or is_divided or (names and all(matches.values())):
        return found
    return {}


def _tiny_imagenet(
    root: Path, left_out: collections.Counter[str]
) -> tuple[tuple[str, ...], dict[str, FileList]]:
    if not (root / "train").is_dir():
        raise ValueError(
            f"`name` must hold train/ beside val/val_annotations.txt. Received: name={root}"
        )
    class_names = _classes(root / "train")
    label_of = {name: label for label, name in enumerate(class_names)}
    annotations = root / "val" / "val_annotations.txt"
    rows = []
    lines = read_text(annotations, _DOWNLOAD).splitlines()
    for number, line in enumerate(lines, start=1):
        fields = line.split("\t")
        if len(fields) < 2:
            raise ValueError(
                "`val_annotations.txt` must hold a file name, a tab and a class in each line. "
                f"Received: line {number} of {annotations}"
            )
        if Path(fields[0]).name != fields[0]:
            raise ValueError(
                "`val_annotations.txt` must name files of val/images. "
                f"Received: {fields[0]} in line {number} of {annotations}"
            )
        # Other classes are skipped: a subset is made by removing training folders.
        if fields[1] in label_of:
            rows.append((label_of[fields[1]], fields[0]))
    rows.sort()
    empty = set(range(len(class_names))) - {label for label, _ in rows}
    if empty:
        raise ValueError(
            "`val_annotations.txt` must name images of every class. Received: none for "
            f"{listed([class_names[label] for label in sorted(empty)])} in {annotations}"
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
    train = _list_training(root / "train", class_names, left_out)
    return class_names, {"train": train, "test": test}


def _train_and_held_out(
    root: Path,
    folders: dict[str, list[Path]],
    left_out: collections.Counter[str],
) -> tuple[tuple[str, ...], dict[str, FileList]]:
    held_out = folders["test"] + folders["val"]
    if held_out and not folders["train"]:
        test = _unwrapped(held_out[0])
        class_names = _classes(test)
        return class_names, {"test": _list_training(test, class_names, left_out)}
    if not held_out:
        raise ValueError(
            "`name` must hold train/ and val/ or test/ (or synonyms), all with class "
            f"folders. Received: name={root} with {listed(class_folders(root))}"
        )
    train = _unwrapped(folders["train"][0])
    class_names = _classes(train)
    splits = {"train": _list_training(train, class_names, left_out)}
    for role, outer in zip(("test", "validation"), held_out, strict=False):
        folder = _unwrapped(outer)
        check_classes(class_folders(folder), class_names, folder)
        splits[role] = list_classes(folder, class_names, left_out)
    return class_names, splits


def _unwrapped(folder: Path) -> Path:
    """The inner folder where archives hold seg_train/seg_train/."""
    return folder / folder.name if class_folders(folder) == (folder.name,) else folder


def check_classes(
    found: Sequence[str], expected: Sequence[str], place: str | os.PathLike
) -> None:
    """Raises a `ValueError` that names the differences between two sets of classes."""
    missing = sorted(set(expected) - set(found))
    unknown = sorted(set(found) - set(expected))
    if missing or unknown:
        parts = [f"missing there: {listed(missing)}"] if missing else []
        parts += [f"only there: {listed(unknown)}"] if unknown else []
        raise ValueError(
            f"Class folders must be the same everywhere. Received: {place}, "
            f"{'; '.join(parts)}"
        )


def listed(names: Sequence[str]) -> str:
    """The first five names, and how many more there are."""
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"


def _display_names(root: Path, class_names: Sequence[str]) -> tuple[str, ...]:
    """The first word of each class in ImageNet's `words.txt`, else the folder name."""
    words = root / "words.txt"
    meanings = {}
    if words.is_file():
        for line in read_text(words, _DOWNLOAD).splitlines():
            wnid, _, meaning = line.partition("\t")
            meanings[wnid] = meaning
    short = [meanings.get(name, name).split(",")[0].strip() for name in class_names]
    # Two classes of ImageNet are called "crane": these keep their long names.
    return tuple(
        meanings.get(name, name) if short.count(word) > 1 else word
        for name, word in zip(class_names, short, strict=True)
    )
