"""A data set, its splits, and how a share of each class is held out."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from v1keras.data.folders import counted, listed
from v1keras.data.images import EncodedImages, UnusableImages, scaled_side

SPLITS = ("train", "validation", "test")
"""The names of the splits that a data set has, unless it has test images only."""

VALIDATION_SOURCES = ("fold", "test")
"""Where the images come from on which the choices of training are made."""

# Test images of a data set that brings none. Not the caller's seed: runs with different
# seeds must share them.
_TEST_FRACTION, _TEST_SEED = 0.2, 0


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
