"""What a LiteRT file says of itself, in the form of TensorFlow Lite's metadata.

Android Studio, MediaPipe Tasks and the Task library read it: how pixels are normalised
and which file names the classes. It is a flatbuffer of its own inside the model
(`metadata_schema.fbs` of https://github.com/google-ai-edge/mediapipe, of which the
tables and fields below are a part), and the files that it names are an archive at the end.
"""

import io
import zipfile
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_BUFFER_NAME = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
# The first version of its readers that knows every field below.
_MIN_PARSER_VERSION = "1.0.0"
# Values of its enumerations and unions.
_AXIS_LABELS, _RGB = 2, 1
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_NORMALIZATION_OPTIONS = 1
# TensorFlow Lite wants weights at multiples of it.
_ALIGNMENT = 16


def repack(flatbuffer: bytes, metadata: bytes | None = None) -> bytes:
    """The same model in the form that every reader of LiteRT files knows.

    Newer writers keep large weights behind the flatbuffer, where only LiteRT looks for
    them, and leave out the older of the two fields that say what an operation is.

    Args:
        flatbuffer: bytes. A LiteRT model.
        metadata: bytes or None. Is stored in it, as its metadata. Defaults to `None`.

    Returns:
        The model, as bytes.
    """
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 1 stands for an empty one
            data = flatbuffer[buffer.offset : buffer.offset + buffer.size]
            buffer.data = np.frombuffer(data, np.uint8)
        buffer.offset = buffer.size = 0
    for code in model.operatorCodes:
        # It holds 8 bits; all later operations share its largest value.
        code.deprecatedBuiltinCode = min(
            code.builtinCode, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES
        )
    if metadata is not None:
        entry = schema.MetadataT(_BUFFER_NAME, len(model.buffers))
        model.metadata = [*(model.metadata or ()), entry]
        model.buffers.append(schema.BufferT(np.frombuffer(metadata, np.uint8)))
    builder = _AlignedBuilder(len(flatbuffer))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Aligns bytes as the schema of models asks for, which its Python code leaves out."""

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        alignment = _ALIGNMENT if elemSize == 1 else alignment
        return super().StartVector(elemSize, numElems, alignment)


def describe(
    flatbuffer: bytes,
    *,
    name: str,
    description: str,
    license: str | None,
    files: Mapping[str, str],
    labels_file: str,
) -> bytes:
    """Puts metadata and files into a LiteRT model of images.

    Args:
        flatbuffer: bytes. A model with one signature, of one input: pixels 0..255.
        name: str. What the model is called.
        description: str. What it is.
        license: str or None. Its licence.
        files: dict from name to text, the files to be put into it.
        labels_file: str. Which of them holds the labels, one a line.

    Returns:
        The model, as bytes.
    """
    model = schema.ModelT.InitFromPackedBuf(flatbuffer, 0)
    names = {
        each.tensorIndex: each.name.decode()
        for tensors in (model.signatureDefs[0].inputs, model.signatureDefs[0].outputs)
        for each in tensors
    }
    subgraph = model.subgraphs[0]
    builder = _MetadataBuilder(1024)
    inputs = [builder.image(names[index]) for index in subgraph.inputs]
    outputs = [builder.scores(names[index], labels_file) for index in subgraph.outputs]
    builder.model(name, description, license, inputs, outputs)
    return _append_files(repack(flatbuffer, bytes(builder.Output())), files)


def _append_files(flatbuffer: bytes, files: Mapping[str, str]) -> bytes:
    """An archive at the end: readers find a model at the beginning, `unzip` the rest."""
    content = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(content, "a") as archive:
        for name, text in files.items():
            # Its default date is fixed, so that equal models are equal files.
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)
    return content.getvalue()


class _MetadataBuilder(flatbuffers.Builder):
    """Writes the tables that are needed here, whose fields the schema numbers."""

    def image(self, name: str) -> int:
        """The `TensorMetadata` of RGB pixels 0..255 that are not normalised."""
        properties = self._table(2, kinds={0: _RGB})
        content = self._table(3, {1: properties}, kinds={0: _IMAGE_PROPERTIES})
        options = self._table(2, {0: self._floats(0.0), 1: self._floats(1.0)})
        unit = self._table(2, {1: options}, kinds={0: _NORMALIZATION_OPTIONS})
        stats = self._table(2, {0: self._floats(255.0), 1: self._floats(0.0)})
        return self._tensor(
            name, "RGB pixels, 0 to 255", content, {4: self._offsets(unit), 5: stats}
        )

    def scores(self, name: str, labels_file: str) -> int:
        """The `TensorMetadata` of one number for each class."""
        content = self._table(3, {1: self._table(0)}, kinds={0: _FEATURE_PROPERTIES})
        texts = {
            0: self.CreateString(labels_file),
            1: self.CreateString("labels, in the order of the output"),
        }
        labels = self._table(5, texts, kinds={2: _AXIS_LABELS})
        described = f"{name}, one for each class"
        return self._tensor(name, described, content, {6: self._offsets(labels)})

    def model(
        self,
        name: str,
        description: str,
        license: str | None,
        inputs: Sequence[int],
        outputs: Sequence[int],
    ) -> None:
        """Writes the `ModelMetadata`, the root."""
        vectors = {2: self._offsets(*inputs), 3: self._offsets(*outputs)}
        subgraph = self._offsets(self._table(10, vectors))
        texts = {0: name, 1: description, 5: license, 7: _MIN_PARSER_VERSION}
        fields = {slot: self.CreateString(text) for slot, text in texts.items() if text}
        self.Finish(self._table(8, {**fields, 3: subgraph}), _IDENTIFIER)

    def _tensor(
        self, name: str, description: str, content: int, fields: Mapping[int, int]
    ) -> int:
        texts = {0: self.CreateString(name), 1: self.CreateString(description)}
        return self._table(7, {**texts, 3: content, **fields})

    def _table(
        self,
        count: int,
        fields: Mapping[int, int] | None = None,
        kinds: Mapping[int, int] | None = None,
    ) -> int:
        """A table of so many fields: offsets and 8-bit numbers, by the field."""
        self.StartObject(count)
        for slot, offset in (fields or {}).items():
            self.PrependUOffsetTRelativeSlot(slot, offset, 0)
        for slot, value in (kinds or {}).items():
            self.PrependInt8Slot(slot, value, 0)
        return self.EndObject()

    def _offsets(self, *offsets: int) -> int:
        self.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.PrependUOffsetTRelative(offset)
        return self.EndVector()

    def _floats(self, *values: float) -> int:
        return self.CreateNumpyVector(np.array(values, np.float32))
