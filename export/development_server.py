"""An application that answers like TensorFlow Serving over REST, for development.

Paths, JSON, status codes and the choice of versions follow `http_rest_api_handler.cc` and
`json_tensor.cc` of TensorFlow Serving; the texts of errors are in part its own.
"""

import base64
import json
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.json_format import MessageToDict
from werkzeug.wrappers import Request, Response

from export.loader import LoadedModel
from export.models_config import loadable_versions, loaded_versions, read_labels
from export.runtimes import DEFAULT_SIGNATURE

_MODEL = r"/v1/models/(?P<name>[^/:]+)(/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_PREDICT = re.compile(rf"(?i:{_MODEL}):predict")
_ASK = re.compile(rf"(?i:{_MODEL})(?P<metadata>/metadata)?")


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: `HTTPStatus` of the answer.
        message: str. What its body says.
    """

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class DevelopmentServer:
    """A WSGI application that answers as TensorFlow Serving would.

    Args:
        root: str or path. Folder of served folders. Of each, the versions are loaded
            that `models.config` would name; labels are those of that file.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it holds nothing to serve.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        if not Path(root).is_dir():
            raise FileNotFoundError(f"`root` must be a folder. Received: root={root}")
        self.labels = read_labels(root)
        self.models = {
            name: {
                version: LoadedModel(Path(root) / name / str(version))
                for version in loaded_versions(found, self.labels.get(name, {}))
            }
            for name, found in loadable_versions(root).items()
        }
        if not self.models:
            raise ValueError(f"`root` must hold served folders. Received: root={root}")

    @Request.application
    def __call__(self, request: Request) -> Response:
        """Answers one request."""
        try:
            status, content = HTTPStatus.OK, self._answer(request)
        except RefusedError as error:
            status, content = error.status, {"error": str(error)}
        return Response(json.dumps(content), status, content_type="application/json")

    def _answer(self, request: Request) -> dict:
        method, path = request.method, request.path
        if method == "POST" and (asked := _PREDICT.fullmatch(path)):
            _, model = self.find(**asked.groupdict())
            return _predict(model, request.get_data())
        if method == "GET" and (asked := _ASK.fullmatch(path)):
            parts = asked.groupdict()
            if parts.pop("metadata"):
                version, model = self.find(**parts)
                return _metadata(parts["name"], version, model)
            return self._status(parts["name"], parts["version"])
        raise _bad_request(f"Malformed request: {method} {path}")

    def find(
        self, name: str, version: str | int | None, label: str | None
    ) -> tuple[int, LoadedModel]:
        """The version of a model that answers: the one asked for, else the newest.

        Raises:
            RefusedError: if it is not loaded.
        """
        versions = self.models.get(name, {})
        wanted, asked = max(versions, default=None), f"Latest({name})"
        if label is not None:
            version = self.labels.get(name, {}).get(label)
            if version is None:
                raise _bad_request(f"Unrecognized servable version label: {label}")
        if version is not None:
            wanted, asked = int(version), f"Specific({name}, {version})"
        if wanted not in versions:
            raise RefusedError(
                HTTPStatus.NOT_FOUND, f"Servable not found for request: {asked}"
            )
        return wanted, versions[wanted]

    def _status(self, name: str, version: str | None) -> dict:
        found = [
            number
            for number in self.models.get(name, {})
            if version is None or number == int(version)
        ]
        if not found:
            missing = "any versions" if version is None else f"version {version}"
            raise RefusedError(
                HTTPStatus.NOT_FOUND, f"Could not find {missing} of model {name}"
            )
        return {
            "model_version_status": [
                {
                    "version": str(number),
                    "state": "AVAILABLE",
                    "status": {"error_code": "OK", "error_message": ""},
                }
                for number in found
            ]
        }


def _metadata(name: str, version: int, model: LoadedModel) -> dict:
    signatures = {
        key: MessageToDict(
            value,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        for key, value in model.signatures.items()
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": str(version)},
        "metadata": {
            "signature_def": {
                "@type": "type.googleapis.com/tensorflow.serving.SignatureDefMap",
                "signature_def": signatures,
            }
        },
    }


def _predict(model: LoadedModel, data: bytes) -> dict:
    try:
        body = json.loads(data)
    # Brackets within brackets without end are a RecursionError.
    except (ValueError, RecursionError) as error:
        raise _bad_request(f"JSON Parse error: {error}") from error
    if not isinstance(body, dict):
        raise _bad_request("JSON Value: Is not object")
    signature = body.get("signature_name", DEFAULT_SIGNATURE)
    if not isinstance(signature, str):
        raise _bad_request("'signature_name' key must be a string value")
    if signature not in model.signatures:
        raise _bad_request(
            f'Serving signature name: "{signature}" not found in signature def'
        )
    if "instances" in body and "inputs" in body:
        raise _bad_request(
            "Not formatted correctly expecting only one of 'inputs' or 'instances' "
            "keys to exist"
        )
    infos = model.signatures[signature].inputs
    is_row = "instances" in body
    if is_row:
        columns = _columns(body["instances"], infos)
    elif "inputs" in body:
        columns = _named(body["inputs"], infos)
    else:
        raise _bad_request("Missing 'inputs' or 'instances' key")
    inputs = {key: _array(value, infos[key].dtype) for key, value in columns.items()}
    try:
        outputs = model.call(signature, inputs)
    except ValueError as error:
        raise _bad_request(str(error)) from error
    except tf.errors.OpError as error:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        if isinstance(error, tf.errors.InvalidArgumentError):
            status = HTTPStatus.BAD_REQUEST
        raise RefusedError(status, error.message) from error
    written = {
        key: _json_value(value, key.endswith("_bytes"))
        for key, value in outputs.items()
    }
    if not is_row:
        (only, *others) = written.values()
        return {"outputs": written if others else only}
    rows = [
        dict(zip(written, row, strict=True))
        for row in zip(*written.values(), strict=True)
    ]
    if len(written) == 1:
        return {"predictions": [value for row in rows for value in row.values()]}
    return {"predictions": rows}


def _columns(instances: Any, infos: Mapping[str, Any]) -> dict[str, list]:
    """The rows of a request as one list for each input."""
    if not isinstance(instances, list) or not instances:
        raise _bad_request("Expecting 'instances' to be a list with values")
    rows = [_named(row, infos) for row in instances]
    return {key: [row[key] for row in rows] for key in infos}


def _named(value: Any, infos: Mapping[str, Any]) -> dict[str, Any]:
    """A value by the name of its input; a single input need not be named."""
    if isinstance(value, dict) and value.keys() != {"b64"}:
        if value.keys() != set(infos):
            raise _bad_request(f"keys must be equal to: {','.join(infos)}")
        return value
    if len(infos) > 1:
        raise _bad_request("an object is expected as there are several inputs")
    return dict.fromkeys(infos, value)


def _array(value: Any, dtype: int) -> np.ndarray:
    wanted = tf.as_dtype(dtype)
    if wanted == tf.string:
        array = np.array(_as_bytes(value), object)
        if any(isinstance(item, list) for item in array.flat):
            raise _bad_request("JSON Value: lists of different lengths")
        return array
    try:
        array = np.array(value)
    except ValueError as error:  # lists of different lengths
        raise _bad_request(f"JSON Value: {error}") from error
    # As TensorFlow Serving: numbers, and no fractions where integers are expected.
    if array.dtype.kind not in ("iuf" if wanted.is_floating else "iu"):
        raise _bad_request(f"JSON Value is not of expected type: {wanted.name}")
    return array.astype(wanted.as_numpy_dtype)


def _as_bytes(value: Any) -> Any:
    """The strings of a request, `{"b64": ...}` decoded, in the lists they stand in."""
    if isinstance(value, list):
        return [_as_bytes(item) for item in value]
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:  # half of a pair, as \ud800
            raise _bad_request("JSON Parse error: invalid surrogate pair") from error
    if isinstance(value, dict) and isinstance(value.get("b64"), str):
        # TensorFlow Serving takes line ends, and lets padding be left out.
        text = "".join(value["b64"].split()).rstrip("=")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError as error:
            raise _bad_request("Unable to base64 decode") from error
    raise _bad_request("JSON Value is not of expected type: string")


def _json_value(array: np.ndarray, is_bytes: bool) -> Any:
    """What JSON can hold; strings of outputs named `*_bytes` become base64."""

    def written(item: Any) -> Any:
        if isinstance(item, list):
            return [written(each) for each in item]
        if isinstance(item, bytes):
            if is_bytes:
                return {"b64": base64.b64encode(item).decode()}
            return item.decode()
        return item

    return written(array.tolist())


def _bad_request(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, message)
