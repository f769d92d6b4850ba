"""The client against a server that speaks TensorFlow Serving's protocols.

TensorFlow Serving itself is no Python package. `ModelServer` answers its official
messages (gRPC: the generated service; REST: the documented rows of JSON) with what its
loader loads.
"""

import base64
import json
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


def rest_handler(server):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            path, verb = self.path.removeprefix("/v1/models/").split(":")
            name, *kind = path.split("/")
            version = None
            if kind:
                version = int(kind[1]) if kind[0] == "versions" else kind[1]
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            rows = [base64.b64decode(row["b64"]) for row in body["instances"]]
            signature = body["signature_name"]
            inputs = {INPUT_NAMES[signature]: np.array(rows, object)}
            try:
                assert verb == "predict"
                outputs = server.predict(name, version, signature, inputs)
            except (LookupError, tf.errors.InvalidArgumentError) as error:
                text = str(error)
                return self.reply(400, {"error": text})
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
            return self.reply(200, {"predictions": predictions})

        def reply(self, code, content):
            data = json.dumps(content).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    return Handler


@pytest.fixture(scope="module")
def server(classifier, labels, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    write_saved_model(classifier, labels, folder)
    return ModelServer(folder)


@pytest.fixture(scope="module")
def addresses(server):
    pool = grpc.server(
        futures.ThreadPoolExecutor(2),
        options=[("grpc.max_receive_message_length", -1)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        GrpcService(server), pool
    )
    port = pool.add_insecure_port("localhost:0")
    pool.start()
    rest = ThreadingHTTPServer(("localhost", 0), rest_handler(server))
    thread = threading.Thread(target=rest.serve_forever)
    thread.start()
    yield {
        "grpc": f"localhost:{port}",
        "rest": f"http://localhost:{rest.server_port}",
    }
    rest.shutdown()
    thread.join()
    rest.server_close()
    pool.stop(None).wait()


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
def test_no_server_is_one_line(address, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"any")
    assert main([f"--image={tmp_path / 'a.png'}", f"--server={address}"]) == 2
    error = capsys.readouterr().err
    assert "does not answer" in error and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "body,message",
    [
        (b"<html>", "does not answer like TensorFlow Serving"),
        (b"[]", "must hold the outputs classes and scores"),
        (b'{"predictions": [[0.1, 0.9]]}', "must hold the outputs classes and scores"),
    ],
)
def test_other_web_servers_are_one_line(body, message, tmp_path, capsys):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    (tmp_path / "a.png").write_bytes(b"any")
    with ThreadingHTTPServer(("localhost", 0), Handler) as rest:
        thread = threading.Thread(target=rest.serve_forever)
        thread.start()
        address = f"http://localhost:{rest.server_port}"
        code = main([f"--image={tmp_path / 'a.png'}", f"--server={address}"])
        rest.shutdown()
        thread.join()
    assert code == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1


def test_rest_to_the_port_of_grpc_is_one_line(addresses, tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"any")
    address = f"http://{addresses['grpc']}"
    assert main([f"--image={tmp_path / 'a.png'}", f"--server={address}"]) == 2
    error = capsys.readouterr().err
    assert "does not answer" in error and len(error.strip().splitlines()) == 1


def test_grpc_answers_of_other_models_are_one_line(images, tmp_path, capsys):
    class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            return predict_pb2.PredictResponse()

    pool = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(), pool)
    port = pool.add_insecure_port("localhost:0")
    pool.start()
    (tmp_path / "a.png").write_bytes(png(images[0]))
    code = main([f"--image={tmp_path / 'a.png'}", f"--server=localhost:{port}"])
    pool.stop(None).wait()
    assert code == 2
    error = capsys.readouterr().err
    assert "must hold the outputs" in error and len(error.strip().splitlines()) == 1


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
def test_bad_input_is_one_line(flags, message, capsys):
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
