"""Encoded images to uint8 RGB arrays, or to one message that says what is wrong."""

import dataclasses
import io
import re
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

MAX_PIXELS = 2**25
"""Images that are larger, or would be once their shorter side is resized, are refused
before they are decoded: a small file can announce an image that fills the memory. 33.5
megapixels, 100 MB once decoded."""

_ACCEPTED = (
    "An image must be a JPEG, PNG, BMP, WebP or TIFF of up to 16 bits in grey or RGB, "
    "without transparent pixels"
)
# What Pillow calls these formats, how some of them begin, and three tags of TIFF.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_TIFF_WIDTH, _TIFF_HEIGHT, _ORIENTATION = 256, 257, 274
# Markers of JPEG, as opposed to stuffed bytes, fill bytes and restarts; two of them have
# no content.
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_END, _EMPTY_MARKERS = 0xD9, (0x01, 0xD8)
_PNG_GREY = 0


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
        ValueError: if the image is damaged, is of another kind or has more than
            `MAX_PIXELS`.
    """
    header = read_header(data, name)
    check_end(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        image = None
    if image is None or {*image.shape[:2]} != {header.height, header.width}:
        raise ValueError(_damaged(name, "its pixels cannot be read"))
    if data.startswith(_PNG_START) and image.ndim == 2:
        _check_grey_png(data, image, name)
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


def _check_grey_png(data: bytes, image: np.ndarray, name: str) -> None:
    """Refuses the transparent level of a grey PNG, of which OpenCV says nothing."""
    bits, kind = data[24:26]
    for chunk, content in _png_chunks(data):
        if chunk == b"tRNS" and kind == _PNG_GREY:
            level = int.from_bytes(content[:2], "big") % 2**bits
            if bits < 8:  # OpenCV spreads the levels over 0 to 255
                level *= 255 // (2**bits - 1)
            if (image == level).any():
                raise ValueError(f"{_ACCEPTED}. Received: transparent pixels in {name}")


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


def read_header(data: bytes, name: str, shorter_side: int = 1) -> Header:
    """Reads what an encoded image announces, without decoding it.

    Args:
        data: bytes. The content of the file.
        name: str. What to call the image in messages.
        shorter_side: int. What its shorter side will be resized to, in pixels. Defaults
            to `1`.

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
    except UnidentifiedImageError as error:
        reason = "it does not begin as JPEG, PNG, BMP, WebP or TIFF"
        raise ValueError(_damaged(name, reason)) from error
    except Exception as error:  # whatever Pillow raises on a damaged header
        raise ValueError(_damaged(name, "its header cannot be read")) from error
    if header is None or header.height * header.width > MAX_PIXELS:
        raise ValueError(
            f"An image must have at most {MAX_PIXELS} pixels. Received: more in {name}"
        )
    check_length(header.height, header.width, shorter_side, name)
    return header


def read_orientation(data: bytes) -> int:
    """How the pixels are turned, 1 (not) to 8; 1 where there is no header of an image."""
    try:
        return read_header(data, "").orientation
    except ValueError:
        return 1


def check_length(height: int, width: int, shorter_side: int, name: str) -> None:
    """Refuses images that become too large once their shorter side is resized."""
    if max(height, width) > MAX_PIXELS // shorter_side**2 * min(height, width):
        raise ValueError(
            f"An image must have at most {MAX_PIXELS} pixels once its shorter side is "
            f"{shorter_side}. Received: {width} x {height} pixels in {name}"
        )


def check_end(data: bytes, name: str) -> None:
    """Refuses JPEG and PNG files that end too early.

    OpenCV fills what is missing of a JPEG with grey and says nothing. The other formats
    it reads whole or not at all.

    Args:
        data: bytes. The content of the file.
        name: str. What to call the image in messages.

    Raises:
        ValueError: if the end of the image is missing.
    """
    is_whole = True
    if data.startswith(_JPEG_START):
        is_whole = _jpeg_ends(data)
    elif data.startswith(_PNG_START):
        is_whole = any(kind == b"IEND" for kind, _ in _png_chunks(data))
    if not is_whole:
        raise ValueError(_damaged(name, "its end is missing"))


def _jpeg_ends(data: bytes) -> bool:
    # From marker to marker, because a thumbnail in the EXIF data has an end of its own,
    # and there may be anything behind the image.
    at = len(_JPEG_START)
    while found := _MARKER.search(data, at):
        at, marker = found.end(), data[found.end() - 1]
        if marker == _JPEG_END:
            return True
        if marker not in _EMPTY_MARKERS:
            at += int.from_bytes(data[at : at + 2], "big")
    return False


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the content of each whole chunk."""
    at = len(_PNG_START)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if end > len(data):
            return
        yield data[at + 4 : at + 8], data[at + 8 : end - 4]
        at = end


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


def _damaged(name: str, reason: str) -> str:
    return f"{name} is damaged ({reason}): replace or remove it"
