"""The client against a server that speaks TensorFlow Serving's protocols.

TensorFlow Serving itself is no Python package. `ModelServer` answers its official
messages (gRPC: the generated service; REST: the documented rows of JSON) with what its
loader loads.
"""

import base64
import contextlib
import functools
import json
import subprocess
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest
import tensorflow as tf

from export.client import ClientConfig, classify, main
from export.requests import INPUT_NAMES
from export.saved_model import write_saved_model

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_service_pb2_grpc,
)

MODEL, VERSION, LABEL = "shapes", 1234567890, "stable"


class ModelServer:
    """One loaded version of one model."""

    def __init__(self, folder):
        graph = tf.Graph()
        self.session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(
                self.session, ["serve"], str(folder)
            )
        self.signatures = meta.signature_def
        self.requests = []

    def predict(self, name, version, signature, inputs):
        if name != MODEL or version not in (None, VERSION, LABEL):
            raise LookupError(f"Servable not found for request: {name}/{version}")
        self.requests.append((signature, version))
        definition = self.signatures[signature]
        fetches = {key: info.name for key, info in definition.outputs.items()}
        feeds = {definition.inputs[key].name: value for key, value in inputs.items()}
        return self.session.run(fetches, feeds)


class GrpcService(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, server):
        self.server = server

    def Predict(self, request, context):
        spec = request.model_spec
        choice = spec.WhichOneof("version_choice")
        version = spec.version.value if choice == "version" else spec.version_label
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        try:
            outputs = self.server.predict(
                spec.name, version if choice else None, spec.signature_name, inputs
            )
        except LookupError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = predict_pb2.PredictResponse()
        for key in request.output_filter or outputs:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
        return response


def answer_rest(server, handler, body):
    path, verb = handler.path.removeprefix("/v1/models/").split(":")
    name, *kind = path.split("/")
    version = None
    if kind:
        version = int(kind[1]) if kind[0] == "versions" else kind[1]
    body = json.loads(body)
    rows = [base64.b64decode(row["b64"]) for row in body["instances"]]
    signature = body["signature_name"]
    inputs = {INPUT_NAMES[signature]: np.array(rows, object)}
    try:
        assert verb == "predict"
        outputs = server.predict(name, version, signature, inputs)
    except (LookupError, tf.errors.InvalidArgumentError) as error:
        return reply(handler, 400, {"error": str(error)})
    predictions = [
        {
            key: [
                item.decode() if isinstance(item, bytes) else item
                for item in values[index].tolist()
            ]
            for key, values in outputs.items()
        }
        for index in range(len(rows))
    ]
    return reply(handler, 200, {"predictions": predictions})


@pytest.fixture(scope="module")
def server(classifier, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_saved_model(classifier, labels, folder)
    return ModelServer(folder)


@contextlib.contextmanager
def grpc_server(service):
    pool = grpc.server(
        futures.ThreadPoolExecutor(2),
        options=[("grpc.max_receive_message_length", -1)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, pool)
    port = pool.add_insecure_port("localhost:0")
    pool.start()
    try:
        yield f"localhost:{port}"
    finally:
        pool.stop(None).wait()


@contextlib.contextmanager
def web_server(answer):
    """A server that gives each request and its body to `answer`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("localhost", 0), Handler) as rest:
        thread = threading.Thread(target=rest.serve_forever)
        thread.start()
        try:
            yield f"http://localhost:{rest.server_port}"
        finally:
            rest.shutdown()
            thread.join()


def reply(handler, code, content):
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(code)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@pytest.fixture(scope="module")
def addresses(server):
    with (
        grpc_server(GrpcService(server)) as grpc_address,
        web_server(functools.partial(answer_rest, server)) as rest_address,
    ):
        yield {"grpc": grpc_address, "rest": rest_address}


def png(image):
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def config(address, **settings):
    return ClientConfig(image=(), server=address, model=MODEL, **settings)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_answers_are_those_of_the_model(
    addresses, images, logits, labels, protocol, server
):
    encoded = [png(image) for image in images[:5]]
    answers = classify(encoded, config(addresses[protocol]))
    assert server.requests[-1] == ("serve_bytes", None)
    for answer, row in zip(answers, logits, strict=False):
        shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        best = np.argsort(-row)
        assert answer.classes == tuple(labels[index] for index in best)
        np.testing.assert_allclose(answer.scores, shares[best], atol=1e-5)
    assert len(answers) == 5


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_versions_are_chosen_by_number_or_label(addresses, images, protocol, server):
    encoded = [png(images[0])]
    for settings in ({"version": VERSION}, {"label": LABEL}):
        classify(encoded, config(addresses[protocol], **settings))
        assert server.requests[-1][1] in settings.values()
    with pytest.raises(ValueError, match="the server refuses: Servable not found"):
        classify(encoded, config(addresses[protocol], version=VERSION + 1))


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_large_photographs_pass(addresses, protocol):
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), np.uint8)
    encoded = png(noise)
    assert len(encoded) > 4 * 2**20
    (answer,) = classify([encoded], config(addresses[protocol]))
    assert len(answer.classes) == 5


def announced(width, height):
    """A PNG file of few bytes that claims to be large."""
    data = png(np.zeros((8, 8, 3), np.uint8))
    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return data[:16] + sizes + data[24:]


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
@pytest.mark.parametrize(
    "data,message",
    [
        (b"no image", "image 1 of the request is not a JPEG or PNG"),
        (png(np.zeros((40, 40, 3), np.uint8))[:60], "PNG"),
        (announced(60_000, 60_000), "image 1 of the request must have 1 to"),
        (
            png(np.zeros((1, 200_000, 3), np.uint8)),
            "image 1 of the request is too long",
        ),
    ],
    ids=("no image", "truncated", "decompression bomb", "enlargement bomb"),
)
def test_a_bad_image_is_refused_and_the_server_lives(
    addresses, images, protocol, data, message
):
    good = png(images[0])
    with pytest.raises(ValueError, match=f"(?s)the server refuses: .*{message}"):
        classify([good, data], config(addresses[protocol]))
    assert len(classify([good], config(addresses[protocol]))) == 1


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_command_line(addresses, images, logits, labels, protocol, tmp_path, capsys):
    for index in range(2):
        (tmp_path / f"{index}.png").write_bytes(png(images[index]))
    flags = [
        f"--image={tmp_path / '0.png'},{tmp_path / '1.png'}",
        f"--server={addresses[protocol]}",
        f"--model={MODEL}",
    ]
    assert main(flags) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * 6
    assert lines[0] == str(tmp_path / "0.png")
    for index in range(2):
        assert lines[6 * index + 1].endswith(labels[logits[index].argmax()])


@pytest.mark.parametrize("address", ["localhost:1", "http://localhost:1"])
def test_no_server_is_one_line(address, tmp_path, fails):
    (tmp_path / "a.png").write_bytes(b"any")
    flags = [f"--image={tmp_path / 'a.png'}", f"--server={address}"]
    fails(main, flags, "does not answer")


@pytest.mark.parametrize(
    "body,message",
    [
        (b"<html>", "does not answer like TensorFlow Serving"),
        (b"[]", "must hold the outputs classes and scores"),
        (b'{"predictions": [[0.1, 0.9]]}', "must hold the outputs classes and scores"),
        # Labels would stand by wrong images.
        (b'{"predictions": []}', "a row for each of 1 images. Received: 0 rows"),
    ],
)
def test_other_web_servers_are_one_line(body, message, tmp_path, fails):
    (tmp_path / "a.png").write_bytes(b"any")
    with web_server(lambda handler, _: reply(handler, 200, body)) as address:
        flags = [f"--image={tmp_path / 'a.png'}", f"--server={address}"]
        fails(main, flags, message)


@pytest.mark.parametrize("with_length", [True, False])
@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_drips_is_late(part, with_length):
    stop = threading.Event()

    def drip(handler, _):
        start = b"HTTP/1.1 200 OK\r\n"
        start += b"Content-Length: 99\r\n" if with_length else b""
        start += b"\r\n" if part == "body" else b"X: "
        with contextlib.suppress(OSError):
            handler.wfile.write(start)
            while not stop.wait(0.05):
                handler.wfile.write(b"x")

    with (
        web_server(drip) as address,
        pytest.raises(ConnectionError, match=r"within 0\.5 seconds"),
    ):
        try:
            classify([b"any"], config(address, timeout=0.5))
        finally:
            stop.set()


@pytest.mark.parametrize("code", [502, 503, 504])
def test_what_is_not_available_is_the_same_error_over_rest_and_grpc(code):
    with (
        web_server(
            lambda handler, _: reply(handler, code, {"error": "loading"})
        ) as address,
        pytest.raises(ConnectionError, match="does not answer: loading"),
    ):
        classify([b"any"], config(address))


class Unready(prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "loading")


class OneRow(prediction_service_pb2_grpc.PredictionServiceServicer):
    def Predict(self, request, context):
        response = predict_pb2.PredictResponse()
        response.outputs["classes"].CopyFrom(tf.make_tensor_proto([[b"cat"]]))
        response.outputs["scores"].CopyFrom(tf.make_tensor_proto([[0.9]]))
        return response


@pytest.mark.parametrize(
    "service,error,message",
    [
        (Unready(), ConnectionError, "does not answer: loading"),
        (OneRow(), ValueError, "a row for each of 2 images. Received: 1 rows"),
        (
            prediction_service_pb2_grpc.PredictionServiceServicer(),
            ValueError,
            "the server refuses",
        ),
    ],
    ids=["unavailable", "too few rows", "not implemented"],
)
def test_faults_over_grpc(service, error, message):
    with grpc_server(service) as address, pytest.raises(error, match=message):
        classify([b"any", b"other"], config(address))


def test_rest_needs_no_tensorflow(tmp_path):
    (tmp_path / "a.png").write_bytes(b"any")
    code = (
        "import sys; from export.client import main; "
        f"assert main(['--image={tmp_path / 'a.png'}', '--server=http://localhost:1'])"
        " == 2; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_rest_to_the_port_of_grpc_is_one_line(addresses, tmp_path, fails):
    (tmp_path / "a.png").write_bytes(b"any")
    address = f"http://{addresses['grpc']}"
    flags = [f"--image={tmp_path / 'a.png'}", f"--server={address}"]
    fails(main, flags, "does not answer")


def test_grpc_answers_of_other_models_are_one_line(images, tmp_path, fails):
    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            return predict_pb2.PredictResponse()

    (tmp_path / "a.png").write_bytes(png(images[0]))
    with grpc_server(Service()) as address:
        flags = [f"--image={tmp_path / 'a.png'}", f"--server={address}"]
        fails(main, flags, "must hold the outputs")


@pytest.mark.parametrize(
    "flags,message",
    [
        ([], "--image is required"),
        (["--image=/no/cat.jpg"], "No such file"),
        (["--image=a", "--version=1", "--label=stable"], "must not be given together"),
        (["--image=a", "--timeout=0"], "`timeout` must be positive"),
        ([f"--image={__file__}", "--server=http://no host:1"], "does not answer"),
    ],
)
def test_bad_input_is_one_line(flags, message, fails):
    fails(main, flags, message)
