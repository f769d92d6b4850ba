"""The same images as requests to each signature."""

import cv2
import numpy as np
import tensorflow as tf

INPUT_NAMES = {
    "serving_default": "images",
    "serve_uint8": "images",
    "serve_bytes": "image_bytes",
    "serve_examples": "examples",
}
"""The signatures of an exported SavedModel, with the name of the input of each."""


def request(signature: str, images: np.ndarray) -> np.ndarray:
    """Makes the input that a signature takes from pixels.

    Images are encoded as PNG, without loss, so that every signature must give the
    same answer.

    Args:
        signature: str. A key of `INPUT_NAMES`.
        images: uint8 array (N, S, S, 3).

    Returns:
        Array (N, ...): float32 or uint8 pixels, or bytes objects.
    """
    if signature == "serving_default":
        return images.astype(np.float32)
    if signature == "serve_uint8":
        return images
    encoded = [encode_png(image) for image in images]
    if signature == "serve_examples":
        encoded = [encode_example(image) for image in encoded]
    return np.array(encoded, dtype=object)


def encode_png(image: np.ndarray) -> bytes:
    """Encodes an RGB image, uint8 (H, W, 3), as PNG."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def encode_example(encoded_image: bytes) -> bytes:
    """A serialized `tf.Example` as TensorFlow Datasets writes it."""
    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded_image]))
    features = tf.train.Features(feature={"image": value})
    return tf.train.Example(features=features).SerializeToString()
