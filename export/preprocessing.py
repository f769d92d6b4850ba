"""Encoded images to pixels inside the served graph.

TensorFlow Serving has no Python, so what `v1keras.data` does to an image file when
it loads a data set stands here once more, in TensorFlow operations; a test holds
the two together.
"""

import tensorflow as tf

MAX_PIXELS = 2**25
"""Images that are larger, or would be once their shorter side is resized, are refused
before they are decoded: a small file can announce an image that fills the memory. 33.5
megapixels, 100 MB once decoded."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def decode_batch(encoded: tf.Tensor, image_size: int) -> tf.Tensor:
    """Decodes images of any size to square pixels.

    Args:
        encoded: string tensor (B,). JPEG or PNG files, as bytes.
        image_size: int. Height and width of the result, in pixels.

    Returns:
        float32 tensor (B, image_size, image_size, 3), whole numbers in 0..255.
    """
    return tf.map_fn(
        lambda index: decode_image(encoded[index], image_size, index),
        tf.range(tf.size(encoded)),
        fn_output_signature=tf.TensorSpec((image_size, image_size, 3), tf.float32),
    )


def decode_image(
    encoded: tf.Tensor, image_size: int, index: tf.Tensor | int = 0
) -> tf.Tensor:
    """Decodes one image, resizes its shorter side and crops its centre.

    Args:
        encoded: scalar string tensor. A JPEG or PNG file, as bytes.
        image_size: int. Height and width of the result, in pixels.
        index: scalar int tensor. Where the image stands in its request, for
            messages. Defaults to `0`.

    Returns:
        float32 tensor (image_size, image_size, 3), whole numbers in 0..255.
    """
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
    longest = MAX_PIXELS // image_size**2 * tf.minimum(height, width)
    is_wide_enough = tf.maximum(height, width) <= longest
    with tf.control_dependencies(
        [
            _require(is_possible, f"must have 1 to {MAX_PIXELS} pixels", index),
            _require(is_wide_enough, "is too long for its width", index),
        ]
    ):
        pixels = tf.cond(
            is_jpeg,
            # The transform that OpenCV and Pillow use; TensorFlow's default is faster
            # and differs by a few grey levels.
            lambda: tf.io.decode_jpeg(
                encoded, channels=3, dct_method="INTEGER_ACCURATE"
            ),
            lambda: _decode_png(encoded, index),
        )
    return _fit(pixels, image_size)


def _fit(pixels: tf.Tensor, image_size: int) -> tf.Tensor:
    """Shorter side to `image_size`, then the central square."""
    shape = tf.shape(pixels)[:2]
    shorter = tf.reduce_min(shape)
    scale = image_size / shorter
    new_shape = tf.cast(tf.round(tf.cast(shape, tf.float64) * scale), tf.int32)
    new_shape = tf.maximum(new_shape, image_size)
    batch = pixels[tf.newaxis]
    resized = tf.cond(
        shorter > image_size,
        lambda: tf.image.resize(batch, new_shape, "area"),
        lambda: tf.image.resize(batch, new_shape, "bilinear"),
    )[0]
    # Data sets are kept in 8 bits, so the model has only seen whole numbers.
    resized = tf.round(tf.clip_by_value(resized, 0.0, 255.0))
    top, left = tf.unstack((new_shape - image_size) // 2)
    square = resized[top : top + image_size, left : left + image_size]
    return tf.ensure_shape(square, (image_size, image_size, 3))


def _decode_png(encoded: tf.Tensor, index: tf.Tensor | int) -> tf.Tensor:
    pixels = tf.io.decode_png(encoded, channels=4)
    is_opaque = tf.reduce_min(pixels[..., 3]) == 255
    with tf.control_dependencies(
        [_require(is_opaque, "must not have transparent pixels", index)]
    ):
        return pixels[..., :3]


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


def _require(
    condition: tf.Tensor, message: str, index: tf.Tensor | int
) -> tf.Operation:
    return tf.debugging.Assert(
        condition, [tf.strings.format("image {} of the request " + message, index)]
    )
