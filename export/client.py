"""`python -m export.client`: asks a server about image files, over gRPC or REST.

    python -m export.client --image=cat.jpg --model=student
    python -m export.client --image=cat.jpg,dog.png --server=http://host:8501

The files go to the signature `serve_bytes` as they are; the server decodes and resizes
them.
"""

import base64
import dataclasses
import http.client
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.requests import INPUT_NAMES
from v1keras.command_line import option, run

_SIGNATURE = "serve_bytes"


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
    )
    model: str = option("student", "The name that the model is served by.")
    version: int | None = option(None, "Its version. Default: what the server chooses.")
    label: str | None = option(
        None, "The label of the version instead: stable or previous."
    )
    timeout: float = option(30.0, "Seconds to wait for the answer.")

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise ValueError(
                "`version` and `label` must not be given together. "
                f"Received: version={self.version}, label={self.label}"
            )
        if self.timeout <= 0:
            raise ValueError(
                f"`timeout` must be positive. Received: timeout={self.timeout}"
            )


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
        ConnectionError: if the server cannot be reached or does not answer in time.
        ValueError: if it refuses the request; the message is the server's.
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
    request = urllib.request.Request(
        f"{config.server.rstrip('/')}/{path}:predict",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=config.timeout) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        raise ValueError(f"the server refuses: {_message(error.read())}") from error
    except (urllib.error.URLError, TimeoutError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectionError(f"{config.server} does not answer: {reason}") from error
    # What speaks another protocol, such as gRPC, or another web server.
    except (http.client.HTTPException, ValueError) as error:
        raise ConnectionError(
            f"{config.server} does not answer like TensorFlow Serving: {error}"
        ) from error
    try:
        return [
            Answer(tuple(row["classes"]), tuple(row["scores"]))
            for row in answer["predictions"]
        ]
    except (KeyError, TypeError) as error:
        raise _foreign_answer(config) from error


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
        rows = zip(outputs["classes"], outputs["scores"], strict=True)
    except KeyError as error:
        raise _foreign_answer(config) from error
    return [
        Answer(tuple(name.decode("utf-8") for name in classes), tuple(scores.tolist()))
        for classes, scores in rows
    ]


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
