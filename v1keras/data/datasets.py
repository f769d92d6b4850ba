"""One way to open every data set: `load_dataset`."""

import dataclasses
import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from v1keras.data.decoding import read_header
from v1keras.data.folders import (
    FileList,
    counted,
    find_images,
    fingerprint,
    listed,
)
from v1keras.data.images import (
    EncodedImages,
    ImageFiles,
    UnusableImages,
    read_file,
    scaled_side,
)
from v1keras.data.shapes import SHAPES, draw_shapes
from v1keras.data.tfds import TfdsImages, open_builder

SPLITS = ("train", "validation", "test")
"""The names of the splits that a data set has, unless it has test images only."""

VALIDATION_SOURCES = ("fold", "test")
"""Where the images come from on which the choices of training are made."""

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
_TEST_FRACTION = 0.2
# Not the caller's seed: runs with different seeds must share their test images.
_TEST_SEED = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Labelled images.

    Attributes:
        name: str.
        images: uint8 RGB array (n, S, S, 3), or `EncodedImages`, which read like one,
            where the images are too many to be held in memory.
        labels: int32 array (n,).
        ids: tuple of str. A name for each image.
    """

    name: str
    images: np.ndarray | EncodedImages
    labels: np.ndarray
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.images) == len(self.labels) == len(self.ids):
            raise ValueError(
                "`images`, `labels` and `ids` must have one length. Received: "
                f"{len(self.images)}, {len(self.labels)}, {len(self.ids)}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def image_size(self) -> int:
        """Height and width of the images in pixels."""
        return self.images.shape[1]

    def subset(self, indices: np.ndarray, name: str | None = None) -> "Split":
        """A new split of the images at `indices`.

        Args:
            indices: int array (m,).
            name: str or None. The name of the new split; `None` keeps the name.

        Returns:
            A `Split` of m images.
        """
        encoded = isinstance(self.images, EncodedImages)
        return Split(
            name or self.name,
            self.images.subset(indices) if encoded else self.images[indices],
            self.labels[indices],
            tuple(self.ids[index] for index in indices),
        )

    def spread(self, count: int) -> "Split":
        """At most `count` images, evenly spaced, because classes are often in order."""
        indices = np.linspace(0, len(self) - 1, min(count, len(self)))
        return self.subset(np.unique(indices.round().astype(int)))

    def in_memory(self) -> "Split":
        """The same split with its images decoded into an array."""
        return dataclasses.replace(self, images=np.asarray(self.images))


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class ImageDataset:
    """A data set with the splits "train", "validation" and "test", or "test" alone.

    Made by `load_dataset`. Images are read when a split is asked for.

    Attributes:
        name: str. The name or path that it was opened by.
        class_names: tuple of str. Identifiers of the classes, by label. Of a set of test
            images only, those that have images.
        display_names: tuple of str. What a reader calls the classes.
        image_size: int. Height and width of the images in pixels.
        crop_fraction: float. The share of the shorter side that the images show; see
            `load_dataset`. Defaults to `1.0`.
        fingerprint: str. SHA-256 digest that tells different data apart.
        sources: dict. Functions that read "train" and "test" (and "validation"), "all"
            where the data do not tell them apart, or "test" alone where there are no
            others.
        validation_fraction: float. The share of the training images of each class that
            is held out for the split "validation".
        validation_source: str. "fold": validation images are held out from the
            training images; "test": they are the test images; "folder": the data set
            brings its own.
        seed: int. Draws the images that are held out.
        keep_in_memory: bool. Whether images are decoded once and kept.
        left_out: dict. The number of files of the folder that are not used, by kind.
    """

    name: str
    class_names: tuple[str, ...]
    display_names: tuple[str, ...]
    image_size: int
    fingerprint: str
    sources: dict[str, Callable[[], Split]]
    validation_fraction: float
    validation_source: str
    seed: int
    keep_in_memory: bool
    crop_fraction: float = 1.0
    left_out: dict[str, int] = dataclasses.field(default_factory=dict)
    _opened: dict[str, Split] = dataclasses.field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if "validation" in self.sources and self.validation_source == "fold":
            self.validation_source = "folder"

    def __repr__(self) -> str:
        return (
            f"<ImageDataset {self.name!r}, {len(self.class_names)} classes, "
            f"{self.image_size} px>"
        )

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def split_names(self) -> tuple[str, ...]:
        """`SPLITS`, or "test" alone where there are no images to train on."""
        return ("test",) if set(self.sources) == {"test"} else SPLITS

    @property
    def sizes(self) -> dict[str, int]:
        """The number of images in each split."""
        return {name: len(self._open(name)) for name in self.split_names}

    def require_training_images(self) -> None:
        """Refuses a set of test images only.

        Raises:
            ValueError: if it is one.
        """
        if self.split_names != SPLITS:
            raise ValueError(
                "`dataset` must have images to train on. Received: "
                f"dataset={self.name}, which has test images only"
            )

    def summary(self) -> str:
        """Classes, numbers of images and files that are left out, in one line."""
        images = ", ".join(f"{count} {name}" for name, count in self.sizes.items())
        text = (
            f"{self.name}: {self.num_classes} classes ({listed(self.class_names)}), "
            f"{images} images of {self.image_size} px"
        )
        if self.crop_fraction < 1:
            scaled = scaled_side(self.image_size, self.crop_fraction)
            text += f", the centre of {scaled} px"
        if self.left_out:
            text += f"; left out: {counted(self.left_out)}"
        return " ".join(text.split())

    def check_images(self) -> None:
        """Looks for damaged images in all splits.

        Images that are kept in memory are decoded, which `split` then need not do. Of
        others only the header and the end are looked at.

        Raises:
            UnusableImages: if images are damaged or of another kind; it names them all.
        """
        problems: dict[str, None] = {}
        for name in self.split_names:
            try:
                split = self.split(name)
                if isinstance(split.images, EncodedImages):
                    split.images.check()
            except UnusableImages as error:
                problems |= dict.fromkeys(error.problems)
        if problems:
            raise UnusableImages(list(problems))

    def split(self, name: str) -> Split:
        """Reads a split; the second call returns the same object.

        Args:
            name: str. "train", "validation" or "test".

        Returns:
            A `Split`.

        Raises:
            ValueError: if there is no such split or an image cannot be read.
        """
        if name not in self.split_names:
            raise ValueError(
                f"`name` must be one of {', '.join(self.split_names)}, the splits of "
                f"{self.name}. Received: name={name!r}"
            )
        split = self._open(name)
        if self.keep_in_memory and isinstance(split.images, EncodedImages):
            split = self._opened[name] = split.in_memory()
        return split

    def _open(self, name: str) -> Split:
        """The split with its images read or not."""
        if name not in self._opened:
            if name == "test":
                self._opened["test"] = self._test()
            elif self.validation_source == "fold":
                self._open_fold()
            elif name == "train":
                self._opened["train"] = self._development()
            elif self.validation_source == "test":
                self._opened[name] = dataclasses.replace(self.split("test"), name=name)
            else:
                self._opened[name] = self.sources["validation"]()
        return self._opened[name]

    def _test(self) -> Split:
        if "test" in self.sources:
            return self.sources["test"]()
        return self._divided()[1]

    def _development(self) -> Split:
        """All images that are not test images."""
        if "train" in self.sources:
            return self.sources["train"]()
        return self._divided()[0]

    def _divided(self) -> tuple[Split, Split]:
        """Training and test images where the data do not tell them apart."""
        whole = self.sources["all"]()
        kept, held_out = stratified_split(
            whole.labels, _TEST_FRACTION, seed=_TEST_SEED, class_names=self.class_names
        )
        return whole.subset(kept, "train"), whole.subset(held_out, "test")

    def _open_fold(self) -> None:
        whole = self._development()
        kept, held_out = stratified_split(
            whole.labels,
            self.validation_fraction,
            seed=self.seed,
            class_names=self.class_names,
        )
        self._opened["train"] = whole.subset(kept)
        self._opened["validation"] = whole.subset(held_out, "validation")


def stratified_split(
    labels: np.ndarray,
    fraction: float,
    *,
    seed: int,
    class_names: Sequence[str] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Divides images so that every class gives the same share.

    A class gives `round(fraction * n)` of its n images, but at least one, and keeps at
    least one.

    Args:
        labels: int array (n,).
        fraction: float. The share that is held out, between 0 and 1.
        seed: int. Which images, not negative.
        class_names: sequence of str or None. What messages call the classes; `None`
            takes the labels. Defaults to `None`.

    Returns:
        A tuple `(kept, held_out)` of sorted index arrays.

    Raises:
        ValueError: if a class has fewer than two images.
    """
    found, counts = np.unique(labels, return_counts=True)
    if (counts < 2).any():
        single = [
            str(label) if class_names is None else class_names[label]
            for label in found[counts < 2]
        ]
        raise ValueError(
            "Every class must have at least two images where some are held out. "
            f"Received: one image of {listed(single)}"
        )
    held_out = []
    for label in found:
        members = np.flatnonzero(labels == label)
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        # One stream a class: the draw does not depend on what other classes there are.
        rng = np.random.default_rng([seed, int(label)])
        held_out.append(rng.choice(members, size=count, replace=False))
    held_out = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


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


def decoded_gib(count: int, image_size: int) -> float:
    """The size of `count` decoded images in GiB."""
    return count * image_size**2 * 3 / 2**30


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
