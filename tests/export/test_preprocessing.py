import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from export.preprocessing import decode_batch
from v1keras.data.decoding import decode_image
from v1keras.data.images import fit_image, read_image

SIZE = 16


def picture(height, width):
    """A smooth colour picture, so that JPEG keeps it."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / width * 7), np.cos(y / height * 5), np.sin((x + y) / 9.0)]
    return np.rint(127.5 + 127.5 * np.stack(waves, -1)).astype(np.uint8)


def encode(image, suffix):
    return cv2.imencode(suffix, image)[1].tobytes()


@pytest.mark.parametrize("crop_fraction", [1.0, 0.875, 0.6])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(
    "height,width",
    [(16, 16), (32, 32), (64, 64), (37, 61), (61, 37), (200, 17), (9, 12), (16, 40)],
)
def test_equals_what_the_data_package_does(
    height, width, suffix, crop_fraction, tmp_path
):
    data = encode(picture(height, width), suffix)
    path = tmp_path / f"picture{suffix}"
    path.write_bytes(data)
    expected = read_image(path, SIZE, crop_fraction)
    decoded = decode_batch(tf.constant([data]), SIZE, crop_fraction).numpy()[0]
    assert decoded.dtype == np.float32
    # One grey level: OpenCV computes with whole numbers and rounds halves up.
    assert np.abs(decoded - expected).max() <= 1
    assert np.abs(decoded - expected).mean() < 0.3


def test_images_of_different_sizes_and_kinds_share_a_batch():
    color, grey = picture(30, 20), picture(10, 50)[..., 0]
    batch = decode_batch(
        tf.constant([encode(color, ".jpg"), encode(grey, ".png")]), SIZE
    )
    assert batch.shape == (2, SIZE, SIZE, 3)
    assert np.ptp(batch[1], axis=-1).max() == 0
    np.testing.assert_array_equal(batch, np.rint(batch))


def test_an_opaque_alpha_channel_is_dropped():
    opaque = np.dstack([picture(SIZE, SIZE), np.full((SIZE, SIZE), 255, np.uint8)])
    decoded = decode_batch(tf.constant([encode(opaque, ".png")]), SIZE)[0]
    np.testing.assert_array_equal(decoded, opaque[..., 2::-1])


def header_of(width, height):
    png = encode(picture(8, 8), ".png")
    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = png[12:16] + sizes + png[24:29]
    return png[:12] + header + zlib.crc32(header).to_bytes(4, "big") + png[33:]


def jpeg_header_of(width, height):
    jpeg = encode(picture(8, 8), ".jpg")
    start = jpeg.index(b"\xff\xc0") + 5
    sizes = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return jpeg[:start] + sizes + jpeg[start + 4 :]


@pytest.mark.parametrize(
    "data,message",
    [
        (b"", "image 1 of the request is not a JPEG or PNG"),
        (b"GIF89a", "image 1 of the request is not a JPEG or PNG"),
        (encode(picture(40, 40), ".jpg")[:300], "JPEG"),
        (encode(picture(40, 40), ".png")[:200], "PNG"),
        (b"\x89PNG\r\n\x1a\n", "image 1 of the request must have 1 to"),
        (header_of(100_000, 100_000), "image 1 of the request must have 1 to"),
        (header_of(2**32 - 1, 2**32 - 1), "image 1 of the request must have 1 to"),
        (jpeg_header_of(65_500, 65_500), "image 1 of the request must have 1 to"),
        # Few pixels, until the shorter side is resized: 16 x 3.2 million of them.
        (encode(picture(1, 200_000), ".png"), "image 1 of the request is too long"),
        (encode(picture(200_000, 1), ".png"), "image 1 of the request is too long"),
        (
            encode(np.zeros((8, 8, 4), np.uint8), ".png"),
            "image 1 of the request must not have transparent",
        ),
    ],
)
def test_what_cannot_be_an_image_is_an_error(data, message):
    good = encode(picture(20, 20), ".png")
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode_batch(tf.constant([good, data]), SIZE)


def with_orientation(image, kind, orientation, order="MM", form="HH"):
    """The image stored as phones do: as the sensor saw it, and how to turn it."""
    stored = io.BytesIO()
    endian = ">" if order == "MM" else "<"
    number = struct.pack(endian + form, orientation, *[0] * (len(form) - 1))
    entries = [
        (271, 2, 4, b"cam\0"),
        (274, {"HH": 3, "L": 4}[form], 1, number),
    ]
    exif = order.encode() + struct.pack(endian + "HIH", 42, 8, len(entries))
    for tag, form, count, value in entries:
        exif += struct.pack(endian + "HHI", tag, form, count) + value
    exif = b"Exif\0\0" + exif + bytes(4)
    Image.fromarray(image).save(stored, kind, exif=exif, quality=95)
    return stored.getvalue()


@pytest.mark.parametrize("form", ["HH", "L"])
@pytest.mark.parametrize("order", ["MM", "II"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_both_readers_turn_images_as_viewers_do(kind, order, form):
    for orientation in range(10):
        data = with_orientation(picture(24, 40), kind, orientation, order, form)
        with Image.open(io.BytesIO(data)) as stored:
            upright = np.asarray(ImageOps.exif_transpose(stored))
        read = decode_image(data, "test")
        np.testing.assert_allclose(read, upright, atol=3)
        served = decode_batch(tf.constant([data]), SIZE).numpy()[0]
        assert np.abs(served - fit_image(read, SIZE)).max() <= 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_damaged_exif_data_do_not_stop_either_reader(kind):
    good = with_orientation(picture(24, 24), kind, 6)
    plain = fit_image(
        decode_image(with_orientation(picture(24, 24), kind, 1), "a"), SIZE
    )
    start = good.index(b"MM\0*")
    for at, value in [(0, b"XX"), (4, b"\xff" * 4), (8, b"\xff\xff"), (8, b"\0\0")]:
        data = bytearray(good)
        data[start + at : start + at + len(value)] = value
        if kind == "PNG":
            length = int.from_bytes(data[start - 8 : start - 4], "big")
            checksum = zlib.crc32(data[start - 4 : start + length])
            data[start + length : start + length + 4] = checksum.to_bytes(4, "big")
        served = decode_batch(tf.constant([bytes(data)]), SIZE).numpy()[0]
        read = fit_image(decode_image(bytes(data), "a"), SIZE)
        for pixels in (served, read):
            turned = np.rot90(plain, -1)
            assert min(np.abs(pixels - plain).max(), np.abs(pixels - turned).max()) <= 3


@pytest.mark.parametrize(
    "data",
    [
        header_of(100_000, 100_000),
        header_of(2**30, 2**30),
        jpeg_header_of(30_000, 30_000),
        jpeg_header_of(6_000, 6_000),
        encode(picture(1, 200_000), ".png"),
        encode(picture(200_000, 1), ".png"),
    ],
)
def test_both_readers_refuse_images_that_would_fill_the_memory(data, tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(data)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_batch(tf.constant([data]), SIZE)
    with pytest.raises(ValueError, match=r"at most 33554432 pixels.*bomb\.png"):
        read_image(path, SIZE)
