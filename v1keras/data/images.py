"""Encoded images to uint8 RGB arrays of one size."""

import abc
import copy
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import cv2
import numpy as np

from v1keras.data.decoding import check_end, check_length, decode_image, read_header

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Endings of the files that count as images, in lower case."""

_FILES_PER_TASK = 64
_T = TypeVar("_T")
_LISTED_PROBLEMS = 100


class UnusableImages(ValueError):
    """Several images that cannot be used, all named.

    Args:
        problems: sequence of str. One message for each image.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        shown = self.problems[:_LISTED_PROBLEMS]
        if len(self.problems) > len(shown):
            shown.append(f"and {len(self.problems) - len(shown)} others")
        count = len(self.problems)
        start = [f"{count} images cannot be used."] if count > 1 else []
        super().__init__(" ".join(start + shown))


def scaled_side(image_size: int, crop_fraction: float) -> int:
    """What the shorter side of an image is scaled to before its centre is cropped.

    Args:
        image_size: int. Height and width of the crop, in pixels.
        crop_fraction: float. The share of the shorter side that the crop keeps, above 0
            and at most 1.

    Example:

    >>> from v1keras.data.images import scaled_side
    >>> scaled_side(224, 0.875)
    256
    """
    return max(image_size, round(image_size / crop_fraction))


def decoded_gib(count: int, image_size: int) -> float:
    """The size of `count` decoded images in GiB."""
    return count * image_size**2 * 3 / 2**30


def fit_image(
    image: np.ndarray,
    image_size: int,
    name: str = "an image",
    crop_fraction: float = 1.0,
) -> np.ndarray:
    """Scales the shorter side to `scaled_side(...)` and crops the centre.

    Reductions average over the area of each new pixel (antialiased), enlargements
    are bilinear. An image that fits already is returned as it is.

    Args:
        image: uint8 array (height, width, 3).
        image_size: int. The new height and width in pixels.
        name: str. What to call the image in messages. Defaults to `"an image"`.
        crop_fraction: float. The share of the shorter side that is kept. Defaults to
            `1.0`.

    Returns:
        uint8 array (image_size, image_size, 3).

    Raises:
        ValueError: if it would have more than `MAX_PIXELS` before the crop.
    """
    height, width = image.shape[:2]
    scaled = scaled_side(image_size, crop_fraction)
    check_length(height, width, scaled, name)
    shorter = min(height, width)
    if shorter != scaled:
        scale = scaled / shorter
        new_width = max(scaled, round(width * scale))
        new_height = max(scaled, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (new_width, new_height), interpolation=method)
        height, width = new_height, new_width
    top, left = (height - image_size) // 2, (width - image_size) // 2
    return image[top : top + image_size, left : left + image_size]


def read_image(
    path: str | os.PathLike,
    image_size: int | None = None,
    crop_fraction: float = 1.0,
) -> np.ndarray:
    """Reads one image file.

    Args:
        path: str or path. The file.
        image_size: int or None. Height and width of the result in pixels (see
            `fit_image`); `None` keeps the size of the file. Defaults to `None`.
        crop_fraction: float. See `fit_image`. Defaults to `1.0`.

    Returns:
        uint8 RGB array (height, width, 3).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an acceptable image.
    """
    image = decode_image(read_file(path), str(path))
    if image_size is None:
        return image
    return fit_image(image, image_size, str(path), crop_fraction)


def read_file(path: str | os.PathLike) -> bytes:
    """The content of a file; pipes and devices, which may never end, are refused."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
        raise ValueError(f"An image must be a file. Received: {path}")
    return Path(path).read_bytes()


def read_many(read: Callable[[int], np.ndarray], out: np.ndarray) -> np.ndarray:
    """Fills `out[i] = read(i)` for all i, in parallel threads.

    Threads are enough: OpenCV and file reading release Python's lock.

    Args:
        read: callable from an index to one image.
        out: array whose first axis runs over the images.

    Returns:
        `out`.

    Raises:
        UnusableImages: if `read` raised a `ValueError`; it tells them all.
    """

    def fill(index: int) -> None:
        out[index] = read(index)

    for_each(fill, len(out))
    return out


def for_each(do: Callable[[int], object], count: int) -> None:
    """Calls `do(i)` for i in 0..count - 1, in parallel threads.

    Args:
        do: callable that takes an index.
        count: int. How many calls.

    Raises:
        UnusableImages: if `do` raised a `ValueError`; it tells them all.
    """

    workers = os.cpu_count() or 1
    # Few images, which may be large, are shared out evenly.
    at_once = max(1, min(_FILES_PER_TASK, -(-count // workers)))

    def run(start: int) -> list[str]:
        problems = []
        for index in range(start, min(start + at_once, count)):
            try:
                do(index)
            except ValueError as error:
                problems.append(str(error))
        return problems

    starts = range(0, count, at_once)
    if len(starts) < 2:
        problems = [problem for start in starts for problem in run(start)]
    else:
        with ThreadPoolExecutor(workers) as pool:
            problems = [problem for part in pool.map(run, starts) for problem in part]
    if problems:
        raise UnusableImages(problems)


def read_ahead(items: Iterable[_T]) -> Iterator[_T]:
    """Prepares the next item in a thread while the current one is used.

    Args:
        items: iterable, of which no item is `None`.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(next, iterator, None)
        while (item := pending.result()) is not None:
            pending = pool.submit(next, iterator, None)
            yield item


class EncodedImages(abc.ABC):
    """A stack of encoded images on disk that reads like a uint8 array (N, S, S, 3).

    Indexing with a slice or integers reads and decodes these images; `numpy.asarray`
    reads all. Used in place of an array where the decoded images would not fit into
    memory.

    Args:
        places: array (N,). Where each image is.
        image_size: int. Height and width of the images in pixels.
        crop_fraction: float. See `fit_image`. Defaults to `1.0`.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, places: np.ndarray, image_size: int, crop_fraction: float = 1.0
    ) -> None:
        self._places = places
        self.image_size = image_size
        self.crop_fraction = crop_fraction

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self._places), self.image_size, self.image_size, 3

    @property
    def nbytes(self) -> int:
        """Size of the decoded images in bytes."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        places = self._places[key]
        if np.ndim(places) == 0:
            return self._image(places)
        out = np.empty((len(places), *self.shape[1:]), np.uint8)
        return read_many(lambda index: self._image(places[index]), out)

    def _image(self, place: Any) -> np.ndarray:
        content, name = self._content(place)
        image = decode_image(content, name)
        return fit_image(image, self.image_size, name, self.crop_fraction)

    @abc.abstractmethod
    def _content(self, place: Any) -> tuple[bytes, str]:
        """One encoded image, and what to call it in messages.

        Raises:
            ValueError: if it cannot be read.
        """

    def __array__(
        self, dtype: np.dtype | None = None, copy: bool | None = None
    ) -> np.ndarray:
        images = self[:]
        return images if dtype is None else images.astype(dtype, copy=False)

    def check(self) -> None:
        """Reads headers and ends of the images without decoding them.

        Raises:
            UnusableImages: if images are damaged there or too large.
        """
        shorter_side = scaled_side(self.image_size, self.crop_fraction)

        def check(index: int) -> None:
            content, name = self._content(self._places[index])
            read_header(content, name, shorter_side)
            check_end(content, name)

        for_each(check, len(self))

    def subset(self, indices: np.ndarray) -> Self:
        """The images at `indices`, not yet read."""
        these = copy.copy(self)
        these._places = self._places[indices]
        return these


class ImageFiles(EncodedImages):
    """`EncodedImages` in files of their own.

    Args:
        paths: sequence of paths.
        image_size: int. Height and width of the images in pixels.
        crop_fraction: float. See `fit_image`. Defaults to `1.0`.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike],
        image_size: int,
        crop_fraction: float = 1.0,
    ) -> None:
        # Strings take a third of the memory of paths, which counts for millions.
        places = np.array([os.fspath(path) for path in paths], dtype=object)
        super().__init__(places, image_size, crop_fraction)

    def _content(self, place: str) -> tuple[bytes, str]:
        return read_file(place), place
