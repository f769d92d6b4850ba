"""The development server against what TensorFlow Serving's REST interface documents."""

import base64
import json
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np
import pytest
import tensorflow as tf

from export.requests import encode_png, make_request
from export.serve import main


def ask(url, body=None):
    """Status and content of an answer; a body that is not bytes is sent as JSON."""
    data = (
        body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(url, data) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture
def url(served_address):
    return f"{served_address}/v1/models/shapes"


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def test_rows_of_pixels(url, images, logits, labels):
    status, answer = ask(f"{url}:predict", {"instances": images[:2].tolist()})
    assert status == 200
    first, second = answer["predictions"]
    assert first.keys() == {"logits", "probabilities", "classes", "scores"}
    np.testing.assert_allclose(first["logits"], logits[0], atol=1e-4)
    assert second["classes"][0] == labels[logits[1].argmax()]


def test_columns_and_signatures_agree(url, images):
    _, rows = ask(f"{url}:predict", {"instances": images[:2].tolist()})
    expected = [row["logits"] for row in rows["predictions"]]
    files = [b64(encode_png(image)) for image in images[:2]]
    examples = [b64(item) for item in make_request("serve_examples", images[:2])]
    pixels = images[:2].tolist()
    for body in (
        {"inputs": pixels},
        {"inputs": {"images": pixels}},
        {"instances": [{"images": each} for each in pixels]},
        {"signature_name": "serve_uint8", "inputs": pixels},
        {"signature_name": "serve_bytes", "instances": files},
        {"signature_name": "serve_bytes", "inputs": {"image_bytes": files}},
        {"signature_name": "serve_bytes", "instances": [{"image_bytes": f} for f in files]},
        {"signature_name": "serve_examples", "instances": examples},
    ):  # fmt: skip
        status, answer = ask(f"{url}:predict", body)
        assert status == 200, answer
        if "inputs" in body:
            found = answer["outputs"]["logits"]
        else:
            found = [row["logits"] for row in answer["predictions"]]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_single_output_stands_without_its_name(tmp_path, serving):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, "names")])
        def greet(self, names):
            return {"greeting_bytes": tf.strings.join([b"\xff", names])}

        @tf.function(
            input_signature=[
                tf.TensorSpec((None,), tf.float32, "a"),
                tf.TensorSpec((None,), tf.float32, "b"),
            ]
        )
        def add(self, a, b):
            return {"sum": a + b}

    model = Model()
    signatures = {"serving_default": model.greet, "add": model.add}
    tf.saved_model.save(model, tmp_path / "m" / "1", signatures)
    with serving(tmp_path) as address:
        url = f"{address}/v1/models/m:predict"
        greeting = b64(b"\xffAda")
        assert ask(url, {"instances": ["Ada"]}) == (200, {"predictions": [greeting]})
        assert ask(url, {"inputs": ["Ada"]}) == (200, {"outputs": [greeting]})
        added = {"signature_name": "add", "inputs": {"a": [1, 2], "b": [0.5, 0]}}
        assert ask(url, added) == (200, {"outputs": [1.5, 2.0]})
        status, answer = ask(url, {"signature_name": "add", "instances": [1.0]})
        assert status == 400 and "several inputs" in answer["error"]


def test_base64_without_padding_or_with_line_ends(url, images):
    data = encode_png(images[0])
    whole = base64.b64encode(data).decode()
    forms = whole, whole.rstrip("="), base64.encodebytes(data).decode()
    answers = [
        ask(
            f"{url}:predict",
            {"signature_name": "serve_bytes", "instances": [{"b64": form}]},
        )
        for form in forms
    ]
    assert answers[0][0] == 200 and answers[1] == answers[2] == answers[0]


def test_status_and_metadata(url, served_version):
    status, answer = ask(url)
    (version,) = answer["model_version_status"]
    assert status == 200
    assert version == {
        "version": str(served_version),
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert ask(f"{url}/versions/{served_version}") == (200, answer)
    status, answer = ask(f"{url}/labels/stable/metadata")
    assert status == 200
    assert answer["model_spec"]["version"] == str(served_version)
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    assert signatures["serve_bytes"]["inputs"]["image_bytes"]["dtype"] == "DT_STRING"
    shape = signatures["serving_default"]["inputs"]["images"]["tensor_shape"]["dim"]
    assert [size["size"] for size in shape] == ["-1", "16", "16", "3"]


@pytest.mark.parametrize(
    "path,body,status,message",
    [
        ("", b"{", 400, "JSON Parse error"),
        ("", [1], 400, "Is not object"),
        ("", {}, 400, "Missing 'inputs' or 'instances' key"),
        ("", {"instances": [], "inputs": []}, 400, "only one of"),
        ("", {"instances": []}, 400, "list with values"),
        ("", {"instances": [[1, 2], [3]]}, 400, "inhomogeneous"),
        ("", {"instances": ["text"]}, 400, "not of expected type: float32"),
        ("", {"instances": [[1.0]]}, 400, "Cannot feed value of shape (1, 1)"),
        ("", {"instances": [{"pixels": 1}]}, 400, "keys must be equal to: images"),
        ("", {"signature_name": "no", "inputs": 1}, 400, 'name: "no" not found'),
        ("", {"signature_name": "serve_uint8", "inputs": 0.5}, 400, "type: uint8"),
        ("", {"signature_name": "serve_bytes", "inputs": [1]}, 400, "type: string"),
        (
            "",
            {"signature_name": "serve_bytes", "inputs": [{"b64": "*"}]},
            400,
            "Unable to base64 decode",
        ),
        (
            "",
            {"signature_name": "serve_bytes", "inputs": [{"b64": "é"}]},
            400,
            "Unable to base64 decode",
        ),
        ("", b"[" * 100_000, 400, "JSON Parse error"),
        ("", {"signature_name": ["a"], "inputs": 1}, 400, "must be a string value"),
        (
            "",
            b'{"signature_name": "serve_bytes", "inputs": ["\\ud800"]}',
            400,
            "invalid surrogate pair",
        ),
        (
            "",
            {"signature_name": "serve_bytes", "inputs": [["a"], ["b", "c"]]},
            400,
            "different lengths",
        ),
        ("", {"signature_name": "serve_bytes", "inputs": ["a"]}, 400, "JPEG or PNG"),
        ("/versions/7", {"inputs": 1}, 404, "for request: Specific(shapes, 7)"),
        ("/labels/new", {"inputs": 1}, 400, "Unrecognized servable version label: new"),
        ("/versions/new", {"inputs": 1}, 400, "Malformed request: POST"),
    ],
)
def test_errors(url, path, body, status, message):
    code, answer = ask(f"{url}{path}:predict", body)
    assert (code, answer.keys()) == (status, {"error"})
    assert message in answer["error"]


def test_what_is_not_served(served_address):
    url = f"{served_address}/v1/models"
    assert ask(f"{url}/other:predict", {"inputs": 1}) == (
        404,
        {"error": "Servable not found for request: Latest(other)"},
    )
    assert ask(f"{url}/other")[0] == 404
    assert ask(f"{url}/shapes/versions/7")[0] == 404
    assert ask(f"{url}/shapes:regress", {"inputs": 1})[0] == 400


def test_command_line_serves_until_it_is_stopped(served_root):
    command = [sys.executable, "-m", "export.serve", f"--root={served_root}"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, "--port=0"], **pipes, text=True) as process:
        try:
            address, _, version = process.stdout.readline().partition(": version ")
            assert address.startswith("http://127.0.0.1:")
            _, answer = ask(address)
            assert answer["model_version_status"][0]["version"] == version.strip()
        finally:
            process.send_signal(signal.SIGINT)
            _, complaints = process.communicate()
    assert process.returncode == 0
    assert "deprecated" not in complaints


def test_bad_input_is_one_line(tmp_path, served_address, served_root, fails):
    fails(main, [f"--root={tmp_path / 'no'}"], "must be a folder")
    fails(main, [f"--root={tmp_path}"], "must hold served folders")
    fails(main, [f"--root={tmp_path}", "--port=70000"], "between 0 and 65535")
    port = served_address.rpartition(":")[2]
    fails(main, [f"--root={served_root}", f"--port={port}"], "Address already in use")
