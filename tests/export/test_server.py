import re

import pytest
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    wrappers_pb2,
)

from export import pusher
from export.__main__ import main as export_command
from export.server import main, refresh

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
    student, base = models["student"], models["base-2"]
    assert student.base_path == "/models/student"
    assert student.model_platform == "tensorflow"
    assert student.model_version_policy.specific.versions == [200, 300]
    assert dict(student.version_labels) == {"stable": 300, "previous": 200}
    assert dict(base.version_labels) == {"stable": 7}


def test_labels_point_to_loaded_versions_only(root):
    for model in parse_models(root).values():
        loaded = set(model.model_version_policy.specific.versions)
        assert set(model.version_labels.values()) == loaded


def test_batching_config_is_what_the_server_parses(root):
    message = text_format.Parse(
        (root / "batching.config").read_text(), batching_message()
    )
    assert message.max_batch_size.value == 64
    assert message.batch_timeout_micros.value == 2000
    assert message.num_batch_threads.value == 2
    assert message.max_enqueued_batches.value > 0


def test_compose_file_mounts_what_the_flags_name(root):
    text = (root / "docker-compose.yml").read_text()
    assert "\t" not in text
    (mount,) = re.findall(r"- \.:(\S+):ro", text)
    flags = dict(re.findall(r"- --(\w+)=(\S+)", text))
    for flag in ("model_config_file", "batching_parameters_file"):
        assert (root / flags[flag].removeprefix(f"{mount}/")).is_file()
    assert "tensorflow/serving:" in text
    # Without it a server that finds labels in its first configuration may not start.
    assert flags["allow_version_labels_for_unavailable_models"] == "true"


def test_an_export_and_a_rollback_move_the_labels(root):
    with pusher.staging(root / "student") as folder:
        (folder / "saved_model.pb").write_text("model")
        number = int(pusher.publish(folder, root / "student").name)
    make_versions(root / "no name", 1)
    refresh(root / "student")
    assert "no name" not in (root / "models.config").read_text()
    assert dict(parse_models(root)["student"].version_labels) == {
        "stable": number,
        "previous": 300,
    }
    assert export_command(["--rollback", f"--out={root / 'student'}"]) == 0
    assert dict(parse_models(root)["student"].version_labels) == {
        "stable": 300,
        "previous": 200,
    }


def test_nothing_is_refreshed_where_no_config_is(tmp_path):
    make_versions(tmp_path / "student", 1)
    refresh(tmp_path / "student")
    assert not (tmp_path / "models.config").exists()


@pytest.mark.parametrize(
    "name,flag,message",
    [
        ("student", "--max_batch_size=0", "max_batch_size must be at least 1"),
        ("student", "--batch_timeout_micros=-1", "must not be negative"),
        ("a model", "--max_batch_size=1", "letters, digits"),
        (None, "--max_batch_size=1", "holds no served folders"),
        (None, "--root=/no/such/folder", "there is no such folder"),
        (None, "--size=1", "Unknown command line flag 'size'"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    name, flag, message, tmp_path, capsys
):
    if name:
        make_versions(tmp_path / name, 1)
    before = sorted(tmp_path.rglob("*"))
    assert main([f"--root={tmp_path}", flag]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
