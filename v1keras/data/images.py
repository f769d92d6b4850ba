"""Image files to uint8 RGB arrays of one size."""

import dataclasses
import io
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff")
"""Endings of the files that count as images, in lower case."""

MAX_PIXELS = 2**25
"""Images that are larger, or would be once their shorter side is resized, are refused
before they are decoded: a small file can announce an image that fills the memory. 33.5
megapixels, 100 MB once decoded."""

_ACCEPTED = (
    "An image must be an 8-bit or 16-bit JPEG, PNG, BMP, WebP or TIFF in grey or RGB, "
    "without transparent pixels"
)
# How each format begins and what must stand in the second half of a whole file.
# OpenCV fills the missing part of a truncated file with grey and says nothing.
_END_MARKERS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG": b"IEND"}
# What Pillow calls these formats, how TIFF files begin, and two of their tags.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_TIFF_WIDTH, _TIFF_HEIGHT, _ORIENTATION = 256, 257, 274
_FILES_PER_TASK = 64
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


def decode_image(data: bytes, name: str) -> np.ndarray:
    """Decodes one encoded image.

    Grey images are repeated over the three channels, 16-bit ones are reduced to 8
    bits, and an alpha channel is dropped if every pixel is opaque. The image is turned
    as the orientation in its EXIF data says.

    Args:
        data: bytes. The content of the file.
        name: str. What to call the image in messages.

    Returns:
        uint8 RGB array (height, width, 3).

    Raises:
        ValueError: if the image cannot be read, is of another kind or has more than
            `MAX_PIXELS`.
    """
    header = read_header(data, name)
    image = None
    if _is_whole(data):
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            image = None
    if image is None:
        raise ValueError(_damaged(name))
    return _turned(_to_rgb(image, name), header.orientation)


def _to_rgb(image: np.ndarray, name: str) -> np.ndarray:
    if image.dtype == np.uint16:
        image = np.rint(image / 257.0).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"{_ACCEPTED}. Received: {image.dtype} pixels in {name}")
    if image.ndim == 2:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    channels = image.shape[-1]
    if channels == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if channels == 4 and image[..., 3].min() == 255:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)
    kind = "transparent pixels" if channels == 4 else f"{channels} channels"
    raise ValueError(f"{_ACCEPTED}. Received: {kind} in {name}")


@dataclasses.dataclass(frozen=True)
class Header:
    """What an encoded image announces.

    Attributes:
        height: int. In pixels, as stored.
        width: int. In pixels, as stored.
        orientation: int. How the stored pixels are to be turned, 1 (not) to 8, as EXIF
            numbers it.
    """

    height: int
    width: int
    orientation: int


def read_header(data: bytes, name: str, image_size: int = 1) -> Header:
    """Reads what an encoded image announces, without decoding it.

    Args:
        data: bytes. The content of the file.
        name: str. What to call the image in messages.
        image_size: int. What the shorter side will be resized to. Defaults to `1`.

    Returns:
        `Header`.

    Raises:
        ValueError: if there is no header of an image, or the image has more than
            `MAX_PIXELS`, or would have once it is resized.
    """
    try:
        if data[:4] in _TIFF_STARTS:
            # Pillow opens fewer kinds of pixels than OpenCV; the tags tell the size.
            # OpenCV turns TIFF images itself.
            tags = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
            file = io.BytesIO(data)
            file.seek(tags.next)
            tags.load(file)
            header = Header(int(tags[_TIFF_HEIGHT]), int(tags[_TIFF_WIDTH]), 1)
        else:
            with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
                exif = image.info.get("exif", b"")
                header = Header(image.height, image.width, _orientation(exif))
    except Image.DecompressionBombError:
        header = None
    except Exception as error:  # whatever Pillow raises on a damaged header
        raise ValueError(_damaged(name)) from error
    if header is None or header.height * header.width > MAX_PIXELS:
        raise ValueError(
            f"An image must have at most {MAX_PIXELS} pixels. Received: more in {name}"
        )
    check_length(header.height, header.width, image_size, name)
    return header


def check_length(height: int, width: int, image_size: int, name: str) -> None:
    """Refuses images that become too large once their shorter side is resized."""
    if max(height, width) > MAX_PIXELS // image_size**2 * min(height, width):
        raise ValueError(
            f"An image must have at most {MAX_PIXELS} pixels once its shorter side is "
            f"{image_size}. Received: {width} x {height} pixels in {name}"
        )


def _orientation(block: bytes) -> int:
    if not block:
        return 1
    exif = Image.Exif()
    try:
        exif.load(block)
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block, which viewers ignore
        return 1
    return value if value in range(1, 9) else 1


def _turned(image: np.ndarray, orientation: int) -> np.ndarray:
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def _is_whole(data: bytes) -> bool:
    for start, end in _END_MARKERS.items():
        if data.startswith(start):
            # Some writers leave padding after the end, hence not just the last bytes.
            return data.find(end, len(data) // 2) >= 0
    return True


def _damaged(name: str) -> str:
    return f"An image must be undamaged. Received: {name}, which cannot be read"


def fit_image(image: np.ndarray, image_size: int, name: str = "an image") -> np.ndarray:
    """Scales the shorter side to `image_size` and crops the centre.

    Reductions average over the area of each new pixel (antialiased), enlargements
    are bilinear. An image that fits already is returned as it is.

    Args:
        image: uint8 array (height, width, 3).
        image_size: int. The new height and width in pixels.
        name: str. What to call the image in messages. Defaults to `"an image"`.

    Returns:
        uint8 array (image_size, image_size, 3).

    Raises:
        ValueError: if it would have more than `MAX_PIXELS` before the crop.
    """
    height, width = image.shape[:2]
    check_length(height, width, image_size, name)
    shorter = min(height, width)
    if shorter != image_size:
        scale = image_size / shorter
        new_width = max(image_size, round(width * scale))
        new_height = max(image_size, round(height * scale))
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = cv2.resize(image, (new_width, new_height), interpolation=method)
        height, width = new_height, new_width
    top, left = (height - image_size) // 2, (width - image_size) // 2
    return image[top : top + image_size, left : left + image_size]


def read_image(path: str | os.PathLike, image_size: int | None = None) -> np.ndarray:
    """Reads one image file.

    Args:
        path: str or path. The file.
        image_size: int or None. Height and width of the result in pixels (see
            `fit_image`); `None` keeps the size of the file. Defaults to `None`.

    Returns:
        uint8 RGB array (height, width, 3).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an acceptable image.
    """
    image = decode_image(read_file(path), str(path))
    return image if image_size is None else fit_image(image, image_size, str(path))


def read_file(path: str | os.PathLike) -> bytes:
    """The content of a file; pipes and devices, which may never end, are refused."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116
        raise ValueError(f"An image must be a file. Received: {path}")
    return Path(path).read_bytes()


def check_image(path: str | os.PathLike, image_size: int) -> None:
    """Checks the header and the end of an image file, without decoding it.

    Args:
        path: str or path. The file.
        image_size: int. What the shorter side will be resized to.

    Raises:
        ValueError: if the header is damaged, the end is missing or the image too large.
    """
    data = read_file(path)
    read_header(data, str(path), image_size)
    if not _is_whole(data):
        raise ValueError(_damaged(str(path)))


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

    def run(start: int) -> list[str]:
        problems = []
        for index in range(start, min(start + _FILES_PER_TASK, count)):
            try:
                do(index)
            except ValueError as error:
                problems.append(str(error))
        return problems

    starts = range(0, count, _FILES_PER_TASK)
    if len(starts) < 2:
        problems = [problem for start in starts for problem in run(start)]
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            problems = [problem for part in pool.map(run, starts) for problem in part]
    if problems:
        raise UnusableImages(problems)


class ImageFiles:
    """A stack of image files that reads like a uint8 array (N, S, S, 3).

    Indexing with a slice or integers reads and decodes these files;
    `numpy.asarray` reads all. Used in place of an array where the decoded images
    would not fit into memory.

    Args:
        paths: sequence of paths.
        image_size: int. Height and width of the images in pixels.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, paths: Sequence[str | os.PathLike], image_size: int) -> None:
        # Strings take a third of the memory of paths, which counts for millions.
        self.paths = np.array([os.fspath(path) for path in paths], dtype=object)
        self.image_size = image_size

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.paths), self.image_size, self.image_size, 3

    @property
    def nbytes(self) -> int:
        """Size of the decoded images in bytes."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | slice | np.ndarray) -> np.ndarray:
        paths = self.paths[key]
        if isinstance(paths, str):
            return read_image(paths, self.image_size)
        size = self.image_size
        out = np.empty((len(paths), size, size, 3), np.uint8)
        return read_many(lambda index: read_image(paths[index], size), out)

    def __array__(
        self, dtype: np.dtype | None = None, copy: bool | None = None
    ) -> np.ndarray:
        images = self[:]
        return images if dtype is None else images.astype(dtype, copy=False)

    def check(self) -> None:
        """Reads the files without decoding them.

        Raises:
            UnusableImages: if files are missing their header or their end.
        """
        for_each(
            lambda index: check_image(self.paths[index], self.image_size), len(self)
        )

    def subset(self, indices: np.ndarray) -> "ImageFiles":
        """The files at `indices`, not yet read."""
        return ImageFiles(self.paths[indices], self.image_size)
