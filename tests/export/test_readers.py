"""One table of image files for the data set's reader and the served graph.

Both must make the same pixels of a file, or both must refuse it.
"""

import functools
import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from damage import damaged, whole_images
from PIL import Image

from export.preprocessing import decode_image as decode_served
from v1keras.data.decoding import decode_image
from v1keras.data.images import fit_image

SIZE = 24
ACCEPTED, REFUSED = True, False
_HEIGHT, _WIDTH = 40, 52
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_CHANNELS = {_GREY: 1, _RGB: 3, _PALETTE: 1, _GREY_ALPHA: 2, _RGB_ALPHA: 4}


def picture():
    """A smooth colour picture, so that JPEG keeps it."""
    y, x = np.mgrid[:_HEIGHT, :_WIDTH]
    waves = [np.sin(x / 9), np.cos(y / 7), np.sin((x + y) / 9)]
    return np.rint(127.5 + 127.5 * np.stack(waves, -1)).astype(np.uint8)


def stored(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind, content=b""):
    checksum = zlib.crc32(kind + content)
    return (
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
    )


def png(values, bits, kind, *chunks, interlace=0):
    """A PNG file of whole numbers (height, width, channels), packed by hand."""
    height, width = values.shape[:2]
    starts = [(0, 0, 1, 1)]
    if interlace:
        starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2)]
        starts += [(0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b""
    for top, left, down, across in starts:
        for row in values[top::down, left::across]:
            digits = row.reshape(-1, 1) >> np.arange(bits)[::-1] & 1
            rows += b"\0" + np.packbits(digits.astype(np.uint8)).tobytes()
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlace)
    pixels = chunk(b"IDAT", zlib.compress(rows))
    parts = (chunk(b"IHDR", header), *chunks, pixels, chunk(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def levels(bits, kind):
    """The picture in whole numbers of so many bits, opaque where there is alpha."""
    color = np.rint(picture() / 255 * (2**bits - 1)).astype(int)
    alpha = np.full((_HEIGHT, _WIDTH, 1), 2**bits - 1)
    if kind in (_GREY, _PALETTE):
        return color[..., :1]
    if kind == _GREY_ALPHA:
        return np.dstack([color[..., :1], alpha])
    return np.dstack([color, alpha]) if kind == _RGB_ALPHA else color


def png_cases():
    depths = [(_GREY, b) for b in (1, 2, 4, 8, 16)] + [
        (_PALETTE, b) for b in (1, 2, 4, 8)
    ]
    depths += [(kind, b) for kind in (_RGB, _GREY_ALPHA, _RGB_ALPHA) for b in (8, 16)]
    for (kind, bits), interlace in itertools.product(depths, (0, 1)):
        values = levels(bits, kind)
        colors = np.arange(2 ** min(bits, 8)) * 83 % 256
        palette = chunk(b"PLTE", bytes(np.repeat(colors, 3).astype(np.uint8)))
        extra = [palette] if kind == _PALETTE else []
        name = f"png kind {kind}, {bits} bits" + ", interlaced" * interlace
        yield name, png(values, bits, kind, *extra, interlace=interlace), ACCEPTED
        if kind in (_GREY_ALPHA, _RGB_ALPHA):
            for missing, accepted in ((1, bits == 16), (2 ** (bits - 1), REFUSED)):
                clear = values.copy()
                clear[3, 5, -1] -= missing
                data = png(clear, bits, kind, interlace=interlace)
                yield f"{name}, alpha {missing} below opaque", data, accepted
    # 250 / 255 in the high byte rounds down, or is cut off.
    clear = levels(16, _RGB_ALPHA)
    clear[3, 5, 3] = 65400
    yield "alpha of 16 bits that rounds down", png(clear, 16, _RGB_ALPHA), REFUSED


def transparency_cases():
    for bits in (1, 2, 4, 8, 16):
        values = levels(bits, _GREY)
        unused = sorted({*range(2 ** min(bits, 8))} - {*values.ravel()})
        level = struct.pack(">H", values[4, 4, 0])
        yield (
            f"grey level of {bits} bits that is transparent",
            png(values, bits, _GREY, chunk(b"tRNS", level)),
            REFUSED,
        )
        if unused:
            level = struct.pack(">H", unused[0])
            yield (
                f"grey level of {bits} bits that is not used",
                png(values, bits, _GREY, chunk(b"tRNS", level)),
                ACCEPTED,
            )
    for bits in (1, 2, 4, 8):
        values = levels(bits, _PALETTE)
        palette = chunk(b"PLTE", bytes(3 * 2**bits))
        for first, accepted in (
            (255, ACCEPTED),
            (254, REFUSED),
            (2**bits - 1, bits == 8),
        ):
            alpha = bytes([first] * 2**bits)
            data = png(values, bits, _PALETTE, palette, chunk(b"tRNS", alpha))
            yield f"palette of {bits} bits, alpha {first}", data, accepted
    values = levels(8, _RGB)
    for color, accepted in ((values[4, 4], REFUSED), ((1, 2, 3), ACCEPTED)):
        mark = chunk(b"tRNS", struct.pack(">HHH", *color))
        yield f"transparent colour, {accepted=}", png(values, 8, _RGB, mark), accepted


def jpeg_cases():
    image = Image.fromarray(picture())
    ways = {"RGB": {}, "L": {}, "CMYK": {}}
    for mode in ways:
        for progressive in (False, True):
            data = stored(image.convert(mode), progressive=progressive, quality=90)
            name = f"jpeg {mode}, {progressive=}"
            yield name, data, ACCEPTED
            for padding in (1, 100, 10 * len(data)):
                yield f"{name}, {padding} zeros after", data + bytes(padding), ACCEPTED
    for subsampling in (0, 1, 2):
        yield f"{subsampling=}", stored(image, subsampling=subsampling), ACCEPTED
    yield "restarts", stored(image, restart_marker_blocks=1), ACCEPTED
    yield "text after the image", stored(image) + b"\xff\xd8 more", ACCEPTED
    data = stored(image)
    yield "fill bytes", data[:2] + b"\xff\xff" + data[2:], ACCEPTED


def exif_cases():
    image = Image.fromarray(picture())
    for kind, orientation in itertools.product(("JPEG", "PNG"), range(1, 9)):
        exif = Image.Exif()
        exif[274] = orientation
        data = stored(image, kind, exif=exif)
        yield f"{kind}, {orientation=}", data, ACCEPTED


def thumbnail():
    """Twice the bytes of the image, as of a phone: its end is that of a whole file."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    return stored(Image.fromarray(noise), quality=95)


def truncated_cases():
    image = Image.fromarray(picture())
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8))
    whole = {
        "jpeg": stored(noise, quality=95),
        "progressive jpeg": stored(noise, quality=95, progressive=True),
        "jpeg with a thumbnail": stored(image, exif=b"Exif\0\0" + thumbnail()),
        "jpeg with comments": stored(image, comment=b"\xff\xd9" * 3000),
        "png": stored(noise, "PNG"),
        "interlaced png": png(levels(8, _RGB), 8, _RGB, interlace=1),
        "palette png": stored(image.quantize(16), "PNG"),
    }
    for name, data in whole.items():
        yield name, data, ACCEPTED
        # Not in the last bytes only: 17 places all over, and the very end.
        ends = np.linspace(8, len(data) - 20, 17).astype(int)
        for end in (*ends, len(data) - 14, len(data) - 2, len(data) - 1):
            yield f"{name}, {end} of {len(data)} bytes", data[:end], REFUSED


CASES = [
    *png_cases(), *transparency_cases(), *jpeg_cases(), *exif_cases(), *truncated_cases()
]  # fmt: skip


@functools.cache
def served_graph(crop_fraction):
    return tf.function(
        lambda encoded: decode_served(encoded, SIZE, crop_fraction),
        input_signature=[tf.TensorSpec((), tf.string)],
        autograph=False,
    )


def read(data, crop_fraction):
    try:
        image = decode_image(data, "image")
    except ValueError:
        return None
    return fit_image(image, SIZE, crop_fraction=crop_fraction)


def served(data, crop_fraction):
    try:
        return served_graph(crop_fraction)(data).numpy()
    except tf.errors.InvalidArgumentError:
        return None


@pytest.mark.parametrize("crop_fraction", [1.0, 0.875])
def test_both_readers_decide_alike(crop_fraction):
    wrong = []
    for name, data, accepted in CASES:
        ours, theirs = read(data, crop_fraction), served(data, crop_fraction)
        decisions = (ours is not None, theirs is not None)
        if decisions != (accepted, accepted):
            wrong.append(f"{name}: (reader, served) accept {decisions}")
        # OpenCV and TensorFlow round products of CMYK differently.
        elif accepted and np.abs(theirs - ours).max() > 2:
            wrong.append(f"{name}: pixels differ by {np.abs(theirs - ours).max()}")
    assert not wrong, "\n".join([f"{len(wrong)} of {len(CASES)} cases", *wrong])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_damaged_images_are_answered_or_refused(kind):
    rng = np.random.default_rng(1)
    whole = whole_images()[kind]
    answers = [served(damaged(whole[i % len(whole)], rng), 1.0) for i in range(60)]
    assert any(answer is None for answer in answers)


def test_an_image_alone_needs_no_number():
    data = stored(Image.fromarray(picture()), "PNG")
    image = decode_served(tf.constant(data), SIZE)
    np.testing.assert_array_equal(image, served(data, 1.0))
    with pytest.raises(tf.errors.InvalidArgumentError, match="image 0 of the request"):
        decode_served(tf.constant(b"text"), SIZE)
