import io
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.litert import convert_to_litert
from export.litert_metadata import describe, repack

LABELS = "circle\nsquare\n"
# Fields of tables by name, numbered as in `metadata_schema.fbs`: how to read the metadata
# without the code that wrote it. A union takes two numbers.
TEXT, BYTE, FLOATS = "text", "byte", "floats"
FILE = {"name": (0, TEXT), "type": (2, BYTE)}
UNIT = {"kind": (0, BYTE), "options": (1, {"mean": (0, FLOATS), "std": (1, FLOATS)})}
TENSOR = {
    "name": (0, TEXT),
    "content": (
        3,
        {"kind": (0, BYTE), "properties": (1, {"color_space": (0, BYTE)})},
    ),
    "process_units": (4, [UNIT]),
    "stats": (5, {"max": (0, FLOATS), "min": (1, FLOATS)}),
    "files": (6, [FILE]),
}
SUBGRAPH = {"inputs": (2, [TENSOR]), "outputs": (3, [TENSOR])}
MODEL = {
    "name": (0, TEXT),
    "description": (1, TEXT),
    "subgraphs": (3, [SUBGRAPH]),
    "license": (5, TEXT),
    "min_parser_version": (7, TEXT),
}


def read_metadata(flatbuffer):
    """The metadata in a LiteRT file, as a dict."""
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    (entry,) = [each for each in model.metadata if each.name == b"TFLITE_METADATA"]
    content = model.buffers[entry.buffer].data.tobytes()
    assert content[4:8] == b"M001"
    root = flatbuffers.encode.Get(flatbuffers.packer.uoffset, content, 0)
    found = read_table(flatbuffers.table.Table(content, root), MODEL)
    return {**found, **found.pop("subgraphs")[0]}


def read_table(table, fields):
    return {name: read_field(table, *field) for name, field in fields.items()}


def read_field(table, number, kind):
    offset = table.Offset(4 + 2 * number)
    if not offset:
        return None
    if kind == BYTE:
        return table.Get(flatbuffers.number_types.Int8Flags, table.Pos + offset)
    if kind == TEXT:
        return table.String(table.Pos + offset).decode()
    if kind == FLOATS:
        flags = flatbuffers.number_types.Float32Flags
        return table.GetVectorAsNumpy(flags, offset).tolist()
    if isinstance(kind, dict):
        inner = table.Indirect(table.Pos + offset)
        return read_table(flatbuffers.table.Table(table.Bytes, inner), kind)
    places = [table.Vector(offset) + 4 * i for i in range(table.VectorLen(offset))]
    return [
        read_table(flatbuffers.table.Table(table.Bytes, table.Indirect(place)), kind[0])
        for place in places
    ]


def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(inputs))
    return keras.Model(inputs, keras.layers.Dense(2)(x))


@pytest.mark.parametrize(
    "outputs", [("probabilities",), ("logits",), ("logits", "probabilities")]
)
def test_a_file_says_what_it_takes_and_gives(outputs):
    plain = convert_to_litert(model(), outputs=outputs)
    described = describe(
        plain,
        name="shop",
        description="Sorts shapes.",
        license="CC-BY-4.0",
        files={"labels.txt": LABELS, "metadata.json": "{}"},
        labels_file="labels.txt",
    )
    found = read_metadata(described)
    assert found["name"] == "shop" and found["description"] == "Sorts shapes."
    assert found["license"] == "CC-BY-4.0" and found["min_parser_version"] == "1.0.0"
    (pixels,) = found["inputs"]
    assert pixels["name"] == "images"
    # An image in RGB whose pixels are taken as they are: (x - 0) / 1.
    assert pixels["content"] == {"kind": 2, "properties": {"color_space": 1}}
    (unit,) = pixels["process_units"]
    assert unit == {"kind": 1, "options": {"mean": [0.0], "std": [1.0]}}
    assert pixels["stats"] == {"max": [255.0], "min": [0.0]}
    assert {each["name"] for each in found["outputs"]} == set(outputs)
    for each in found["outputs"]:
        assert each["files"] == [{"name": "labels.txt", "type": 2}]
        assert each["content"]["kind"] == 1
    with zipfile.ZipFile(io.BytesIO(described)) as archive:
        assert archive.read("labels.txt").decode() == LABELS
        assert {each.compress_type for each in archive.infolist()} == {0}


def test_outputs_are_described_in_the_order_of_the_file():
    described = describe(
        convert_to_litert(model()),
        name="shop",
        description="",
        license=None,
        files={"labels.txt": LABELS},
        labels_file="labels.txt",
    )
    interpreter = Interpreter(model_content=described)
    interpreter.allocate_tensors()
    image = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    outputs = read_metadata(described)["outputs"]
    for details, output in zip(interpreter.get_output_details(), outputs, strict=True):
        answer = interpreter.get_tensor(details["index"])
        is_probability = bool(np.isclose(answer.sum(), 1, atol=1e-4))
        assert output["name"] == ("probabilities" if is_probability else "logits")


def test_weights_are_aligned_and_answers_stay():
    plain = convert_to_litert(model())
    packed = repack(plain, b"metadata")
    content = schema.Model.GetRootAs(packed, 0)
    for index in range(content.BuffersLength()):
        buffer = content.Buffers(index)
        if buffer.DataLength():
            field = buffer._tab.Offset(4)
            assert buffer._tab.Vector(field) % 16 == 0
    image = np.random.default_rng(0).uniform(0, 255, (1, 8, 8, 3)).astype(np.float32)
    answers = [
        Interpreter(model_content=each).get_signature_runner()(images=image)["logits"]
        for each in (plain, packed)
    ]
    np.testing.assert_array_equal(*answers)
