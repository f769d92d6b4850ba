"""The client against servers that speak TensorFlow Serving's protocols.

TensorFlow Serving itself is no Python package. The development server answers over REST,
and a service of its official messages answers over gRPC with what that has loaded.
"""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
import trustme

from export.client import Client, ClientConfig, main
from export.development_server import DevelopmentServer, RefusedError
from export.diagnosis import Diagnoser
from export.saved_model import write_saved_model

grpc = pytest.importorskip("grpc")
pytest.importorskip("tensorflow_serving")

from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_service_pb2_grpc,
)

MODEL, LABEL = "shapes", "stable"
ROW = {"classes": ["cat"], "scores": [0.9]}


class GrpcService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """What the development server has loaded, over gRPC."""

    def __init__(self, application):
        self.application = application

    def Predict(self, request, context):
        spec = request.model_spec
        choice = spec.WhichOneof("version_choice")
        version = spec.version.value if choice == "version" else None
        label = spec.version_label if choice == "version_label" else None
        inputs = {key: tf.make_ndarray(value) for key, value in request.inputs.items()}
        try:
            _, model = self.application.find(spec.name, version, label)
            if spec.signature_name not in model.signatures:
                code = grpc.StatusCode.INVALID_ARGUMENT
                context.abort(code, f"{spec.signature_name} not found in signatures")
            outputs = model.call(spec.signature_name, inputs)
        except RefusedError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = predict_pb2.PredictResponse()
        for key in request.output_filter or outputs:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(outputs[key]))
        return response


@contextlib.contextmanager
def grpc_server(service, credentials=None, port=0):
    pool = grpc.server(
        futures.ThreadPoolExecutor(2),
        options=[("grpc.max_receive_message_length", -1)],
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, pool)
    if credentials is None:
        port = pool.add_insecure_port(f"localhost:{port}")
    else:
        port = pool.add_secure_port("localhost:0", credentials)
    pool.start()
    try:
        yield f"localhost:{port}"
    finally:
        pool.stop(None).wait()


@contextlib.contextmanager
def web_server(answer, tls=None):
    """A server that gives each request and its body to `answer`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            answer(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("localhost", 0), Handler) as rest:
        # A connection that is kept has a thread that waits.
        rest.daemon_threads = True
        rest.block_on_close = False
        if tls is not None:
            rest.socket = tls.wrap_socket(rest.socket, server_side=True)
        thread = threading.Thread(target=rest.serve_forever)
        thread.start()
        try:
            scheme = "http" if tls is None else "https"
            yield f"{scheme}://localhost:{rest.server_port}"
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
def addresses(served_root, served_address):
    with grpc_server(GrpcService(DevelopmentServer(served_root))) as grpc_address:
        yield {"grpc": grpc_address, "rest": served_address}


def png(image):
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def classify(images, address, **settings):
    settings = {"model": MODEL, "retries": 0, **settings}
    with Client(ClientConfig(image=(), server=address, **settings)) as client:
        return client.classify(images)


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_answers_are_those_of_the_model(addresses, images, logits, labels, protocol):
    encoded = [png(image) for image in images[:5]]
    answers = classify(encoded, addresses[protocol])
    for answer, row in zip(answers, logits, strict=False):
        shares = np.exp(row - row.max()) / np.exp(row - row.max()).sum()
        best = np.argsort(-row)
        assert answer.classes == tuple(labels[index] for index in best)
        np.testing.assert_allclose(answer.scores, shares[best], atol=1e-5)
    assert len(answers) == 5


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_versions_are_chosen_by_number_or_label(
    addresses, images, protocol, served_version
):
    encoded, address = [png(images[0])], addresses[protocol]
    expected = classify(encoded, address)
    for settings in ({"version": served_version}, {"label": LABEL}):
        assert classify(encoded, address, **settings) == expected
    with pytest.raises(ValueError, match="the server refuses: Servable not found"):
        classify(encoded, address, version=served_version + 1)
    with pytest.raises(ValueError, match="Unrecognized servable version label: new"):
        classify(encoded, address, label="new")


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_large_photographs_pass(addresses, protocol):
    noise = np.random.default_rng(0).integers(0, 256, (1300, 1300, 3), np.uint8)
    encoded = png(noise)
    assert len(encoded) > 4 * 2**20
    (answer,) = classify([encoded], addresses[protocol])
    assert len(answer.classes) == 5


@pytest.fixture(scope="module")
def diagnosing(diagnosed, diagnosis, serving, tmp_path_factory):
    """Addresses of a model with the signature `diagnose`, and what it should say."""
    root = tmp_path_factory.mktemp("diagnosing")
    diagnoser = Diagnoser(diagnosed.members, diagnosis)
    folder = root / MODEL / "1"
    write_saved_model(diagnosed.model, diagnosed.labels, folder, diagnoser=diagnoser)
    with (
        serving(root) as rest,
        grpc_server(GrpcService(DevelopmentServer(root))) as grpc_address,
    ):
        yield {"grpc": grpc_address, "rest": rest}, diagnoser.diagnose


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_diagnosis_is_that_of_the_model(
    diagnosing, diagnosed, held_out, protocol, tmp_path, capsys
):
    addresses, diagnose = diagnosing
    _, images = held_out
    expected = diagnose(tf.constant(images[:3], tf.float32))
    encoded = [png(image) for image in images[:3]]
    config = ClientConfig(image=(), server=addresses[protocol], model=MODEL)
    with Client(config) as client:
        answers = client.diagnose(encoded)
        assert [answer.classes for answer in answers] == [
            answer.classes for answer in client.classify(encoded)
        ]
    for index, answer in enumerate(answers):
        best = int(np.argmax(expected["logits"][index]))
        assert answer.classes[0] == diagnosed.labels[best]
        assert answer.corruption == expected["corruption"][index].numpy().decode()
        for name in (
            "confidence",
            "corruption_probabilities",
            "severity",
            "disagreement",
        ):
            found = getattr(answer, name)
            np.testing.assert_allclose(found, expected[name][index], atol=1e-4)
    (tmp_path / "a.png").write_bytes(encoded[0])
    flags = [f"--image={tmp_path / 'a.png'}", f"--server={addresses[protocol]}"]
    assert main([*flags, f"--model={MODEL}", "--diagnose"]) == 0
    confidence, sees = capsys.readouterr().out.splitlines()[-2:]
    assert confidence == (
        f"  confidence {answers[0].confidence:.1%}, "
        f"disagreement {answers[0].disagreement:.2f}"
    )
    assert sees.startswith(f"  sees {answers[0].corruption} (")


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_a_model_without_a_diagnosis_is_one_line(addresses, images, protocol):
    config = ClientConfig(image=(), server=addresses[protocol], model=MODEL)
    with (
        Client(config) as client,
        pytest.raises(ValueError, match=r"the server refuses: .*diagnose.* not found"),
    ):
        client.diagnose([png(images[0])])


def test_one_model_without_noise_has_no_disagreement():
    row = ROW | {
        "confidence": 0.8,
        "corruption": "fog",
        "corruption_probabilities": [0.1, 0.9],
        "severity": 2.5,
    }
    answered = [row, {"confidence": 0.8, **ROW}]

    def answer(handler, _):
        reply(handler, 200, {"predictions": [answered.pop(0)]})

    with (
        web_server(answer) as address,
        Client(ClientConfig(image=(), server=address)) as client,
    ):
        (found,) = client.diagnose([b"any"])
        assert found.disagreement is None and found.corruption == "fog"
        with pytest.raises(ValueError, match="corruption_probabilities and severity"):
            client.diagnose([b"any"])


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
        classify([good, data], addresses[protocol])
    assert len(classify([good], addresses[protocol])) == 1


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
    flags = [f"--image={tmp_path / 'a.png'}", f"--server={address}", "--retries=0"]
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
            classify([b"any"], address, timeout=0.5)
        finally:
            stop.set()


@pytest.mark.parametrize("code", [429, 502, 503, 504])
def test_what_is_not_available_is_the_same_error_over_rest_and_grpc(code):
    def unavailable(handler, _):
        reply(handler, code, {"error": "loading"})

    with (
        web_server(unavailable) as address,
        pytest.raises(ConnectionError, match="does not answer: loading"),
    ):
        classify([b"any"], address)


@pytest.mark.parametrize("failure", ["unavailable", "hangs up", "truncated"])
def test_a_server_that_is_not_available_is_asked_again(failure):
    asked = []

    def recover(handler, body):
        asked.append(body)
        if len(asked) == 3:
            reply(handler, 200, {"predictions": [ROW]})
        elif failure == "unavailable":
            reply(handler, 503, {"error": "loading"})
        elif failure == "truncated":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx")
            handler.close_connection = True
        else:
            handler.close_connection = True

    with web_server(recover) as address:
        with pytest.raises(ConnectionError, match="does not answer"):
            classify([b"any"], address, retries=1)
        (answer,) = classify([b"any"], address, retries=0)
    assert answer.classes == ("cat",)
    assert len(asked) == 3 and asked[0] == asked[2]


def test_a_refusal_is_not_asked_again():
    asked = []

    def refuse(handler, body):
        asked.append(body)
        reply(handler, 400, {"error": "no image"})

    with web_server(refuse) as address, pytest.raises(ValueError, match="no image"):
        classify([b"any"], address, retries=3)
    assert len(asked) == 1


def test_no_retry_begins_after_the_deadline():
    asked = []

    def unavailable(handler, body):
        asked.append(body)
        reply(handler, 503, {"error": "loading"})

    with (
        web_server(unavailable) as address,
        pytest.raises(ConnectionError, match="loading"),
    ):
        # The first pause is at least 0.1 s, the sixth at least 3 s.
        classify([b"any"], address, retries=9, timeout=1)
    assert 1 < len(asked) < 7


def test_grpc_finds_a_server_that_starts_late(addresses, images, served_root):
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    application = DevelopmentServer(served_root)
    config = ClientConfig(image=(), server=f"localhost:{port}", model=MODEL, retries=9)
    encoded = [png(images[0])]
    with Client(config) as client, futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.classify, encoded)
        time.sleep(0.3)
        with grpc_server(GrpcService(application), port=port):
            assert waiting.result() == classify(encoded, addresses["grpc"])


def test_one_connection_is_kept_and_opened_again_when_it_ends():
    ports = []

    def answer(handler, _):
        ports.append(handler.client_address[1])
        handler.close_connection = len(ports) == 3
        reply(handler, 200, {"predictions": [ROW]})

    with web_server(answer) as address:
        config = ClientConfig(image=(), server=address, retries=0)
        with Client(config) as client:
            for _ in range(5):
                client.classify([b"any"])
    first, second, third, fourth, fifth = ports
    assert first == second == third != fourth == fifth


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def secrets(authority, tmp_path):
    """Settings that trust the authority and send a token."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "token").write_text("secret\n")
    return {
        "ca_file": str(tmp_path / "ca.pem"),
        "token_file": str(tmp_path / "token"),
    }


class Tokens(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers those who have the token."""

    def Predict(self, request, context):
        sent = dict(context.invocation_metadata()).get("authorization")
        if sent != "Bearer secret":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, f"token {sent}")
        response = predict_pb2.PredictResponse()
        response.outputs["classes"].CopyFrom(tf.make_tensor_proto([[b"cat"]]))
        response.outputs["scores"].CopyFrom(tf.make_tensor_proto([[0.9]]))
        return response


def only_with_token(handler, _):
    sent = handler.headers["Authorization"]
    if sent == "Bearer secret":
        reply(handler, 200, {"predictions": [ROW]})
    else:
        reply(handler, 401, {"error": f"token {sent}"})


@pytest.fixture(params=["grpc", "rest"])
def safe_address(request, authority):
    certificate = authority.issue_cert("localhost")
    if request.param == "rest":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(tls)
        server = web_server(only_with_token, tls)
    else:
        chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
        pair = (certificate.private_key_pem.bytes(), chain)
        server = grpc_server(Tokens(), grpc.ssl_server_credentials([pair]))
    with server as address:
        yield address if request.param == "rest" else f"grpcs://{address}"


def test_tls_and_a_token(safe_address, secrets):
    (answer,) = classify([b"any"], safe_address, **secrets)
    assert answer.classes == ("cat",)
    with pytest.raises(ValueError, match="the server refuses: token None"):
        classify([b"any"], safe_address, ca_file=secrets["ca_file"])
    with pytest.raises(ConnectionError, match="does not answer"):
        classify([b"any"], safe_address, token_file=secrets["token_file"])


def test_certificates_may_come_through_a_pipe(safe_address, secrets, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = "# Autorité\n".encode() + Path(secrets["ca_file"]).read_bytes()
    writer = threading.Thread(target=pipe.write_bytes, args=(text,))
    writer.start()
    (answer,) = classify([b"any"], safe_address, **{**secrets, "ca_file": str(pipe)})
    writer.join()
    assert answer.classes == ("cat",)


def test_a_tls_handshake_that_drips_is_late():
    with socket.create_server(("localhost", 0)) as silent:
        address = f"https://localhost:{silent.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=r"within 0\.5 seconds"):
            classify([b"any"], address, timeout=0.5)


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
        classify([b"any", b"other"], address)


def test_rest_needs_no_tensorflow(tmp_path):
    (tmp_path / "a.png").write_bytes(b"any")
    code = (
        "import sys; from export.client import main; "
        f"assert main(['--image={tmp_path / 'a.png'}', '--server=http://localhost:1'])"
        " == 2; assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize("server", ["https://localhost:1", "grpcs://localhost:1"])
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--image={folder}/absent.png"],
            "must be files that exist. Received: {folder}/",
        ),
        (["--image={folder}"], "must be files that exist. Received: {folder}"),
        (["--ca_file={folder}/absent.pem"], "must be files that exist"),
        (["--token_file={folder}"], "must be files that exist"),
        (["--ca_file={folder}/bytes"], "bytes is damaged"),
        (["--token_file={folder}/bytes"], "bytes is damaged"),
    ],
)
def test_files_that_cannot_be_used_are_named(server, flags, message, tmp_path, fails):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "a.png").write_bytes(b"any")
    given = [f"--image={tmp_path / 'a.png'}", f"--server={server}", "--retries=0"]
    given += [flag.format(folder=tmp_path) for flag in flags]
    fails(main, given, message.format(folder=tmp_path))


def test_the_command_is_quiet_over_grpc(tmp_path):
    (tmp_path / "a.png").write_bytes(b"any")
    flags = [f"--image={tmp_path / 'a.png'}", "--server=localhost:1", "--retries=0"]
    ended = subprocess.run(
        [sys.executable, "-m", "export.client", *flags],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "does not answer" in line


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
        (["--image=/no/cat.jpg"], "must be files that exist"),
        (["--image=a", "--version=1", "--label=stable"], "must not be given together"),
        (["--image=a", "--timeout=0"], "`timeout` must be positive"),
        (["--image=a", "--retries=-1"], "`retries` must be at least 0"),
        (["--image=a", "--server=ftp://host"], "`server` must be host:port, or begin"),
        (["--image=a", "--token_file=t"], "given with https:// or grpcs:// only"),
        (
            ["--image=a", "--server=http://h", "--ca_file=c"],
            "with https:// or grpcs://",
        ),
        ([f"--image={__file__}", "--server=http://h:x"], "`server` must be an address"),
        (
            [f"--image={__file__}", "--server=https://h", "--token_file=/no/token"],
            "must be files that exist",
        ),
        (
            [f"--image={__file__}", "--server=https://h", "--token_file=/dev/null"],
            "`token_file` must hold one line",
        ),
    ],
)
def test_bad_input_is_one_line(flags, message, fails):
    fails(main, flags, message)
