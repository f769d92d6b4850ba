"""How a request travels to TensorFlow Serving: over REST or over gRPC.

Both channels keep one connection and have the same contract. `ask(question, images,
seconds)` gives the outputs of each row of the answer by name. It raises
`ConnectionError` if the server cannot be reached, is not available or is late, which
may be different the next time, and `ValueError` if it refuses or gives something else.
"""

import base64
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import select
import socket
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from export.client_config import ENCRYPTED, ClientConfig
from export.requests import INPUT_NAMES, OPTIONAL_INPUT_NAMES
from v1keras.reading import read_text, reading

Row = dict[str, Any]

# Too many requests, and what proxies answer for a server that is away or starts.
_UNAVAILABLE = (429, 502, 503, 504)


@dataclasses.dataclass(frozen=True)
class Question:
    """What a server is asked about images.

    Args:
        signature: str. One that takes encoded images.
        outputs: tuple of str. What a row of the answer must hold.
        optional: tuple of str. What it may hold beside that. Defaults to nothing.
    """

    signature: str
    outputs: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def row_of(self, values: Mapping[str, Any]) -> Row:
        """Those of some outputs that are asked for."""
        given = [name for name in self.optional if name in values]
        return {name: values[name] for name in (*self.outputs, *given)}


class RestChannel:
    """Asks over REST.

    Args:
        config: `ClientConfig`. Its server begins with `http`.
    """

    def __init__(self, config: ClientConfig) -> None:
        self._config = config
        self._address = urllib.parse.urlsplit(config.server)
        parts = ["v1", "models", config.model]
        if config.version is not None:
            parts += ["versions", str(config.version)]
        if config.label is not None:
            parts += ["labels", config.label]
        path = "/".join(urllib.parse.quote(part, safe="") for part in parts)
        self._path = f"{self._address.path.rstrip('/')}/{path}:predict"
        self._headers = {"Content-Type": "application/json"}
        if config.token_file is not None:
            self._headers["Authorization"] = f"Bearer {_token(config)}"
        self._tls = None
        if config.scheme in ENCRYPTED:
            self._tls = ssl.create_default_context(cadata=_certificates(config))
        self._connection: http.client.HTTPConnection | None = None

    def ask(
        self, question: Question, images: Sequence[bytes], seconds: float
    ) -> list[Row]:
        """See the module."""
        instances = [{"b64": base64.b64encode(image).decode()} for image in images]
        body = json.dumps(
            {"signature_name": question.signature, "instances": instances}
        )
        connection = self._connect()
        with contextlib.ExitStack() as on_failure:
            # What comes later is then read by no one.
            on_failure.callback(self.close)
            try:
                status, data = _within(seconds, lambda: self._post(connection, body))
            except TimeoutError as error:
                raise _late(self._config) from error
            except (OSError, http.client.IncompleteRead) as error:
                raise _no_answer(self._config, error) from error
            except http.client.HTTPException as error:
                # What speaks another protocol, such as gRPC.
                raise _foreign_server(self._config, error) from error
            on_failure.pop_all()
        if status in _UNAVAILABLE:
            raise _no_answer(self._config, _message(data))
        if status != http.HTTPStatus.OK:
            raise ValueError(f"the server refuses: {_message(data)}")
        try:
            answer = json.loads(data)
        except ValueError as error:
            raise _foreign_server(self._config, error) from error
        try:
            return [question.row_of(row) for row in answer["predictions"]]
        except (KeyError, TypeError) as error:
            raise _foreign_answer(self._config, question) from error

    def close(self) -> None:
        """Ends the connection, also one that another thread reads from."""
        if self._connection is not None:
            if self._connection.sock is not None:
                with contextlib.suppress(OSError):
                    self._connection.sock.shutdown(socket.SHUT_RDWR)
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        """The open connection, or a new one if the server has ended that."""
        if self._connection is not None and self._connection.sock is not None:
            is_readable, _, _ = select.select([self._connection.sock], [], [], 0)
            if not is_readable:
                return self._connection
            self.close()
        netloc, timeout = self._address.netloc, self._config.timeout
        try:
            self._connection = (
                http.client.HTTPConnection(netloc, timeout=timeout)
                if self._tls is None
                else http.client.HTTPSConnection(
                    netloc, timeout=timeout, context=self._tls
                )
            )
        except http.client.InvalidURL as error:
            raise ValueError(
                f"`server` must be an address. Received: server={self._config.server}"
            ) from error
        return self._connection

    def _post(
        self, connection: http.client.HTTPConnection, body: str
    ) -> tuple[int, bytes]:
        connection.request("POST", self._path, body.encode(), self._headers)
        response = connection.getresponse()
        return response.status, response.read()


def _within(seconds: float, call: Callable[[], tuple[int, bytes]]) -> tuple[int, bytes]:
    """What `call` returns, or a `TimeoutError` after so many seconds.

    A socket's own timeout begins anew with every byte that a slow server sends, and
    does not hold while its name is looked up.
    """
    result: concurrent.futures.Future[tuple[int, bytes]] = concurrent.futures.Future()

    def settle() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    # A daemon, so that nothing that hangs keeps the program from its end.
    threading.Thread(target=settle, daemon=True).start()
    return result.result(seconds)


class GrpcChannel:
    """Asks over gRPC.

    Args:
        config: `ClientConfig`. Its server is `host:port`, or begins with `grpcs`.

    Raises:
        ValueError: if `tensorflow-serving-api` is not installed.
    """

    def __init__(self, config: ClientConfig) -> None:
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise ValueError(
                "gRPC needs the package tensorflow-serving-api: pip install "
                "'v1keras[serving]'; or ask over REST: --server=http://host:port"
            ) from error
        self._config = config
        options = [
            # 4 MiB at most by default; a photograph can be larger.
            ("grpc.max_send_message_length", -1),
            # A second by default, in which each retry would fail at once.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
        ]
        address = config.server.rpartition("://")[2]
        if config.scheme in ENCRYPTED:
            certificates = _certificates(config)
            roots = certificates and certificates.encode("ascii")
            credentials = grpc.ssl_channel_credentials(roots)
            if config.token_file is not None:
                credentials = grpc.composite_channel_credentials(
                    credentials, grpc.access_token_call_credentials(_token(config))
                )
            self._channel = grpc.secure_channel(address, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address, options)
        self._service = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)

    def ask(
        self, question: Question, images: Sequence[bytes], seconds: float
    ) -> list[Row]:
        """See the module."""
        import grpc
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        config = self._config
        # Servers refuse a filter that names an output which the model does not have.
        wanted = () if question.optional else question.outputs
        request = predict_pb2.PredictRequest(output_filter=wanted)
        request.model_spec.name = config.model
        request.model_spec.signature_name = question.signature
        if config.version is not None:
            request.model_spec.version.value = config.version
        if config.label is not None:
            request.model_spec.version_label = config.label
        input_name = (INPUT_NAMES | OPTIONAL_INPUT_NAMES)[question.signature]
        request.inputs[input_name].CopyFrom(
            tf.make_tensor_proto(list(images), dtype=tf.string)
        )
        try:
            response = self._service.Predict(request, timeout=seconds)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise _late(config) from error
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise _no_answer(config, error.details()) from error
            raise ValueError(f"the server refuses: {error.details()}") from error
        try:
            columns = {
                name: _column(tf.make_ndarray(tensor))
                for name, tensor in question.row_of(response.outputs).items()
            }
            return [
                dict(zip(columns, values, strict=True))
                for values in zip(*columns.values(), strict=True)
            ]
        except (KeyError, TypeError, ValueError) as error:
            raise _foreign_answer(config, question) from error

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()


def _column(array: np.ndarray) -> list:
    """The values of an output, a row each; strings decoded."""
    if array.dtype == object:
        array = np.char.decode(array.astype(bytes), "utf-8")
    return array.tolist()


def _certificates(config: ClientConfig) -> str | None:
    """The PEM text of whom a server's certificate must be signed by.

    `None` stands for those that the system trusts.
    """
    if config.ca_file is None:
        return None
    with reading(config.ca_file, "give a PEM file of certificates"):
        # Read once, because it may be a pipe. Comments in it need not be ASCII.
        text = Path(config.ca_file).read_bytes().decode("ascii", "ignore")
        # gRPC takes any text for certificates, and then nothing answers.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
        return text


def _token(config: ClientConfig) -> str:
    token = read_text(config.token_file, "give a file that holds a token").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError(
            "`token_file` must hold one line of ASCII characters. "
            f"Received: token_file={config.token_file}"
        )
    return token


def _no_answer(config: ClientConfig, why: object) -> ConnectionError:
    return ConnectionError(f"{config.server} does not answer: {why}")


def _late(config: ClientConfig) -> ConnectionError:
    return ConnectionError(
        f"{config.server} does not answer within {config.timeout:g} seconds"
    )


def _foreign_server(config: ClientConfig, error: Exception) -> ValueError:
    return ValueError(
        f"{config.server} does not answer like TensorFlow Serving: {error}"
    )


def _foreign_answer(config: ClientConfig, question: Question) -> ValueError:
    *others, last = question.outputs
    return ValueError(
        f"the answer must hold the outputs {', '.join(others)} and {last}, as models of "
        f"`python -m export` give them. Received: model={config.model}"
    )


def _message(body: bytes) -> str:
    """The text of an error: TensorFlow Serving wraps it in JSON, proxies do not."""
    text = body.decode("utf-8", errors="replace")
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        return text
    return str(content.get("error", text) if isinstance(content, dict) else text)
