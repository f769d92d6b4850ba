"""Encoded images to pixels inside the served graph.

TensorFlow Serving has no Python, so what `v1keras.data` does to an image file when
it loads a data set stands here once more, in TensorFlow operations; a test holds
the two together.
"""

import functools
from collections.abc import Callable

import tensorflow as tf

from v1keras.data.decoding import MAX_PIXELS
from v1keras.data.images import scaled_side

_ORIENTATION = 274  # its tag in EXIF data
_SHORT, _LONG = 3, 4  # types of numbers there
_EXIF = int.from_bytes(b"Exif\0\0", "big")
_EXIF_CHUNK = int.from_bytes(b"eXIf", "big")
_TRANSPARENCY_CHUNK = int.from_bytes(b"tRNS", "big")
_IDAT = int.from_bytes(b"IDAT", "big")
_PADDING = b"\0" * 16
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_batch(
    encoded: tf.Tensor, image_size: int, crop_fraction: float = 1.0
) -> tf.Tensor:
    """Decodes images of any size to square pixels.

    Args:
        encoded: string tensor (B,). JPEG or PNG files, as bytes.
        image_size: int. Height and width of the result, in pixels.
        crop_fraction: float. See `v1keras.data.images.fit_image`. Defaults to `1.0`.

    Returns:
        float32 tensor (B, image_size, image_size, 3), whole numbers in 0..255.
    """
    return tf.map_fn(
        lambda index: decode_image(encoded[index], image_size, crop_fraction, index),
        tf.range(tf.size(encoded)),
        fn_output_signature=tf.TensorSpec((image_size, image_size, 3), tf.float32),
    )


def decode_image(
    encoded: tf.Tensor,
    image_size: int,
    crop_fraction: float = 1.0,
    index: tf.Tensor | int = 0,
) -> tf.Tensor:
    """Decodes one image, turns it as its EXIF data say, resizes and crops it.

    Args:
        encoded: scalar string tensor. A JPEG or PNG file, as bytes.
        image_size: int. Height and width of the result, in pixels.
        crop_fraction: float. See `v1keras.data.images.fit_image`. Defaults to `1.0`.
        index: scalar int tensor. Where the image stands in its request, for
            messages. Defaults to `0`.

    Returns:
        float32 tensor (image_size, image_size, 3), whole numbers in 0..255.
    """
    index = tf.convert_to_tensor(index)
    is_jpeg = tf.io.is_jpeg(encoded)
    is_png = tf.equal(tf.strings.substr(encoded, 0, 8), _PNG_SIGNATURE)
    with tf.control_dependencies(
        [_require(is_jpeg | is_png, "is not a JPEG or PNG file", index)]
    ):
        height, width = tf.cond(
            is_jpeg, lambda: _jpeg_size(encoded), lambda: _png_size(encoded)
        )
    # A quotient, because the product of two announced sizes can overflow.
    is_possible = (
        (height > 0) & (width > 0) & (height <= MAX_PIXELS // tf.maximum(width, 1))
    )
    # A line of pixels becomes a wide band when its shorter side is enlarged.
    scaled = scaled_side(image_size, crop_fraction)
    longest = MAX_PIXELS // scaled**2 * tf.minimum(height, width)
    is_wide_enough = tf.maximum(height, width) <= longest
    with tf.control_dependencies(
        [
            _require(is_possible, f"must have 1 to {MAX_PIXELS} pixels", index),
            _require(is_wide_enough, "is too long for its width", index),
        ]
    ):
        # Reads past the end give zeros.
        data = tf.io.decode_raw(tf.strings.join([encoded, _PADDING]), tf.uint8)
        pixels = tf.cond(
            is_jpeg,
            # The transform that OpenCV and Pillow use; TensorFlow's default is faster
            # and differs by a few grey levels.
            lambda: tf.io.decode_jpeg(
                encoded, channels=3, dct_method="INTEGER_ACCURATE"
            ),
            lambda: _decode_png(encoded, data, index),
        )
    return _fit(_turned(pixels, _orientation(data, is_jpeg)), image_size, scaled)


def _turned(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    def is_one_of(*values: int) -> tf.Tensor:
        return tf.reduce_any(orientation == tf.constant(values, tf.int64))

    pixels = tf.cond(
        orientation >= 5, lambda: tf.transpose(pixels, (1, 0, 2)), lambda: pixels
    )
    pixels = tf.cond(is_one_of(2, 3, 6, 7), lambda: pixels[:, ::-1], lambda: pixels)
    return tf.cond(is_one_of(3, 4, 7, 8), lambda: pixels[::-1], lambda: pixels)


def _orientation(data: tf.Tensor, is_jpeg: tf.Tensor) -> tf.Tensor:
    """The orientation, 1 to 8, in the EXIF data of a JPEG or PNG file, else 1."""
    start = tf.cond(
        is_jpeg,
        lambda: _find(data, 2, _exif_segment),
        lambda: _find_chunk(data, _EXIF_CHUNK),
    )
    return tf.cond(
        start > 0,
        lambda: _tiff_orientation(data, start),
        lambda: tf.constant(1, tf.int64),
    )


def _find(data: tf.Tensor, start: int, look: Callable) -> tf.Tensor:
    """Where the content begins that `look` recognises, or 0."""
    end = tf.size(data, tf.int64) - len(_PADDING)
    _, found = tf.while_loop(
        lambda at, found: (found == 0) & (at < end),
        lambda at, found: look(data, at, end),
        (tf.constant(start, tf.int64), tf.constant(0, tf.int64)),
    )
    return found


def _exif_segment(
    data: tf.Tensor, at: tf.Tensor, end: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The place of the next segment, and that of the EXIF data if they are here."""
    marker = _number(data, at, 2)
    is_exif = (marker == 0xFFE1) & (_number(data, at + 4, 6) == _EXIF)
    # A segment may be preceded by fill bytes. Pixels follow the start of scan.
    step = tf.where(
        marker == 0xFFFF, tf.constant(1, tf.int64), 2 + _number(data, at + 2, 2)
    )
    is_last = (marker < 0xFF00) | (marker == 0xFFDA)
    return tf.where(is_last, end, at + step), tf.where(is_exif, at + 10, 0)


def _find_chunk(data: tf.Tensor, kind: int) -> tf.Tensor:
    """Where the content of a PNG chunk before the pixels begins, or 0."""
    return _find(data, len(_PNG_SIGNATURE), functools.partial(_png_chunk, kind))


def _png_chunk(
    wanted: int, data: tf.Tensor, at: tf.Tensor, end: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """The place of the next chunk, and that of this one's content if it is wanted."""
    kind = _number(data, at + 4, 4)
    following = tf.where(kind == _IDAT, end, at + 12 + _number(data, at, 4))
    return following, tf.where(kind == wanted, at + 8, 0)


def _tiff_orientation(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    is_little = _number(data, start, 2) == int.from_bytes(b"II", "big")
    directory = start + _number(data, start + 4, 4, is_little)
    count = _number(data, directory, 2, is_little)
    room = (tf.size(data, tf.int64) - directory - 2) // 12
    count = tf.clip_by_value(count, 0, tf.maximum(room, 0))
    first = tf.minimum(directory + 2, tf.size(data, tf.int64))
    entries = tf.reshape(data[first : first + 12 * count], (-1, 12))
    entries = tf.cast(entries, tf.int64)
    # Tag, type, number and value, which a short one has in the first two of its bytes.
    order, long_order = (
        tf.where(
            is_little, tf.constant(each, tf.int64), tf.constant(each[::-1], tf.int64)
        )
        for each in ([1, 256], [1, 256, 256**2, 256**3])
    )
    tags = tf.reduce_sum(entries[:, :2] * order, -1)
    kinds = tf.reduce_sum(entries[:, 2:4] * order, -1)
    short = tf.reduce_sum(entries[:, 8:10] * order, -1)
    long = tf.reduce_sum(entries[:, 8:12] * long_order, -1)
    values = tf.where(kinds == _SHORT, short, tf.where(kinds == _LONG, long, 0))
    value = tf.reduce_max(
        tf.concat([tf.where(tags == _ORIENTATION, values, 0), [0]], 0)
    )
    return tf.where((value >= 1) & (value <= 8), value, tf.constant(1, tf.int64))


def _number(
    data: tf.Tensor, at: tf.Tensor, count: int, is_little: tf.Tensor | bool = False
) -> tf.Tensor:
    """The whole number in `count` bytes; past the end, 0."""
    at = tf.minimum(at, tf.size(data, tf.int64) - count)
    digits = tf.cast(data[at : at + count], tf.int64)
    digits = tf.where(is_little, digits[::-1], digits)
    weights = [256**power for power in reversed(range(count))]
    return tf.reduce_sum(digits * tf.constant(weights, tf.int64))


def _fit(pixels: tf.Tensor, image_size: int, scaled: int) -> tf.Tensor:
    """Shorter side to `scaled`, then the central square."""
    shape = tf.shape(pixels)[:2]
    shorter = tf.reduce_min(shape)
    scale = scaled / shorter
    new_shape = tf.cast(tf.round(tf.cast(shape, tf.float64) * scale), tf.int32)
    new_shape = tf.maximum(new_shape, scaled)
    batch = pixels[tf.newaxis]
    resized = tf.cond(
        shorter > scaled,
        lambda: tf.image.resize(batch, new_shape, "area"),
        lambda: tf.image.resize(batch, new_shape, "bilinear"),
    )[0]
    # Data sets are kept in 8 bits, so the model has only seen whole numbers.
    resized = tf.round(tf.clip_by_value(resized, 0.0, 255.0))
    top, left = tf.unstack((new_shape - image_size) // 2)
    square = resized[top : top + image_size, left : left + image_size]
    return tf.ensure_shape(square, (image_size, image_size, 3))


def _decode_png(encoded: tf.Tensor, data: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
    bits = data[24]
    pixels = tf.cond(
        bits == 16, lambda: _decode_16_bits(encoded), lambda: _decode_8_bits(encoded)
    )
    # TensorFlow takes 2**bits - 1 for opaque where it adds the alpha channel itself.
    has_alpha = (bits >= 8) | (_find_chunk(data, _TRANSPARENCY_CHUNK) > 0)
    is_opaque = tf.reduce_min(pixels[..., 3]) == 255
    with tf.control_dependencies(
        [_require(is_opaque | ~has_alpha, "must not have transparent pixels", index)]
    ):
        return pixels[..., :3]


def _decode_8_bits(encoded: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_png(encoded, channels=4)


def _decode_16_bits(encoded: tf.Tensor) -> tf.Tensor:
    pixels = tf.io.decode_png(encoded, channels=4, dtype=tf.uint16)
    # Rounded as the data set's reader does; 8 bits of the decoder's are cut off.
    rounded = (tf.cast(pixels, tf.int32) + 128) // 257
    return tf.cast(rounded, tf.uint8)


def _jpeg_size(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.io.extract_jpeg_shape(encoded, output_type=tf.int32)
    shape = tf.cast(shape, tf.int64)
    return shape[0], shape[1]


def _png_size(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Width and height stand, big-endian, at bytes 16 to 24 of every PNG file."""
    # A file that ends earlier reads as zero pixels here and is refused for that.
    header = tf.strings.substr(
        tf.strings.join([encoded, tf.constant(b"\0" * 24)]), 16, 8
    )
    digits = tf.cast(tf.io.decode_raw(header, tf.uint8), tf.int64)
    width, height = tf.unstack(
        tf.reduce_sum(
            tf.reshape(digits, (2, 4)) * tf.constant([2**24, 2**16, 2**8, 1], tf.int64),
            axis=1,
        )
    )
    return height, width


def _require(condition: tf.Tensor, message: str, index: tf.Tensor) -> tf.Operation:
    return tf.debugging.Assert(
        condition, [tf.strings.format("image {} of the request " + message, index)]
    )
