"""`python -m export.client`: asks a server about image files, over gRPC or REST.

    python -m export.client --image=cat.jpg --model=student
    python -m export.client --image=cat.jpg,dog.png --server=http://host:8501

The files go to the signature `serve_bytes` as they are; the server decodes and resizes
them.
"""

import base64
import contextlib
import dataclasses
import http.client
import json
import socket
import sys
import threading
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.requests import INPUT_NAMES
from v1keras.command_line import option, require, run

_SIGNATURE = "serve_bytes"
_UNAVAILABLE = (502, 503, 504)


@dataclasses.dataclass(frozen=True)
class ClientConfig:
    """Settings of `python -m export.client`."""

    image: tuple[str, ...] = option(
        required=True, help="JPEG or PNG files of any size, in one request."
    )
    server: str = option(
        "localhost:8500",
        "host:port is asked over gRPC (needs the extra `serving`), http://host:port over "
        "REST.",
        group="server",
    )
    timeout: float = option(30.0, "Seconds that the request may take.", group="server")
    model: str = option(
        "student", "The name that the model is served by.", group="model"
    )
    version: int | None = option(
        None, "Its version. Default: what the server chooses.", group="model"
    )
    label: str | None = option(
        None, "The label of the version instead: stable or previous.", group="model"
    )

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise ValueError(
                "`version` and `label` must not be given together. "
                f"Received: version={self.version}, label={self.label}"
            )
        require(self, "timeout", self.timeout > 0, "positive")


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a server says about one image.

    Args:
        classes: tuple of str. The best labels, best first.
        scores: tuple of float. Their probabilities.
    """

    classes: tuple[str, ...]
    scores: tuple[float, ...]


def classify(images: Sequence[bytes], config: ClientConfig) -> list[Answer]:
    """Asks a server about encoded images.

    Args:
        images: sequence of bytes. JPEG or PNG files.
        config: `ClientConfig`; its `image` is not used.

    Returns:
        List of `Answer`, one for each image.

    Raises:
        ConnectionError: if the server cannot be reached, is not available or does not
            answer in time.
        ValueError: if it refuses the request, or its answer does not fit to it.
    """
    is_rest = config.server.startswith(("http://", "https://"))
    return (_ask_rest if is_rest else _ask_grpc)(images, config)


def _ask_rest(images: Sequence[bytes], config: ClientConfig) -> list[Answer]:
    parts = ["v1", "models", config.model]
    if config.version is not None:
        parts += ["versions", str(config.version)]
    if config.label is not None:
        parts += ["labels", config.label]
    path = "/".join(urllib.parse.quote(part, safe="") for part in parts)
    body = {
        "signature_name": _SIGNATURE,
        "instances": [
            {"b64": base64.b64encode(image).decode("ascii")} for image in images
        ],
    }
    status, data = _post(config, f"/{path}:predict", json.dumps(body).encode())
    if status in _UNAVAILABLE:
        raise ConnectionError(f"{config.server} does not answer: {_message(data)}")
    if status != http.HTTPStatus.OK:
        raise ValueError(f"the server refuses: {_message(data)}")
    try:
        answer = json.loads(data)
    except ValueError as error:
        raise _foreign_server(config, error) from error
    try:
        rows = [(row["classes"], row["scores"]) for row in answer["predictions"]]
    except (KeyError, TypeError) as error:
        raise _foreign_answer(config) from error
    return _checked(rows, images)


def _post(config: ClientConfig, path: str, body: bytes) -> tuple[int, bytes]:
    """Status and body of the response to a request, within the time that it may take."""
    address = urllib.parse.urlsplit(config.server)
    is_secure = address.scheme == "https"
    kind = http.client.HTTPSConnection if is_secure else http.client.HTTPConnection
    is_late = threading.Event()
    timer = None

    def give_up(connected: socket.socket) -> None:
        # A socket's own timeout begins anew with every byte that a slow server sends.
        is_late.set()
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    start = time.monotonic()
    try:
        with contextlib.closing(
            kind(address.netloc, timeout=config.timeout)
        ) as connection:
            connection.connect()
            left = config.timeout - (time.monotonic() - start)
            timer = threading.Timer(left, give_up, [connection.sock])
            timer.start()
            headers = {"Content-Type": "application/json"}
            connection.request("POST", address.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            status, data = response.status, response.read()
    except (http.client.HTTPException, OSError) as error:
        if is_late.is_set():
            raise _late(config) from error
        # What speaks another protocol, such as gRPC.
        if isinstance(error, http.client.HTTPException):
            raise _foreign_server(config, error) from error
        raise ConnectionError(f"{config.server} does not answer: {error}") from error
    finally:
        if timer is not None:
            timer.cancel()
    # An answer without a length just ends when its connection does.
    if is_late.is_set():
        raise _late(config)
    return status, data


def _late(config: ClientConfig) -> ConnectionError:
    return ConnectionError(
        f"{config.server} does not answer within {config.timeout:g} seconds"
    )


def _message(body: bytes) -> str:
    """The text of an error: TensorFlow Serving wraps it in JSON, proxies do not."""
    text = body.decode("utf-8", errors="replace")
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return text
    return str(content.get("error", text) if isinstance(content, dict) else text)


def _ask_grpc(images: Sequence[bytes], config: ClientConfig) -> list[Answer]:
    try:
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    except ImportError as error:
        raise ValueError(
            "gRPC needs the package tensorflow-serving-api: pip install "
            "'v1keras[serving]'; or ask over REST: --server=http://host:port"
        ) from error
    import tensorflow as tf

    request = predict_pb2.PredictRequest(output_filter=["classes", "scores"])
    request.model_spec.name = config.model
    request.model_spec.signature_name = _SIGNATURE
    if config.version is not None:
        request.model_spec.version.value = config.version
    if config.label is not None:
        request.model_spec.version_label = config.label
    request.inputs[INPUT_NAMES[_SIGNATURE]].CopyFrom(
        tf.make_tensor_proto(list(images), dtype=tf.string)
    )
    # A message of gRPC is 4 MiB at most by default; a photograph can be larger.
    unlimited = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(config.server, options=unlimited) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = stub.Predict(request, timeout=config.timeout)
        except grpc.RpcError as error:
            raise _grpc_failure(grpc, error, config) from error
    outputs: dict[str, Any] = {
        name: tf.make_ndarray(tensor) for name, tensor in response.outputs.items()
    }
    try:
        rows = [
            ([name.decode("utf-8") for name in classes], scores.tolist())
            for classes, scores in zip(
                outputs["classes"], outputs["scores"], strict=True
            )
        ]
    except KeyError as error:
        raise _foreign_answer(config) from error
    return _checked(rows, images)


def _checked(
    rows: Sequence[tuple[Sequence[str], Sequence[float]]], images: Sequence[bytes]
) -> list[Answer]:
    """The answers, if there is one for each image; others could be matched wrongly."""
    if len(rows) != len(images):
        raise ValueError(
            f"the answer must hold a row for each of {len(images)} images. "
            f"Received: {len(rows)} rows"
        )
    return [Answer(tuple(classes), tuple(scores)) for classes, scores in rows]


def _foreign_server(config: ClientConfig, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"{config.server} does not answer like TensorFlow Serving: {error}"
    )


def _foreign_answer(config: ClientConfig) -> ValueError:
    return ValueError(
        "the answer must hold the outputs classes and scores, as models of "
        f"`python -m export` give them. Received: model={config.model}"
    )


def _grpc_failure(grpc, error, config: ClientConfig) -> Exception:
    unreachable = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    if error.code() in unreachable:
        return ConnectionError(f"{config.server} does not answer: {error.details()}")
    return ValueError(f"the server refuses: {error.details()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code."""
    return run(
        _classify_files,
        ClientConfig,
        argv,
        prog="export.client",
        tensorflow=False,
        description="Asks TensorFlow Serving about image files, over gRPC or REST.",
    )


def _classify_files(config: ClientConfig) -> None:
    images = [Path(path).read_bytes() for path in config.image]
    for path, answer in zip(config.image, classify(images, config), strict=True):
        print(path)
        for label, score in zip(answer.classes, answer.scores, strict=True):
            print(f"  {score:6.1%}  {label}")


if __name__ == "__main__":
    sys.exit(main())
