"""The same images as requests to each signature, and as a server's warm-up.

The first request to each signature is slow, because kernels are chosen and memory is
allocated then. TensorFlow Serving replays `assets.extra/tf_serving_warmup_requests`
when it loads a version: a TFRecord file of `PredictionLog`s.
"""

import importlib.util
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from v1keras.data.images import scaled_side

INPUT_NAMES = {
    "serving_default": "images",
    "serve_uint8": "images",
    "serve_bytes": "image_bytes",
    "serve_labels": "image_bytes",
    "serve_examples": "examples",
}
"""The signatures of an exported SavedModel, with the name of the input of each."""
OPTIONAL_INPUT_NAMES = {"diagnose": "image_bytes"}
"""The same of signatures that a SavedModel has only if they were asked for."""
IMAGE_KEY = "image"
"""The feature of a `tf.Example` that holds the image, as TensorFlow Datasets calls it."""
WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
WARMUP_IMAGES = 4
"""Images in the larger one of the two warm-up requests to each signature."""


def make_request(
    signature: str, images: np.ndarray, crop_fraction: float = 1.0
) -> np.ndarray:
    """Makes the input that a signature takes from pixels.

    Images are encoded as PNG, without loss, so that every signature must give the
    same answer.

    Args:
        signature: str. A key of `INPUT_NAMES` or `OPTIONAL_INPUT_NAMES`.
        images: uint8 array (N, S, S, 3).
        crop_fraction: float. What the model crops from image files, which get such a
            margin that it crops these pixels. Defaults to `1.0`.

    Returns:
        Array (N, ...): float32 or uint8 pixels, or bytes objects.
    """
    if signature == "serving_default":
        return images.astype(np.float32)
    if signature == "serve_uint8":
        return images
    size = images.shape[1]
    margin = scaled_side(size, crop_fraction) - size
    before, after = margin // 2, margin - margin // 2
    sides = ((0, 0), (before, after), (before, after), (0, 0))
    encoded = [encode_png(image) for image in np.pad(images, sides, mode="edge")]
    if signature == "serve_examples":
        encoded = [encode_example(image) for image in encoded]
    return np.array(encoded, dtype=object)


def encode_png(image: np.ndarray) -> bytes:
    """Encodes an RGB image, uint8 (H, W, 3), as PNG."""
    _, encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def encode_example(encoded_image: bytes, image_key: str = IMAGE_KEY) -> bytes:
    """A serialized `tf.Example` with an encoded image."""
    import tensorflow as tf

    value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded_image]))
    features = tf.train.Features(feature={image_key: value})
    return tf.train.Example(features=features).SerializeToString()


def can_write_warmup() -> bool:
    """Whether `tensorflow-serving-api`, which defines the records, is installed."""
    return importlib.util.find_spec("tensorflow_serving") is not None


def write_warmup(
    folder: str | os.PathLike,
    images: np.ndarray,
    *,
    model_name: str,
    input_names: Mapping[str, str] = INPUT_NAMES,
) -> None:
    """Writes a request with one image and one with all, for every signature.

    Args:
        folder: str or path. The version's folder.
        images: uint8 array (N, S, S, 3); the first `WARMUP_IMAGES` are used.
        model_name: str. The name that the model is served by.
        input_names: mapping from signature to the name of its input. Defaults to
            `INPUT_NAMES`.
    """
    import tensorflow as tf

    # An extra: not everyone who exports runs TensorFlow Serving.
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    path = Path(folder) / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    images = images[:WARMUP_IMAGES]
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for signature, input_name in input_names.items():
            for batch in (images[:1], images):
                message = predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(
                        name=model_name, signature_name=signature
                    )
                )
                message.inputs[input_name].CopyFrom(
                    tf.make_tensor_proto(make_request(signature, batch))
                )
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=message)
                )
                writer.write(log.SerializeToString())


def read_warmup(folder: str | os.PathLike) -> Iterator[tuple[str, dict]]:
    """Reads the requests back.

    Args:
        folder: str or path. The version's folder.

    Yields:
        Pairs of a signature and its inputs, a dict from name to array.
    """
    import tensorflow as tf
    from tensorflow_serving.apis import prediction_log_pb2

    path = Path(folder) / WARMUP_FILE
    for record in tf.compat.v1.io.tf_record_iterator(os.fspath(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        message = log.predict_log.request
        inputs = {
            name: tf.make_ndarray(tensor) for name, tensor in message.inputs.items()
        }
        yield message.model_spec.signature_name, inputs
