"""Requests to exported files, in a process that has never seen the Keras model.

`python -m export.replay FOLDER IMAGES ANSWERS BATCH_SIZE` loads what lies in `FOLDER` the way
its users will (TensorFlow's session loader is what TensorFlow Serving runs; LiteRT's
interpreter is what phones run), asks it about the images of an `.npy` file and
writes the answers to an `.npz` file.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.convert import LITERT_FILE

SIGNATURE_IMAGES = 8
"""How many images the signatures other than `serving_default` are asked about: they
compute the same after their own way to pixels."""
_TIMED_CALLS = 10


def answer_all(
    folder: str | os.PathLike, images: np.ndarray, *, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Asks everything that a version folder holds about the same images.

    Args:
        folder: str or path. Holds a SavedModel, `model.tflite`, or both.
        images: uint8 array (N, S, S, 3).
        batch_size: int. Images in one request. Defaults to `32`.

    Returns:
        Dict of arrays. Keys are `<source>/<output>`, where the source is a
        signature of the SavedModel or `litert` and the outputs are those that it
        gives; `<source>/milliseconds` is the median time of a request with one
        image.
    """
    folder = Path(folder)
    answers = {}
    if (folder / "saved_model.pb").exists():
        answers |= answer_saved_model(folder, images, batch_size=batch_size)
    if (folder / LITERT_FILE).exists():
        answers |= answer_litert(folder / LITERT_FILE, images, batch_size=batch_size)
    return answers


def answer_saved_model(
    folder: str | os.PathLike, images: np.ndarray, *, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """`answer_all` for a SavedModel, through TensorFlow's session loader.

    Its warm-up requests are replayed too; one that fails is an error. A signature that
    it does not have gives no answers.
    """
    import tensorflow as tf

    from export.samples import INPUT_NAMES, request
    from export.warmup import WARMUP_FILE, read_warmup

    answers = {}
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        meta_graph = tf.compat.v1.saved_model.loader.load(
            session, ["serve"], os.fspath(folder)
        )
        for name, input_name in INPUT_NAMES.items():
            if name not in meta_graph.signature_def:
                continue
            signature = meta_graph.signature_def[name]
            outputs = {key: info.name for key, info in signature.outputs.items()}
            feed = signature.inputs[input_name].name
            chosen = images if name == "serving_default" else images[:SIGNATURE_IMAGES]

            def call(inputs: np.ndarray, outputs=outputs, feed=feed) -> dict[str, Any]:
                return session.run(outputs, {feed: inputs})

            answers |= _answer(name, call, request(name, chosen), batch_size)
        if (Path(folder) / WARMUP_FILE).exists():
            for name, inputs in read_warmup(folder):
                signature = meta_graph.signature_def[name]
                outputs = [info.name for info in signature.outputs.values()]
                session.run(
                    outputs,
                    {
                        signature.inputs[key].name: value
                        for key, value in inputs.items()
                    },
                )
    return answers


def answer_litert(
    path: str | os.PathLike, images: np.ndarray, *, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """`answer_all` for a LiteRT model."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=os.fspath(path), num_threads=os.cpu_count())
    run = interpreter.get_signature_runner("serving_default")
    return _answer(
        "litert",
        lambda inputs: run(images=inputs),
        images.astype(np.float32),
        batch_size,
    )


def _answer(
    source: str,
    call: Callable[[np.ndarray], dict[str, Any]],
    inputs: np.ndarray,
    batch_size: int,
) -> dict[str, np.ndarray]:
    batches = [
        call(inputs[start : start + batch_size])
        for start in range(0, len(inputs), batch_size)
    ]
    answers = {
        # Strings come as objects, which cannot be stored without pickling.
        f"{source}/{key}": _plain(np.concatenate([batch[key] for batch in batches]))
        for key in batches[0]
    }
    seconds = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        call(inputs[:1])
        seconds.append(time.perf_counter() - start)
    answers[f"{source}/milliseconds"] = np.array(1000 * statistics.median(seconds))
    return answers


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(bytes) if array.dtype == object else array


def main(argv: list[str]) -> None:
    """Answers as the module's docstring says."""
    folder, images_path, answers_path, batch_size = argv
    images = np.load(images_path)
    np.savez(answers_path, **answer_all(folder, images, batch_size=int(batch_size)))


if __name__ == "__main__":
    main(sys.argv[1:])
