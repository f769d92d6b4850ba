"""Requests that TensorFlow Serving answers before it lets others in.

The first request to each signature is slow, because kernels are chosen and memory is
allocated then. TensorFlow Serving replays `assets.extra/tf_serving_warmup_requests`
when it loads a version: a TFRecord file of `PredictionLog`s.
"""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from export.samples import INPUT_NAMES, request

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"


def is_available() -> bool:
    """Whether `tensorflow-serving-api`, which defines the records, is installed."""
    return importlib.util.find_spec("tensorflow_serving") is not None


def write_warmup(
    folder: str | os.PathLike, images: np.ndarray, *, model_name: str
) -> None:
    """Writes a request with one image and one with all, for every signature.

    Args:
        folder: str or path. The version's folder.
        images: uint8 array (N, S, S, 3). A few are enough.
        model_name: str. The name that the model is served by.
    """
    # An extra: not everyone who exports runs TensorFlow Serving.
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    path = Path(folder) / WARMUP_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for signature, input_name in INPUT_NAMES.items():
            for batch in (images[:1], images):
                message = predict_pb2.PredictRequest(
                    model_spec=model_pb2.ModelSpec(
                        name=model_name, signature_name=signature
                    )
                )
                message.inputs[input_name].CopyFrom(
                    tf.make_tensor_proto(request(signature, batch))
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
    from tensorflow_serving.apis import prediction_log_pb2

    path = Path(folder) / WARMUP_FILE
    for record in tf.compat.v1.io.tf_record_iterator(os.fspath(path)):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        message = log.predict_log.request
        inputs = {
            name: tf.make_ndarray(tensor) for name, tensor in message.inputs.items()
        }
        yield message.model_spec.signature_name, inputs
