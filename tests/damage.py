"""Damaged copies of image files, for tests of what reads them."""

import io
import zlib

import numpy as np
from PIL import Image

_EXTREMES = (0, 1, 2**8, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1)
_HEADER = 128


def whole_images() -> dict[str, list[bytes]]:
    """Undamaged files of each format that data sets may hold, by name."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:31, :45]
    waves = np.stack([np.sin(x / 7), np.cos(y / 5), np.sin((x + y) / 9)], -1)
    color = 127.5 + 100 * waves + rng.normal(0, 9, waves.shape)
    image = Image.fromarray(np.clip(color, 0, 255).astype(np.uint8))
    grey, palette = image.convert("L"), image.quantize(16)
    exif = Image.Exif()
    exif[274], exif[271] = 6, "camera"
    ways = {
        "JPEG": [
            (image, {"exif": exif}), (grey, {"progressive": True}),
            (image.convert("CMYK"), {}), (image, {"restart_marker_blocks": 2}),
        ],
        "PNG": [
            (image, {"exif": exif}), (grey, {}), (palette, {}), (grey.convert("1"), {}),
            (image.convert("RGBA"), {}), (palette, {"transparency": 3}),
        ],
        "BMP": [(image, {}), (grey, {}), (palette, {}), (grey.convert("1"), {})],
        "TIFF": [
            (image, {"exif": exif}), (image, {"compression": "tiff_lzw"}),
            (image, {"compression": "tiff_deflate"}), (image, {"compression": "jpeg"}),
            (grey.convert("1"), {"compression": "group4"}), (palette, {}),
            (image, {"compression": "packbits"}), (image, {"big_tiff": True}),
        ],
        "WEBP": [(image, {"exif": exif}), (image, {"lossless": True}), (grey, {})],
    }  # fmt: skip

    def stored(image, kind, options):
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return {
        kind: [stored(image, kind, options) for image, options in forms]
        for kind, forms in ways.items()
    }


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """One damaged copy: bits flipped, cut, or overwritten, more often in the header."""
    kind = rng.integers(7)
    end = _HEADER if rng.random() < 0.5 else len(data)
    at = int(rng.integers(min(end, len(data))))
    changed = bytearray(data)
    if kind == 0:
        changed = changed[:at]
    elif kind == 1:
        for place in rng.integers(min(end, len(data)), size=rng.integers(1, 9)):
            changed[place] ^= 1 << rng.integers(8)
    elif kind == 2:
        changed[at : at + 16] = rng.bytes(int(rng.integers(1, 17)))
    elif kind in (3, 4):  # sizes and offsets, in both orders of bytes
        size = int(rng.choice([2, 4]))
        value = int(rng.choice(_EXTREMES)) % 256**size
        changed[at : at + size] = value.to_bytes(size, "big" if kind == 3 else "little")
    elif kind == 5:
        length = int(rng.integers(1, 200))
        changed[at : at + length] = bytes(length)
    else:
        changed[at:at] = changed[: int(rng.integers(1, 200))]
    if data.startswith(b"\x89PNG") and rng.random() < 0.5:
        changed = with_checksums(bytes(changed))
    return bytes(changed)


def with_checksums(png: bytes) -> bytes:
    """A PNG file whose checksums are right again, so that readers go further."""
    mended, at = bytearray(png), 8
    while at + 12 <= len(mended):
        end = at + 8 + int.from_bytes(mended[at : at + 4], "big")
        if end + 4 > len(mended):
            break
        mended[end : end + 4] = zlib.crc32(mended[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(mended)
