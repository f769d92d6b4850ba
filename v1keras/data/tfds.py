"""Image classification sets of TensorFlow Datasets."""

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from v1keras.data.images import EncodedImages
from v1keras.quiet import without_warnings_of_tensorflow

_EXAMPLES_PER_CHUNK = 2048
# Bytes around a record: its size (8) with a checksum (4), and a checksum behind it.
_HEADER, _CHECKSUM = 12, 4
_PLACE = np.dtype([("file", np.int32), ("start", np.int64), ("size", np.int64)])
_PREPARE = "remove the folder of the data set, and it is prepared again"


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
        self._scans: dict[str, tuple[np.ndarray, np.ndarray]] = {}

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
            ValueError: if that takes a package that is not installed or files that must
                be fetched by hand, or it is stored in another format than TFRecord.
        """
        try:
            self.builder.download_and_prepare()
        except AssertionError as error:
            # With instructions of several lines, such as for ImageNet.
            raise ValueError(
                "`name` must be a set whose files are there. "
                f"Received: name={self.builder.name} ({' '.join(str(error).split())})"
            ) from error
        except ImportError as error:
            raise ValueError(
                "`name` must be a set whose packages are installed. "
                f"Received: name={self.builder.name} ({error})"
            ) from error
        if (form := self.builder.info.file_format.value) != "tfrecord":
            raise ValueError(
                "`name` must be a set that is stored as TFRecord, the default of "
                f"TensorFlow Datasets. Received: {self.builder.info.full_name} as {form}"
            )

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
        trained = {"train": "train"} if "train" in available else {}
        if labelled:
            return {**trained, "test": labelled[0]}
        if not trained:
            raise ValueError(
                f"{self.builder.info.full_name} must have a split `train`, or `test` or "
                f"`validation` with labels. Received: {sorted(available)}"
            )
        return {"all": "train"}

    def _is_labelled(self, split: str) -> bool:
        first = next(self._examples(split, 1), None)
        return first is not None and int(first[self.label_key][0]) >= 0

    def count(self, split: str) -> int:
        """The number of images in a split."""
        return self.builder.info.splits[split].num_examples

    def fingerprint(self) -> str:
        """SHA-256 digest over name, version and the size of every split."""
        info = self.builder.info
        parts = [info.full_name]
        for name, split in sorted(info.splits.items()):
            parts += [name, str(split.num_examples), str(split.num_bytes)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def labels(self, split: str) -> np.ndarray:
        """The labels of a split in its order, int32 (n,)."""
        return self._scan(split)[0]

    def open(
        self, split: str, image_size: int, crop_fraction: float = 1.0
    ) -> tuple["TfdsRecords", np.ndarray]:
        """Opens a split without decoding its images.

        Args:
            split: str. Its name in TensorFlow Datasets.
            image_size: int. Height and width of the images in pixels.
            crop_fraction: float. See `fit_image`. Defaults to `1.0`.

        Returns:
            A tuple `(images, labels)`: `TfdsRecords` and int32 (n,).
        """
        labels, places = self._scan(split)
        files = tuple(map(str, self.builder.info.splits[split].filepaths))
        images = TfdsRecords(files, self.image_key, places, image_size, crop_fraction)
        return images, labels

    def _scan(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Label and place of each example of a split; see `TfdsRecords`.

        Reads its files once, which also compares all checksums.
        """
        if split not in self._scans:
            files = self.builder.info.splits[split].filepaths
            number = {file.name: index for index, file in enumerate(files)}
            records = [_records(file) for file in files]
            labels, places = [], []
            for examples in self._examples(split, _EXAMPLES_PER_CHUNK):
                labels.append(examples[self.label_key].astype(np.int32))
                for name in examples["tfds_id"]:
                    # Such as cifar10-test.tfrecord-00000-of-00001__12.
                    file, _, position = name.decode().rpartition("__")
                    index = number[file]
                    places.append((index, *records[index][int(position)]))
            self._scans[split] = np.concatenate(labels), np.array(places, _PLACE)
        return self._scans[split]

    def _examples(self, split: str, batch_size: int) -> Any:
        """Iterates over the examples of a split in batches, without their images."""
        import tensorflow_datasets as tfds

        with without_warnings_of_tensorflow():
            dataset = self.builder.as_dataset(
                split=split,
                shuffle_files=False,
                decoders=tfds.decode.PartialDecoding([self.label_key]),
                read_config=tfds.ReadConfig(add_tfds_id=True),
            )
        return iter(tfds.as_numpy(dataset.batch(batch_size)))


class TfdsRecords(EncodedImages):
    """`EncodedImages` in TFRecord files, as TensorFlow Datasets stores them.

    Args:
        files: tuple of str. Paths of the files.
        image_key: str. The feature that holds an image.
        places: structured array (N,): number of the file, offset and size in bytes.
        image_size: int. Height and width of the images in pixels.
        crop_fraction: float. See `fit_image`. Defaults to `1.0`.
    """

    def __init__(
        self,
        files: tuple[str, ...],
        image_key: str,
        places: np.ndarray,
        image_size: int,
        crop_fraction: float = 1.0,
    ) -> None:
        super().__init__(places, image_size, crop_fraction)
        self._files, self._image_key = files, image_key

    def _content(self, place: np.void) -> tuple[bytes, str]:
        import tensorflow as tf
        from google.protobuf.message import DecodeError

        path, start = Path(self._files[place["file"]]), int(place["start"])
        name = f"{path}, byte {start}"
        with path.open("rb") as file:
            file.seek(start)
            record = file.read(int(place["size"]))
        try:
            example = tf.train.Example.FromString(record)
            (content,) = example.features.feature[self._image_key].bytes_list.value
        except (DecodeError, ValueError) as error:
            raise ValueError(f"{name} is damaged ({error}); {_PREPARE}") from error
        return content, name


def _records(file: os.PathLike) -> list[tuple[int, int]]:
    """Where the records of a TFRecord file begin, and their sizes, in bytes.

    Each stands between its size with a checksum of that, and a checksum of its own.
    """
    records = []
    with Path(file).open("rb") as stream:
        end = os.fstat(stream.fileno()).st_size
        start = _HEADER
        while start <= end:
            size = int.from_bytes(stream.read(_HEADER)[:8], "little")
            records.append((start, size))
            start = stream.seek(size + _CHECKSUM, os.SEEK_CUR) + _HEADER
    return records
