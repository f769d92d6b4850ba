"""Exported files answer, in a process that has never seen the Keras model.

`python -m export.runtimes FOLDER IMAGES ANSWERS BATCH_SIZE CROP_FRACTION [ENDPOINT]` loads
what lies in `FOLDER` the way its users will (TensorFlow's session loader is what
TensorFlow Serving runs; LiteRT's interpreter is what phones run), asks it about the images
of an `.npy` file and writes `ANSWERS/<endpoint>.npz`. Keras cannot be imported there: no
file may need it.
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from export.requests import (
    INPUT_NAMES,
    OPTIONAL_INPUT_NAMES,
    WARMUP_FILE,
    make_request,
    read_warmup,
)

SAVED_MODEL_FILE = "saved_model.pb"
LITERT_FILE = "model.tflite"
DEFAULT_SIGNATURE = "serving_default"
LITERT = "litert"
"""The endpoint of the LiteRT file; those of a SavedModel are its signatures."""
SIGNATURE_IMAGES = 8
"""How many images the signatures other than `serving_default` are asked about: they
compute the same after their own way to pixels."""
_TIMED_CALLS = 10
# What `diagnose` says beyond these is no answer of the Keras model.
_COMPARED = {"logits", "probabilities", "classes", "scores"}
_TIMEOUT_SECONDS = 3600


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """What one endpoint of exported files answers to images.

    Args:
        milliseconds: float. Median time of a request with one image.
        logits: float32 array (N, classes) or None, where it gives none. Defaults to
            `None`.
        probabilities: float32 array (N, classes) or None. Defaults to `None`.
        classes: array of str (N, k) or None. The best labels, best first; a LiteRT file
            names none. Defaults to `None`.
        scores: float32 array (N, k) or None. Their probabilities. Defaults to `None`.
    """

    milliseconds: float
    logits: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    classes: np.ndarray | None = None
    scores: np.ndarray | None = None

    @property
    def ranking(self) -> np.ndarray | None:
        """Numbers in the order of the classes, (N, classes): logits or probabilities."""
        return self.probabilities if self.logits is None else self.logits


def ask_apart(
    folder: str | os.PathLike,
    images: np.ndarray,
    *,
    batch_size: int = 32,
    crop_fraction: float = 1.0,
    endpoint: str | None = None,
) -> dict[str, Answers]:
    """`ask_all` in a process of its own, as those who load the files will be.

    Raises:
        ValueError: if the files cannot be loaded or do not answer.
    """
    with tempfile.TemporaryDirectory() as exchange:
        images_path = Path(exchange) / "images.npy"
        np.save(images_path, images)
        # The package may lie in a folder that only this process knows.
        package_parent = str(Path(__file__).resolve().parent.parent)
        paths = [package_parent, os.environ.get("PYTHONPATH", "")]
        arguments = [folder, images_path, exchange, batch_size, crop_fraction]
        arguments += [endpoint] if endpoint else []
        try:
            process = subprocess.run(
                [sys.executable, "-m", "export.runtimes", *map(str, arguments)],
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(filter(None, paths)),
                    "TF_CPP_MIN_LOG_LEVEL": "2",
                    "CUDA_VISIBLE_DEVICES": "-1",
                },
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise ValueError(
                f"the exported files gave no answers within {_TIMEOUT_SECONDS} seconds"
            ) from error
        if process.returncode != 0:
            lines = process.stderr.strip().splitlines() or ["no message"]
            raise ValueError(
                "the exported files do not work in a fresh process (exit code "
                f"{process.returncode}): {lines[-1]}"
            )
        return {path.stem: _read(path) for path in Path(exchange).glob("*.npz")}


def ask_all(
    folder: str | os.PathLike,
    images: np.ndarray,
    *,
    batch_size: int = 32,
    crop_fraction: float = 1.0,
    endpoint: str | None = None,
) -> dict[str, Answers]:
    """Asks everything that a version folder holds about the same images.

    Args:
        folder: str or path. Holds a SavedModel, `model.tflite`, or both.
        images: uint8 array (N, S, S, 3).
        batch_size: int. Images in one request. Defaults to `32`.
        crop_fraction: float. What the SavedModel crops from image files. Defaults to
            `1.0`.
        endpoint: str or None. The only one that is asked; `None` asks all of them and
            replays the warm-up requests. Defaults to `None`.

    Returns:
        Dict from endpoint to `Answers`. Endpoints are the signatures of the SavedModel,
        and `"litert"`.
    """
    folder = Path(folder)
    answers = {}
    if (folder / SAVED_MODEL_FILE).exists() and endpoint != LITERT:
        answers |= ask_saved_model(
            folder,
            images,
            batch_size=batch_size,
            crop_fraction=crop_fraction,
            endpoint=endpoint,
        )
    if (folder / LITERT_FILE).exists() and endpoint in (None, LITERT):
        answers[LITERT] = ask_litert(
            folder / LITERT_FILE, images, batch_size=batch_size
        )
    return answers


def ask_saved_model(
    folder: str | os.PathLike,
    images: np.ndarray,
    *,
    batch_size: int = 32,
    crop_fraction: float = 1.0,
    endpoint: str | None = None,
) -> dict[str, Answers]:
    """`ask_all` for a SavedModel, through TensorFlow's session loader.

    Its warm-up requests are replayed too; one that fails is an error. A signature that
    it does not have gives no answers.
    """
    from export.loader import LoadedModel

    answers = {}
    model = LoadedModel(folder)
    for name, input_name in (INPUT_NAMES | OPTIONAL_INPUT_NAMES).items():
        if name not in model.signatures or endpoint not in (None, name):
            continue
        asked = images if name == DEFAULT_SIGNATURE else images[:SIGNATURE_IMAGES]
        answers[name] = _ask(
            lambda inputs, name=name, key=input_name: model.call(name, {key: inputs}),
            make_request(name, asked, crop_fraction),
            batch_size,
        )
    if endpoint is None and (Path(folder) / WARMUP_FILE).exists():
        for name, inputs in read_warmup(folder):
            model.call(name, inputs)
    return answers


def ask_litert(
    path: str | os.PathLike, images: np.ndarray, *, batch_size: int = 32
) -> Answers:
    """`ask_all` for a LiteRT file."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=os.fspath(path), num_threads=os.cpu_count())
    run = interpreter.get_signature_runner(DEFAULT_SIGNATURE)
    return _ask(
        lambda inputs: run(images=inputs), images.astype(np.float32), batch_size
    )


def _ask(
    call: Callable[[np.ndarray], dict[str, np.ndarray]],
    inputs: np.ndarray,
    batch_size: int,
) -> Answers:
    batches = [
        call(inputs[start : start + batch_size])
        for start in range(0, len(inputs), batch_size)
    ]
    outputs = {
        key: np.concatenate([each[key] for each in batches])
        for key in batches[0].keys() & _COMPARED
    }
    if "classes" in outputs:
        outputs["classes"] = np.char.decode(outputs["classes"].astype(bytes), "utf-8")
    seconds = []
    for _ in range(_TIMED_CALLS):
        start = time.perf_counter()
        call(inputs[:1])
        seconds.append(time.perf_counter() - start)
    return Answers(**outputs, milliseconds=1000 * statistics.median(seconds))


def _read(path: Path) -> Answers:
    with np.load(path) as stored:
        fields = dict(stored)
    return Answers(**{**fields, "milliseconds": float(fields["milliseconds"])})


def main(argv: list[str]) -> None:
    """Answers as the module's docstring says."""
    folder, images, target, batch_size, crop_fraction, *endpoint = argv
    # TensorFlow imports it if it can, which takes a fifth of its start.
    sys.modules["keras"] = None
    answers = ask_all(
        folder,
        np.load(images),
        batch_size=int(batch_size),
        crop_fraction=float(crop_fraction),
        endpoint=endpoint[0] if endpoint else None,
    )
    for endpoint, found in answers.items():
        fields = {
            name: value for name, value in vars(found).items() if value is not None
        }
        np.savez(Path(target) / f"{endpoint}.npz", **fields)


if __name__ == "__main__":
    main(sys.argv[1:])
