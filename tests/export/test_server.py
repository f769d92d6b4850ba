import contextlib
import json
import re
import shutil
import socket
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from export import integrity, models_config, pusher, server
from export.__main__ import main as export_command
from export.rollback import roll_back, undo
from export.server import main

BATCHING_FIELDS = {
    "max_batch_size": (1, ".google.protobuf.Int64Value"),
    "batch_timeout_micros": (2, ".google.protobuf.Int64Value"),
    "max_enqueued_batches": (3, ".google.protobuf.Int64Value"),
    "num_batch_threads": (4, ".google.protobuf.Int64Value"),
    "thread_pool_name": (5, ".google.protobuf.StringValue"),
}


def make_versions(folder, *numbers, file="saved_model.pb"):
    for number in numbers:
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / file).write_text("model")


@pytest.fixture
def root(tmp_path):
    make_versions(tmp_path / "student", 100, 300, 200)
    make_versions(tmp_path / "base-2", 7)
    make_versions(tmp_path / "phone", 8, file="model.tflite")
    (tmp_path / "notes").mkdir()
    (tmp_path / "student" / ".rejected" / "400").mkdir(parents=True)
    assert main([f"--root={tmp_path}", "--max_batch_size=64"]) == 0
    return tmp_path


def parse_models(root):
    protos = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    message = text_format.Parse(
        (root / "models.config").read_text(), protos.ModelServerConfig()
    )
    return {model.name: model for model in message.model_config_list.config}


def batching_message():
    """`BatchingParameters` of TensorFlow Serving, which no package on PyPI holds."""
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=[wrappers_pb2.DESCRIPTOR.name],
    )
    message = file.message_type.add(name="BatchingParameters")
    for name, (number, kind) in BATCHING_FIELDS.items():
        message.field.add(name=name, number=number, label=1, type=11, type_name=kind)
    message.field.add(name="allowed_batch_sizes", number=6, label=3, type=3)
    message.field.add(name="pad_variable_length_inputs", number=7, label=1, type=8)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    found = pool.FindMessageTypeByName("tensorflow.serving.BatchingParameters")
    return message_factory.GetMessageClass(found)()


def test_models_config_is_what_the_server_parses(root):
    models = parse_models(root)
    assert list(models) == ["base-2", "student"]
    student = models["student"]
    assert student.base_path == "/models/student"
    assert student.model_platform == "tensorflow"
    assert student.model_version_policy.latest.num_versions == 2
    assert not student.version_labels


def test_batching_config_is_what_the_server_parses(root):
    message = text_format.Parse(
        (root / "batching.config").read_text(), batching_message()
    )
    assert message.max_batch_size.value == 64
    assert message.batch_timeout_micros.value == 2000
    assert message.num_batch_threads.value == 2
    assert message.max_enqueued_batches.value > 0


def test_monitoring_config_is_what_the_server_parses(root):
    """`MonitoringConfig` of TensorFlow Serving, which no package on PyPI holds."""
    file = descriptor_pb2.FileDescriptorProto(
        name="monitoring.proto", package="serving"
    )
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, label=1, type=8)
    prometheus.field.add(name="path", number=2, label=1, type=9)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config",
        number=1,
        label=1,
        type=11,
        type_name=".serving.PrometheusConfig",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindMessageTypeByName("serving.MonitoringConfig")
    text = (root / "monitoring.config").read_text()
    message = text_format.Parse(text, message_factory.GetMessageClass(found)())
    assert message.prometheus_config.enable
    assert message.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_compose_file_mounts_what_the_flags_name(root):
    compose = yaml.safe_load((root / "docker-compose.yml").read_text())
    (service,) = compose["services"].values()
    (volume,) = service["volumes"]
    source, mount, mode = volume.split(":")
    assert (source, mode) == (".", "ro")
    flags = dict(each.removeprefix("--").split("=") for each in service["command"])
    for flag in (
        "model_config_file",
        "batching_parameters_file",
        "monitoring_config_file",
    ):
        assert (root / flags[flag].removeprefix(f"{mount}/")).is_file()
    # Nobody else is let in, and nobody is surprised by another version.
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    assert re.fullmatch(
        r"tensorflow/serving:\$\{TF_SERVING_TAG:-[\d.]+\}", service["image"]
    )
    # Without it a server that finds labels in its first configuration may not start.
    assert flags["allow_version_labels_for_unavailable_models"] == "true"


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_health_check_fails_where_nobody_listens(root):
    compose = yaml.safe_load((root / "docker-compose.yml").read_text())
    (service,) = compose["services"].values()
    kind, *command = service["healthcheck"]["test"]
    assert kind == "CMD"
    with socket.create_server(("localhost", 0)) as listener:
        port = str(listener.getsockname()[1])
        command[-1] = command[-1].replace("/8501", f"/{port}")
        assert port in command[-1]
        assert subprocess.run(command, capture_output=True).returncode == 0
    assert subprocess.run(command, capture_output=True).returncode != 0


class TensorFlowServing:
    """How the server follows a folder: it polls `models.config` and the versions.

    `ServerCore::ReloadConfig` first checks the labels of all models and follows nothing
    where it refuses one; `FileSystemStoragePathSource` aspires to versions;
    `AvailabilityPreservingPolicy` unloads what is not aspired to once another version
    is available.
    """

    def __init__(self, root):
        self.root, self.models, self.labels, self.loaded = root, {}, {}, {}
        self.can_load = True
        assert self.poll_config()
        self.poll_versions()

    def poll_config(self):
        models, labels = parse_models(self.root), {}
        for name, model in models.items():
            for label, version in model.version_labels.items():
                # --allow_version_labels_for_unavailable_models: new ones may be.
                is_new = self.labels.get((name, label), version) == version
                if not is_new and version not in self.loaded.get(name, ()):
                    return False
                labels[name, label] = version
        self.models, self.labels = models, labels
        return True

    def poll_versions(self):
        for name, model in self.models.items():
            folder = self.root / model.base_path.removeprefix("/models/")
            found = sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())
            policy = model.model_version_policy
            aspired = set(found[-policy.latest.num_versions :])
            if policy.WhichOneof("policy_choice") == "specific":
                aspired = set(found) & set(policy.specific.versions)
            loaded = self.loaded.setdefault(name, set())
            if self.can_load:
                loaded |= aspired
            if loaded & aspired:
                loaded &= aspired

    def answers(self, name, label=None):
        """The version that answers a request, None if none does."""
        loaded = self.loaded[name]
        version = self.labels.get((name, label)) if label else max(loaded, default=None)
        return version if version in loaded else None


@pytest.fixture
def serve():
    """A running server with an address, which looks at its folder when it is asked."""
    with contextlib.ExitStack() as stack:

        def start(root):
            serving = TensorFlowServing(root)

            class Handler(BaseHTTPRequestHandler):
                def do_GET(self):
                    serving.poll_config()
                    serving.poll_versions()
                    _, name, _, version = (
                        self.path.strip("/").split("/", 1)[1].split("/")
                    )
                    is_loaded = int(version) in serving.loaded[name]
                    state = "AVAILABLE" if is_loaded else "LOADING"
                    content = [{"version": version, "state": state}]
                    body = json.dumps({"model_version_status": content}).encode()
                    self.send_response(200)
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *arguments):
                    pass

            rest = stack.enter_context(ThreadingHTTPServer(("localhost", 0), Handler))
            thread = threading.Thread(target=rest.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(rest.shutdown)
            return serving, f"http://localhost:{rest.server_port}"

        yield start


def push_version(out, count=None):
    with pusher.staging(out) as folder:
        (folder / "saved_model.pb").write_text("model")
        return int(pusher.push(folder, out, count=count).name)


def test_every_export_is_served_and_every_rollback(root):
    out = root / "student"
    serving = TensorFlowServing(root)
    assert serving.answers("student") == 300
    for count in (None, 2, 1, 1):
        number = push_version(out, count)
        assert serving.poll_config()
        serving.poll_versions()
        assert serving.answers("student") == number
    number = push_version(out)
    serving.poll_versions()
    before = pusher.list_versions(out)[-2]
    for verb, served in (
        (lambda: roll_back(out, before), before),
        (lambda: undo(out), number),
        (lambda: roll_back(out, number), number),
    ):
        verb()
        assert serving.poll_config()
        serving.poll_versions()
        assert serving.answers("student") == served


def test_labels_move_when_the_server_has_loaded_their_versions(root, serve, capsys):
    out = root / "student"
    serving, address = serve(root)
    flags = ["--promote", f"--root={root}", f"--server={address}", "--model=student"]
    assert main(flags) == 0
    assert capsys.readouterr().out == "student: 300 is stable\n"
    number = push_version(out, 1)
    for _ in range(2):
        assert serving.poll_config()
        serving.poll_versions()
        # The new version answers those who ask for none; labels stay, with their files.
        assert serving.answers("student") == number
        assert serving.answers("student", "stable") == 300
    assert main(flags) == main(flags) == 0  # The second one changes nothing.
    assert serving.poll_config()
    serving.poll_versions()
    assert serving.answers("student", "stable") == number
    assert serving.answers("student", "previous") == 300
    assert export_command(["rollback", f"--out={out}", "--to=300"]) == 0
    assert serving.poll_config()
    serving.poll_versions()
    assert serving.answers("student") == serving.answers("student", "stable") == 300


def test_labels_stay_where_the_server_cannot_load_a_version(root, serve, capsys):
    serving, address = serve(root)
    flags = ["--promote", f"--root={root}", f"--server={address}", "--timeout=0"]
    assert main(flags) == 0
    push_version(root / "student")
    serving.can_load = False
    before = (root / "models.config").read_text()
    assert main(flags) == 2
    assert "has not loaded version" in capsys.readouterr().err
    assert (root / "models.config").read_text() == before
    assert serving.poll_config() and serving.answers("student", "stable") == 300


class Killed(BaseException):
    pass


@pytest.mark.parametrize("labelled", [False, True], ids=["plain", "labelled"])
@pytest.mark.parametrize("verb", ["export", "keep", "rollback", "undo", "promote"])
def test_killed_between_any_two_steps(root, serve, monkeypatch, verb, labelled):
    out = root / "student"
    serving, address = serve(root)
    promotion = server.PromoteConfig(root=str(root), server=address, model=("student",))
    if labelled:
        server.promote(promotion)
        push_version(out)
        server.promote(promotion)
    before = pusher.list_versions(out)
    if verb == "undo":
        roll_back(out, before[-2])
    verbs = {
        "export": lambda: push_version(out),
        "keep": lambda: push_version(out, 1),
        "rollback": lambda: roll_back(out, before[-2]),
        "undo": lambda: undo(out),
        "promote": lambda: server.promote(promotion),
    }

    def poll():
        assert serving.poll_config()
        serving.poll_versions()
        assert serving.answers("student") is not None

    def step(left, function):
        def killing(*arguments, **named):
            poll()
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return function(*arguments, **named)

        return killing

    # A server that has never been asked for labels yet gets them in one step.
    for killed_at in range(10):
        left = [killed_at]
        with monkeypatch.context() as patch:
            for owner, name in (
                (Path, "rename"),
                (Path, "replace"),
                (pusher.shutil, "rmtree"),
            ):
                patch.setattr(owner, name, step(left, getattr(owner, name)))
            with contextlib.suppress(Killed):
                verbs[verb]()
        poll()
        if left[0] > 0:
            break
    else:
        raise AssertionError("it never came to its end")
    # Whatever was left behind, the same command comes to the same end.
    verbs[verb]()
    poll()
    newest = before[-2] if verb == "rollback" else pusher.list_versions(out)[-1]
    assert serving.answers("student") == newest
    if labelled or verb == "promote":
        assert serving.answers("student", "stable") is not None


@pytest.mark.parametrize("verb", ["export", "rollback", "undo", "server"])
def test_a_configuration_that_a_kill_left_stale_is_mended(root, monkeypatch, verb):
    """Killed after a version has appeared, before `models.config` names its model."""
    out, file = root / "new", root / "models.config"

    def kill(out):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pusher, "refresh", kill)
        with pytest.raises(Killed):
            push_version(out)
    assert "new" not in parse_models(root)
    (number,) = pusher.list_versions(out)
    {
        "export": lambda: push_version(out),
        "rollback": lambda: roll_back(out, number),
        "undo": lambda: undo(out),
        "server": lambda: main([f"--root={root}"]),
    }[verb]()
    assert "new" in parse_models(root)
    before = file.read_text()
    models_config.refresh(out)
    assert file.read_text() == before


def test_no_version_goes_before_the_configuration_knows(root, monkeypatch):
    events = []
    for name in ("refresh", "keep"):
        function = getattr(pusher, name)
        monkeypatch.setattr(
            pusher,
            name,
            lambda *arguments, _name=name, _function=function, **named: (
                events.append(_name),
                _function(*arguments, **named),
            ),
        )
    push_version(root / "student", 1)
    assert events == ["refresh", "keep"]


def test_damaged_versions_are_not_configured(root, serve, fails):
    folder = root / "student" / "300"
    integrity.seal(folder)
    assert main([f"--root={root}"]) == 0
    _, address = serve(root)
    before = (root / "models.config").read_text()
    (folder / "saved_model.pb").write_text("moDel")
    for flags in ([], ["--promote", f"--server={address}", "--timeout=0"]):
        message = f"{folder} is damaged (saved_model.pb changed)"
        fails(main, [*flags, f"--root={root}"], message)
    assert (root / "models.config").read_text() == before


def test_labels_of_earlier_files_are_kept(root):
    """Version 0.1.0 wrote both labels and the two versions by itself."""
    text = (root / "models.config").read_text()
    labels = 'version_labels { key: "stable" value: 200 }'
    text = text.replace('name: "student"', f'name: "student"\n    {labels}')
    (root / "models.config").write_text(text)
    assert models_config.read_labels(root) == {"student": {"stable": 200}}
    make_versions(root / "no name", 1)
    models_config.refresh(root / "student")
    assert "no name" not in (root / "models.config").read_text()
    student = parse_models(root)["student"]
    assert dict(student.version_labels) == {"stable": 200}
    assert student.model_version_policy.specific.versions == [200, 300]


def test_a_damaged_models_config_is_not_one_without_labels(root, fails):
    file = root / "models.config"
    write_labels = {"student": {"stable": 200}}
    models_config.write_models_config(root, write_labels)
    whole = file.read_text()
    assert models_config.read_labels(root) == write_labels
    damaged = [
        "",
        "null",
        "junk",
        whole + "}",
        whole.replace("version_labels", "version"),
    ]
    damaged += [whole[:end] for end in range(1, len(whole) - 2, 7)]
    for text in damaged:
        file.write_text(text)
        with pytest.raises(ValueError, match=r"models\.config is damaged .*put back"):
            models_config.read_labels(root)
    fails(main, [f"--root={root}"], f"{file} is damaged")
    assert file.read_text() == damaged[-1]


@pytest.mark.parametrize("verb", [lambda out: roll_back(out, 200), undo])
def test_versions_stay_where_the_configuration_cannot_follow(root, verb):
    out = root / "student"
    before = sorted(path.relative_to(out) for path in out.glob("*"))
    (root / "models.config").write_text("model_config_list {")
    with pytest.raises(ValueError, match=r"models\.config is damaged"):
        verb(out)
    assert sorted(path.relative_to(out) for path in out.glob("*")) == before


@pytest.mark.parametrize("server", ["http://localhost:abc", "http://a b:80"])
def test_addresses_that_are_none(root, fails, server):
    flags = ["--promote", f"--root={root}", f"--server={server}"]
    fails(main, flags, f"{server} does not answer")


def test_nothing_is_refreshed_where_no_config_is(tmp_path):
    make_versions(tmp_path / "student", 1)
    models_config.refresh(tmp_path / "student")
    assert not (tmp_path / "models.config").exists()


@pytest.mark.parametrize(
    "name,flag,message",
    [
        # Every version holds warm-up requests with four images.
        ("student", "--max_batch_size=1", "`max_batch_size` must be at least 4"),
        ("student", "--max_batch_size=3", "`max_batch_size` must be at least 4"),
        ("student", "--batch_timeout_micros=-1", "`batch_timeout_micros` must be at"),
        ("a model", "--max_batch_size=4", "letters, digits"),
        (None, "--max_batch_size=4", "must hold served folders"),
        (None, "--root=/no/such/folder", "`root` must be a folder"),
        (None, "--size=1", "Unknown command line flag 'size'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(name, flag, message, tmp_path, fails):
    if name:
        make_versions(tmp_path / name, 1)
    before = sorted(tmp_path.rglob("*"))
    fails(main, [f"--root={tmp_path}", flag], message)
    assert sorted(tmp_path.rglob("*")) == before
