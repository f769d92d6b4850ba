"""Reads what `python -m export` has written: a SavedModel or a LiteRT file."""

import json
import os
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import scipy.special

from v1keras.escaping import parse_labels
from v1keras.files import checksums, read_checksums
from v1keras.reading import check_form, read_json, read_text, reading

_METADATA, _LABELS = "metadata.json", "labels.txt"
_CHECKSUMS, _SAVED_MODEL = "SHA256SUMS", "saved_model.pb"
_LITERT = "model.tflite"
_SIGNATURE = "serving_default"

_REMEDY = "`python -m export` writes it anew"

_Answer = Callable[[np.ndarray], np.ndarray]


class _Input(TypedDict):
    shape: list[int | None]
    crop_fraction: NotRequired[float]


class _Description(TypedDict):
    input: _Input


class _Metadata(_Description):
    sha256: NotRequired[dict[str, str]]


def is_exported(path: Path) -> bool:
    """Whether a path is an exported model, of which `open_exported` knows the forms."""
    return path.suffix == ".tflite" or bool(_is_version(path) or _versions(path))


def open_exported(path: Path) -> tuple[tuple[str, ...], int, float, _Answer]:
    """Opens an exported model.

    Args:
        path: path. A LiteRT file; a version, of which the SavedModel is taken if there
            is one; or the folder of the versions, of which the newest is taken.

    Returns:
        A tuple of the labels, the height and width of the images in pixels, the share
        of an image's shorter side that they show, and the function from pixels, uint8
        (B, S, S, 3), to probabilities.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or does not say what it takes.
    """
    if path.suffix != ".tflite":
        version = path if _is_version(path) else max(_versions(path), key=_number)
        if (version / _SAVED_MODEL).is_file():
            described = _beside(version)
            with reading(version / _SAVED_MODEL, _REMEDY):
                return *described, _saved_model(version)
        path = version / _LITERT
    elif not path.is_file():
        raise FileNotFoundError(f"A LiteRT file must exist. Received: {path}")
    described = _inside(path)
    with reading(path, _REMEDY):
        return *described, _litert(path)


def _inside(file: Path) -> tuple[tuple[str, ...], int, float]:
    """Labels, image size and crop of a LiteRT file, from the archive at its end."""
    with reading(file, _REMEDY), zipfile.ZipFile(file) as archive:
        description = json.loads(archive.read(_METADATA))
        check_form(description, _Description)
        return _described(description, archive.read(_LABELS).decode("utf-8"))


def _beside(folder: Path) -> tuple[tuple[str, ...], int, float]:
    """Labels, image size and crop of a version, whose files must be as written."""
    description = read_json(folder / _METADATA, _Metadata, _REMEDY)
    # Version 0.1.0 had its checksums in the description.
    sums, expected = folder / _CHECKSUMS, description.get("sha256", {})
    if sums.is_file():
        expected = read_checksums(sums, _REMEDY)
    found = checksums(folder)
    for name, digest in expected.items():
        if found.get(name, digest) != digest:
            wrong = f"it does not fit its checksum in {_CHECKSUMS}"
            raise ValueError(f"{folder / name} is damaged ({wrong}): {_REMEDY}")
    labels = read_text(folder / _LABELS, _REMEDY)
    with reading(folder / _METADATA, _REMEDY):
        return _described(description, labels)


def _described(
    description: _Description, labels: str
) -> tuple[tuple[str, ...], int, float]:
    _, height, width, channels = description["input"]["shape"]
    if not (height == width and channels == 3 and height and height > 0):
        raise ValueError("the input must be square RGB images")
    # Version 0.1.0 showed all of an image and did not say so.
    crop_fraction = description["input"].get("crop_fraction", 1.0)
    if not 0 < crop_fraction <= 1:
        raise ValueError(f"crop_fraction must lie in (0, 1], not {crop_fraction}")
    return parse_labels(labels), height, crop_fraction


def _is_version(path: Path) -> bool:
    return any((path / name).is_file() for name in (_SAVED_MODEL, _LITERT))


def _versions(path: Path) -> list[Path]:
    """The versions in a folder as TensorFlow Serving sees them: whole numbers."""
    folders = path.iterdir() if path.is_dir() else ()
    return [each for each in folders if each.name.isdecimal() and _is_version(each)]


def _number(version: Path) -> int:
    return int(version.name)


def _saved_model(folder: Path) -> _Answer:
    # Only here: a LiteRT file and a run on another back-end need none of it.
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        raise ValueError(
            "A SavedModel needs TensorFlow, which must be installed. "
            f"Received: {folder} ({error})"
        ) from error
    model = tf.saved_model.load(os.fspath(folder))
    _check_outputs(model.signatures[_SIGNATURE].structured_outputs, "probabilities")

    # A signature does not keep the variables of its model alive: `model` is kept.
    def answer(images: np.ndarray) -> np.ndarray:
        pixels = tf.constant(images, tf.float32)
        answers = model.signatures[_SIGNATURE](images=pixels)
        return answers["probabilities"].numpy()

    return answer


def _litert(file: Path) -> _Answer:
    # Only here: a SavedModel needs none of it.
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=os.fspath(file), num_threads=os.cpu_count())
    run = interpreter.get_signature_runner(_SIGNATURE)
    _check_outputs(run.get_output_details(), "probabilities", "logits")

    def answer(images: np.ndarray) -> np.ndarray:
        answers = run(images=images.astype(np.float32))
        if "probabilities" in answers:
            return answers["probabilities"]
        return scipy.special.softmax(answers["logits"], axis=-1)

    return answer


def _check_outputs(found: Collection[str], *wanted: str) -> None:
    """Refuses a signature with none of these outputs."""
    if not any(name in found for name in wanted):
        raise ValueError(
            f"{_SIGNATURE} must give {' or '.join(wanted)}, not {', '.join(sorted(found))}"
        )
