"""Reads what `python -m export` has written: a SavedModel or a LiteRT file."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.special
import tensorflow as tf

_SAVED_MODEL = "saved_model.pb"
_LITERT = "model.tflite"
_SIGNATURE = "serving_default"

_Answer = Callable[[np.ndarray], np.ndarray]


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
        of an image's shorter side that they show, and the function from pixels, uint8 (B, S, S, 3), to probabilities.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read, or does not say what it takes.
    """
    if path.suffix != ".tflite":
        path = path if _is_version(path) else max(_versions(path), key=_number)
        is_litert = not (path / _SAVED_MODEL).is_file()
        path = path / _LITERT if is_litert else path
    elif not path.is_file():
        raise FileNotFoundError(f"A LiteRT file must exist. Received: {path}")
    try:
        # A LiteRT file carries its description as an archive at its end.
        inside = zipfile.Path(path) if path.suffix == ".tflite" else path
        description = json.loads((inside / "metadata.json").read_text(encoding="utf-8"))
        labels = (inside / description["labels"]).read_text(encoding="utf-8")
        image_size = description["input"]["shape"][1]
        # Version 0.1.0 showed all of it and did not say so.
        crop_fraction = float(description["input"].get("crop_fraction", 1.0))
        answer = (_litert if path.suffix == ".tflite" else _saved_model)(path)
    except Exception as error:  # JSON, archive, TensorFlow and LiteRT raise their own
        raise ValueError(
            "An exported model must be undamaged and hold labels and metadata.json, as "
            f"`python -m export` writes them. Received: {path} "
            f"({type(error).__name__}: {error})"
        ) from error
    return tuple(labels.splitlines()), image_size, crop_fraction, answer


def _is_version(path: Path) -> bool:
    return any((path / name).is_file() for name in (_SAVED_MODEL, _LITERT))


def _versions(path: Path) -> list[Path]:
    """The versions in a folder as TensorFlow Serving sees them: whole numbers."""
    folders = path.iterdir() if path.is_dir() else ()
    return [each for each in folders if each.name.isdecimal() and _is_version(each)]


def _number(version: Path) -> int:
    return int(version.name)


def _saved_model(folder: Path) -> _Answer:
    model = tf.saved_model.load(os.fspath(folder))

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

    def answer(images: np.ndarray) -> np.ndarray:
        answers = run(images=images.astype(np.float32))
        if "probabilities" in answers:
            return answers["probabilities"]
        return scipy.special.softmax(answers["logits"], axis=-1)

    return answer
