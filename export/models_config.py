"""`models.config`: which versions of which models TensorFlow Serving loads.

The server loads the two newest versions of each model and answers with the newest, so
that an export or a rollback needs no more than the folders of versions. Of a model with
labels (see `export.server`) it loads the labelled versions and the newest one.
"""

import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
)
from google.protobuf.message import Message

from export.runtimes import SAVED_MODEL_FILE
from v1keras.files import require_writable, write_text
from v1keras.reading import read_text, reading

MODELS_FILE = "models.config"
MOUNT = "/models"
"""Where the folder of the served folders is mounted in the container."""
STABLE, PREVIOUS = "stable", "previous"
_LOADED_VERSIONS = 2
# Names are part of addresses: /v1/models/NAME:predict
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# The messages of TensorFlow Serving that this needs, each with its fields: number, name
# and type, and whether there may be several. tensorflow-serving-api, which has all of
# them, is an extra for clients over gRPC.
# https://github.com/tensorflow/serving/blob/master/tensorflow_serving/config/model_server_config.proto
_MESSAGES = {
    "Latest": [(1, "num_versions", "UINT32", False)],
    "Specific": [(1, "versions", "INT64", True)],
    "ServableVersionPolicy": [
        (100, "latest", "Latest", False),
        (102, "specific", "Specific", False),
    ],
    "VersionLabelsEntry": [(1, "key", "STRING", False), (2, "value", "INT64", False)],
    "ModelConfig": [
        (1, "name", "STRING", False),
        (2, "base_path", "STRING", False),
        (4, "model_platform", "STRING", False),
        (7, "model_version_policy", "ServableVersionPolicy", False),
        (8, "version_labels", "VersionLabelsEntry", True),
    ],
    "ModelConfigList": [(1, "config", "ModelConfig", True)],
    "ModelServerConfig": [(1, "model_config_list", "ModelConfigList", False)],
}


@functools.cache
def _model_server_config() -> type[Message]:
    """The class of `ModelServerConfig`."""
    file = descriptor_pb2.FileDescriptorProto(name="models_config", syntax="proto3")
    types = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, field, kind, is_repeated in fields:
            is_message = kind in _MESSAGES
            message.field.add(
                number=number,
                name=field,
                type=types.Type.Value("TYPE_MESSAGE" if is_message else f"TYPE_{kind}"),
                type_name=kind if is_message else None,
                label=types.LABEL_REPEATED if is_repeated else types.LABEL_OPTIONAL,
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("ModelServerConfig")
    )


def refresh(out: str | os.PathLike) -> None:
    """Brings `models.config` beside a served folder up to date, if there is one.

    Folders whose names cannot be those of models stay out of it.

    Args:
        out: str or path. The served folder whose versions have changed.
    """
    root = Path(out).resolve().parent
    if (root / MODELS_FILE).is_file():
        write_models_config(root, read_labels(root))


def require_refreshable(out: str | os.PathLike) -> None:
    """Refuses now what `refresh` would refuse once the versions have changed.

    Args:
        out: str or path. The served folder whose versions are about to change.

    Raises:
        OSError: if `models.config` may not be read, or not be replaced.
        ValueError: if it is damaged.
    """
    root = Path(out).resolve().parent
    read_labels(root)
    if (root / MODELS_FILE).is_file():
        require_writable(root, name=f"the folder of {MODELS_FILE}")


def write_models_config(
    root: Path, labels: Mapping[str, Mapping[str, int]]
) -> dict[str, tuple[int, ...]]:
    """Writes the file if its text changes; returns `loadable_versions` of it."""
    served = {
        name: found for name, found in loadable_versions(root).items() if is_name(name)
    }
    text = models_config(served, labels)
    if text.encode() != (root / MODELS_FILE).read_bytes():
        write_text(root / MODELS_FILE, text)
    return served


def read_labels(root: str | os.PathLike) -> dict[str, dict[str, int]]:
    """The labels in `models.config`, by model; none where there is no such file.

    Raises:
        OSError: if the file may not be read.
        ValueError: if it is damaged, or holds what this package does not write.
    """
    file = Path(root) / MODELS_FILE
    if not file.is_file():
        return {}
    remedy = (
        "put back a copy of it, or remove it, and `python -m export.server` writes it "
        "anew, without labels"
    )
    text = read_text(file, remedy)
    with reading(file, remedy):
        parsed = text_format.Parse(text, _model_server_config()())
        if not parsed.HasField("model_config_list"):
            raise ValueError("no model_config_list")
    return {
        model.name: {label.key: label.value for label in model.version_labels}
        for model in parsed.model_config_list.config
        if model.version_labels
    }


def models_config(
    served: Mapping[str, Sequence[int]],
    labels: Mapping[str, Mapping[str, int]] | None = None,
) -> str:
    """The text of a `ModelServerConfig`.

    Args:
        served: dict from the name of a model to its versions, oldest first.
        labels: dict from the name of a model to a dict from label to version, or None.
            Of a model with labels, those versions and the newest one are loaded. A
            label whose version is gone falls to the one before. Defaults to `None`.

    Returns:
        str, in the text format of protocol buffers.
    """
    config = _model_server_config()()
    config.model_config_list.SetInParent()
    for name, found in served.items():
        model = config.model_config_list.config.add(
            name=name, base_path=f"{MOUNT}/{name}", model_platform="tensorflow"
        )
        own_labels = (labels or {}).get(name, {})
        kept = _kept_labels(own_labels, found)
        for label, number in kept.items():
            model.version_labels.add(key=label, value=number)
        policy = model.model_version_policy
        if kept:
            policy.specific.versions.extend(loaded_versions(found, own_labels))
        else:
            policy.latest.num_versions = _LOADED_VERSIONS
    return text_format.MessageToString(config)


def loaded_versions(found: Sequence[int], labels: Mapping[str, int]) -> tuple[int, ...]:
    """Which versions of a model the server loads, oldest first.

    Args:
        found: sequence of int. The versions that there are, oldest first.
        labels: dict from label to version. May be empty.

    Returns:
        Tuple of int.
    """
    kept = _kept_labels(labels, found)
    if kept:
        return tuple(sorted({*kept.values(), found[-1]}))
    return tuple(found[-_LOADED_VERSIONS:])


def _kept_labels(labels: Mapping[str, int], found: Sequence[int]) -> dict[str, int]:
    kept = {label: number for label, number in labels.items() if number in found}
    # After a rollback: the server has that version loaded, so the label may move to it.
    if STABLE in labels and STABLE not in kept and PREVIOUS in kept:
        kept = {STABLE: kept[PREVIOUS]}
    return kept


def loadable_versions(root: str | os.PathLike) -> dict[str, tuple[int, ...]]:
    """The versions that the server can load, of all served folders in a folder.

    Args:
        root: str or path.

    Returns:
        Dict from the name of a served folder to its versions, oldest first.
    """
    return {
        folder.name: found
        for folder in sorted(Path(root).iterdir())
        if folder.is_dir() and (found := _saved_models(folder))
    }


def is_name(name: str) -> bool:
    """Whether a model can be served by a name."""
    return _NAME.fullmatch(name) is not None


def _saved_models(folder: Path) -> tuple[int, ...]:
    """The versions that the server can load: a LiteRT file alone it cannot."""
    return tuple(
        version
        for version in list_versions(folder)
        if (folder / str(version) / SAVED_MODEL_FILE).is_file()
    )


def list_versions(out: str | os.PathLike) -> tuple[int, ...]:
    """The versions in a served folder, oldest first.

    Args:
        out: str or path. The served folder; it need not exist.

    Returns:
        Tuple of int.
    """
    out = Path(out)
    if not out.is_dir():
        return ()
    return tuple(
        sorted(
            int(entry.name)
            for entry in out.iterdir()
            # Not 00123, which would be looked for as 123.
            if re.fullmatch(r"0|[1-9][0-9]*", entry.name) and entry.is_dir()
        )
    )
