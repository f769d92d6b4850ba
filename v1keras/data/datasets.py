"""One way to open every data set: `load_dataset`."""

import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from v1keras.data.decoding import read_header
from v1keras.data.folders import FileList, find_images, fingerprint
from v1keras.data.images import ImageFiles, decoded_gib, read_file
from v1keras.data.shapes import SHAPES, draw_shapes
from v1keras.data.splits import VALIDATION_SOURCES, ImageDataset, Split
from v1keras.data.tfds import TfdsImages, open_builder

_ACCEPTED = (
    "`name` must be shapes (or shapes:TRAIN:TEST with numbers of images), a folder "
    "(the Tiny ImageNet layout, train/ and val/ with class folders, test/ alone, or "
    "class folders only) or the name of an image classification set of TensorFlow "
    "Datasets"
)
# cifar10, imagenet2012:5.1.0, cifar10_corrupted/fog_1:1.0.0
_TFDS_NAME = r"[a-z]\w*(/[\w.\-]+)?(:\d+\.\d+\.\d+)?"
_SHAPES_COUNTS, _SHAPES_SIZE = (4800, 1200), 64
_IMAGE_SIZE_OF_MIXED = 224
# ImageNet is published as photographs of any size, whose classes are called by the
# offsets of WordNet; its benchmarks show the central 224 of 256 pixels (Hendrycks &
# Dietterich 2019 made ImageNet-C from these).
_WORDNET_ID = r"n\d{8}"
IMAGENET_CROP_FRACTION = 0.875


def load_dataset(
    name: str | os.PathLike,
    *,
    image_size: int | None = None,
    crop_fraction: float | None = None,
    validation_fraction: float = 0.05,
    validation_source: str = "fold",
    seed: int = 0,
    data_dir: str | os.PathLike | None = None,
    memory_limit: float = 4.0,
) -> ImageDataset:
    """Opens a data set by its name or path.

    | name | training images | test images |
    |---|---|---|
    | `shapes` | 4800 drawn ones | 1200 other drawn ones |
    | `shapes:N:M` | N drawn ones | M other drawn ones |
    | folder with `val/val_annotations.txt` | `train/` | `val/` |
    | folder with `train/` | `train/` | `test/` if labelled, else `val/` |
    | folder with `test/` or `val/` only | none | these |
    | folder with class folders only | 80 % of each class | the other 20 % |
    | TensorFlow Datasets | `train`, if there is one | `test` if labelled, else `validation` |

    Whatever is chosen during training is chosen on the split "validation", which is a
    stratified fold of the training images, drawn by `seed`, and not part of the split
    "train". A folder that has `train/`, `val/` and a labelled `test/` brings its own.
    The test images depend on no seed. A set without training images has the split
    "test" alone and the classes that have images there: 200 of the 1000 that
    `imagenet_r` and `imagenet_a` name.

    Args:
        name: str or path. See the table.
        image_size: int or None. Height and width in pixels. `None` takes the size of
            the images if they are square and of one size, else 224.
        crop_fraction: float or None. The shorter side is scaled to
            `image_size / crop_fraction` pixels, then the centre is cropped. `None` is
            0.875 for ImageNet and parts of it (classes such as `n01443537`, images of
            any size), else 1.
        validation_fraction: float. The share of the training images of each class that
            is held out as "validation". Defaults to `0.05`.
        validation_source: str. `"fold"` as above, or `"test"` to choose on the test
            images, as some papers do: then no training image is held out. Defaults to
            `"fold"`.
        seed: int. Draws the validation fold, not negative. Defaults to `0`.
        data_dir: str, path or None. Where TensorFlow Datasets keeps its data.
        memory_limit: float. How many GiB (2**30 bytes) of decoded images may be held in
            memory; beyond, they are read from their files again in each epoch. Defaults
            to `4.0`.

    Returns:
        An `ImageDataset`.

    Raises:
        FileNotFoundError: if a path does not exist.
        ValueError: if an argument is out of its range, the name is unknown, or the
            data set is unusable.

    Example:

    >>> dataset = load_dataset("shapes:240:60")
    >>> dataset.split("train").images.shape, dataset.sizes["validation"]
    ((228, 64, 64, 3), 12)
    """
    if image_size is not None and image_size < 1:
        raise ValueError(
            f"`image_size` must be positive. Received: image_size={image_size}"
        )
    if crop_fraction is not None and not 0 < crop_fraction <= 1:
        raise ValueError(
            "`crop_fraction` must be above 0 and at most 1. "
            f"Received: crop_fraction={crop_fraction}"
        )
    if not 0 < validation_fraction < 1:
        raise ValueError(
            "`validation_fraction` must lie between 0 and 1. "
            f"Received: validation_fraction={validation_fraction}"
        )
    if validation_source not in VALIDATION_SOURCES:
        raise ValueError(
            f"`validation_source` must be one of {', '.join(VALIDATION_SOURCES)}. "
            f"Received: validation_source={validation_source!r}"
        )
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0. Received: seed={seed}")
    name = os.fspath(name)
    if not name:
        raise ValueError(f"{_ACCEPTED}. Received: name={name!r}")
    if name.partition(":")[0] == "shapes":
        parts = _shapes_parts(name, image_size, crop_fraction)
    elif Path(name).expanduser().is_dir():
        parts = _folder_parts(name, image_size, crop_fraction, memory_limit)
    elif not re.fullmatch(_TFDS_NAME, name):
        raise FileNotFoundError(
            f"{_ACCEPTED}. Received: name={name!r}, which is no folder"
        )
    else:
        parts = _tfds_parts(name, image_size, crop_fraction, data_dir, memory_limit)
    return ImageDataset(
        name=name,
        validation_fraction=validation_fraction,
        validation_source=validation_source,
        seed=seed,
        **parts,
    )


def _shapes_parts(
    name: str, image_size: int | None, crop_fraction: float | None
) -> dict:
    if crop_fraction not in (None, 1):
        raise ValueError(
            "`crop_fraction` must be 1 for shapes, which are drawn in their size. "
            f"Received: crop_fraction={crop_fraction}"
        )
    try:
        counts = [int(part) for part in name.split(":")[1:]]
    except ValueError:
        counts = [0]
    if len(counts) > 2 or any(count < 2 * len(SHAPES) for count in counts):
        raise ValueError(
            "`name` must be shapes:TRAIN:TEST with up to two numbers of images, each at "
            f"least {2 * len(SHAPES)}. Received: name={name}"
        )
    train, test = [*counts, *_SHAPES_COUNTS[len(counts) :]]
    size = image_size or _SHAPES_SIZE

    # Another way of drawing is another data set: two images of each class tell.
    sample, _ = draw_shapes(2 * len(SHAPES), image_size=size)
    digest = hashlib.sha256(f"shapes {size} {train} {test}".encode() + sample.tobytes())
    return {
        "class_names": SHAPES,
        "display_names": SHAPES,
        "image_size": size,
        "fingerprint": digest.hexdigest(),
        "sources": {
            "train": functools.partial(_draw, "train", train, size, seed=0),
            "test": functools.partial(_draw, "test", test, size, seed=1),
        },
        "keep_in_memory": True,
    }


def _draw(role: str, count: int, size: int, seed: int) -> Split:
    images, labels = draw_shapes(count, image_size=size, seed=seed)
    return Split(role, images, labels, tuple(f"{role}/{i}" for i in range(count)))


def _folder_parts(
    name: str,
    image_size: int | None,
    crop_fraction: float | None,
    memory_limit: float,
) -> dict:
    folders = find_images(name)
    # All headers may have to be read for it: asked only where it decides something.
    common = functools.cache(functools.partial(_common_size, folders.splits))
    size = image_size or common() or _IMAGE_SIZE_OF_MIXED
    crop = crop_fraction or _usual_crop_fraction(folders.class_names, common)

    sources = {
        role: functools.partial(
            Split, role, ImageFiles(files.paths, size, crop), files.labels, files.ids
        )
        for role, files in folders.splits.items()
    }
    count = sum(len(files.paths) for files in folders.splits.values())
    return {
        "class_names": folders.class_names,
        "display_names": folders.display_names,
        "image_size": size,
        "crop_fraction": crop,
        "fingerprint": fingerprint(folders.splits),
        "sources": sources,
        "keep_in_memory": decoded_gib(count, size) <= memory_limit,
        "left_out": folders.left_out,
    }


def _usual_crop_fraction(
    class_names: Sequence[str], common_size: Callable[[], int | None]
) -> float:
    has_wordnet_ids = all(re.fullmatch(_WORDNET_ID, name) for name in class_names)
    is_imagenet = has_wordnet_ids and common_size() is None
    return IMAGENET_CROP_FRACTION if is_imagenet else 1.0


def _common_size(splits: dict[str, FileList]) -> int | None:
    """The size of the images, if it is one and square."""
    size = None
    for files in splits.values():
        for path in files.paths:
            try:
                header = read_header(read_file(path), path)
            except ValueError:
                continue  # reported with all others when they are read
            if header.height != header.width or size not in (None, header.height):
                return None
            size = header.height
    return size


def _tfds_parts(
    name: str,
    image_size: int | None,
    crop_fraction: float | None,
    data_dir: str | os.PathLike | None,
    memory_limit: float,
) -> dict:
    try:
        source = TfdsImages(open_builder(name, data_dir))
    except ValueError as error:
        raise ValueError(
            f"{_ACCEPTED}. Received: name={name!r}, of which TensorFlow Datasets says: "
            f"{error}"
        ) from error
    source.prepare()
    size = image_size or source.image_size or _IMAGE_SIZE_OF_MIXED
    crop = crop_fraction or _usual_crop_fraction(
        source.class_names, lambda: source.image_size
    )
    roles = source.roles()
    class_names = source.class_names
    present = np.arange(len(class_names))
    if set(roles) == {"test"}:
        present = np.unique(source.labels(roles["test"]))
        class_names = tuple(class_names[label] for label in present)
    count = sum(source.count(split) for split in roles.values())
    sources = {
        role: functools.partial(_open_records, source, role, split, size, crop, present)
        for role, split in roles.items()
    }
    return {
        "class_names": class_names,
        "display_names": tuple(n.replace("_", " ") for n in class_names),
        "image_size": size,
        "crop_fraction": crop,
        "fingerprint": source.fingerprint(),
        "sources": sources,
        "keep_in_memory": decoded_gib(count, size) <= memory_limit,
    }


def _open_records(
    source: TfdsImages,
    role: str,
    split: str,
    size: int,
    crop_fraction: float,
    present: np.ndarray,
) -> Split:
    images, labels = source.open(split, size, crop_fraction)
    labels = np.searchsorted(present, labels).astype(np.int32)
    return Split(
        role, images, labels, tuple(f"{split}/{i}" for i in range(len(labels)))
    )
