"""Image classification sets of TensorFlow Datasets."""

import hashlib
import itertools
import os
from typing import Any

import numpy as np

from v1keras.data.decoding import decode_image
from v1keras.data.images import fit_image, read_many

_EXAMPLES_PER_CHUNK = 2048


def open_builder(name: str, data_dir: str | os.PathLike | None) -> Any:
    """Opens a builder of TensorFlow Datasets without downloading anything.

    Args:
        name: str. The name, with a configuration and a version where wanted:
            `cifar10`, `imagenet2012:5.1.0`, `cifar10_corrupted/fog_1`.
        data_dir: str, path or None. Where prepared data sets are kept. `None` is
            the folder that TensorFlow Datasets uses.

    Returns:
        A `tfds.core.DatasetBuilder`.

    Raises:
        ValueError: if there is no such data set.
    """
    # Imported here because it takes seconds, and most users need no data set of it.
    try:
        import tensorflow_datasets as tfds
    except ModuleNotFoundError as error:
        raise ValueError(
            f"A data set that is no folder needs TensorFlow Datasets, which must be "
            f"installed. Received: name={name!r} ({error})"
        ) from error
    try:
        return tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "none"
        raise ValueError(
            f"`name` must be in TensorFlow Datasets. Received: name={name!r} ({reason})"
        ) from error


class TfdsImages:
    """The images and labels of one data set of TensorFlow Datasets.

    Args:
        builder: `tfds.core.DatasetBuilder`.

    Raises:
        ValueError: if it is not an image classification set.
    """

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self.image_key, self.label_key = self._keys()

    def _keys(self) -> tuple[str, str]:
        import tensorflow_datasets as tfds

        features = self.builder.info.features
        items = dict(features.items()) if hasattr(features, "items") else {}
        images = [k for k, f in items.items() if type(f) is tfds.features.Image]
        labels = [
            k for k, f in items.items() if isinstance(f, tfds.features.ClassLabel)
        ]
        # Where there are several labels, `label` is the one meant for classification.
        preferred = [key for key in labels if key == "label"] or labels
        if len(images) != 1 or len(preferred) != 1:
            raise ValueError(
                "`name` must be a set with one image and one class label. "
                f"Received: {self.builder.info.full_name} with {sorted(items)}"
            )
        return images[0], preferred[0]

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.builder.info.features[self.label_key].names)

    @property
    def image_size(self) -> int | None:
        """Height and width in pixels where all images are square and of one size."""
        height, width, _ = self.builder.info.features[self.image_key].shape
        return height if height == width else None

    def prepare(self) -> None:
        """Downloads and prepares the data set if that has not been done.

        Raises:
            ValueError: if that takes a package that is not installed.
        """
        try:
            self.builder.download_and_prepare()
        except ImportError as error:
            raise ValueError(
                "`name` must be a set whose packages are installed. "
                f"Received: name={self.builder.name} ({error})"
            ) from error

    def roles(self) -> dict[str, str]:
        """Names of its splits by their role here.

        "test" is `test` if that is labelled, else `validation`. "train" is `train`.
        A set without labelled test images has only the role "all", one without `train`
        only the role "test".

        Raises:
            ValueError: if it has none of these splits with labels.
        """
        available = self.builder.info.splits
        labelled = [
            name
            for name in ("test", "validation")
            if name in available and self._is_labelled(name)
        ]
        if "train" in available:
            test = {"test": labelled[0]} if labelled else {}
            return {"train": "train", **test} if test else {"all": "train"}
        if not labelled:
            raise ValueError(
                f"{self.builder.info.full_name} must have a split `train`, or `test` or "
                f"`validation` with labels. Received: {sorted(available)}"
            )
        return {"test": labelled[0]}

    def _is_labelled(self, split: str) -> bool:
        first = next(self._examples(split), None)
        return first is not None and int(first[self.label_key]) >= 0

    def count(self, split: str) -> int:
        """The number of images in a split."""
        return self.builder.info.splits[split].num_examples

    def labels(self, split: str) -> np.ndarray:
        """The labels of a split in its order, int32 (n,); its images are not decoded."""
        labels = (int(example[self.label_key]) for example in self._examples(split))
        return np.fromiter(labels, np.int32, count=self.count(split))

    def fingerprint(self) -> str:
        """SHA-256 digest over name, version and the size of every split."""
        info = self.builder.info
        parts = [info.full_name]
        for name, split in sorted(info.splits.items()):
            parts += [name, str(split.num_examples), str(split.num_bytes)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def read(
        self, split: str, image_size: int, crop_fraction: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Reads a split into memory.

        Args:
            split: str. Its name in TensorFlow Datasets.
            image_size: int. Height and width of the images in pixels.
            crop_fraction: float. See `fit_image`. Defaults to `1.0`.

        Returns:
            A tuple `(images, labels)`: uint8 (n, image_size, image_size, 3) and int32
            (n,).
        """
        count = self.count(split)
        images = np.empty((count, image_size, image_size, 3), np.uint8)
        labels = np.empty(count, np.int32)
        examples = self._examples(split)
        for start in range(0, count, _EXAMPLES_PER_CHUNK):
            chunk = list(itertools.islice(examples, _EXAMPLES_PER_CHUNK))
            stop = start + len(chunk)
            labels[start:stop] = [example[self.label_key] for example in chunk]

            def read(i: int, chunk: list = chunk, start: int = start) -> np.ndarray:
                name = f"{self.builder.info.full_name} {split} image {start + i}"
                image = decode_image(chunk[i][self.image_key], name)
                return fit_image(image, image_size, name, crop_fraction)

            read_many(read, images[start:stop])
        return images, labels

    def _examples(self, split: str) -> Any:
        """Iterates over the examples of a split; images stay encoded."""
        import tensorflow_datasets as tfds

        dataset = self.builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={self.image_key: tfds.decode.SkipDecoding()},
        )
        return iter(tfds.as_numpy(dataset))
