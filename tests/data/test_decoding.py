"""Damaged images of every format end in one message that names the file."""

import numpy as np
import pytest
from damage import damaged, whole_images

from v1keras.data.decoding import decode_image
from v1keras.data.images import ImageFiles, read_image

_WHOLE = whole_images()
_COPIES = 120


@pytest.mark.parametrize("kind", _WHOLE)
def test_damaged_images_are_read_or_refused_by_name(kind, tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "picture"
    refused = 0
    for number in range(_COPIES):
        path.write_bytes(damaged(_WHOLE[kind][number % len(_WHOLE[kind])], rng))
        try:
            image = read_image(path, 16, 0.875)
        except ValueError as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert image.shape == (16, 16, 3) and image.dtype == np.uint8
        try:
            ImageFiles([path], 16).check()
        except ValueError as error:
            assert str(path) in str(error)
    # The damage is real, and not all of it stops a reader: pixels may change.
    assert 0 < refused < _COPIES


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "it does not begin as JPEG, PNG, BMP, WebP or TIFF"),
        (b"GIF89a" + bytes(99), "it does not begin as JPEG, PNG, BMP, WebP or TIFF"),
        (b"II*\0" + b"\xff" * 99, "its header cannot be read"),
        (_WHOLE["BMP"][0][:-1000], "its pixels cannot be read"),
        (_WHOLE["JPEG"][0][:-1], "its end is missing"),
        (_WHOLE["PNG"][0][:-1], "its end is missing"),
    ],
)
def test_the_message_tells_what_is_damaged(data, reason):
    with pytest.raises(
        ValueError, match=r"a/b\.png is damaged \(.*\): replace"
    ) as error:
        decode_image(data, "a/b.png")
    assert reason in str(error.value)
