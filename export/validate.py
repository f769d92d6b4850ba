"""The third stage: the written files answer, in a fresh process, as Keras does."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from export.agreement import Agreement, compare, compare_noisy, tolerance_of

_TIMEOUT_SECONDS = 3600
# How often a stochastic model answers, to estimate the spread of its logits.
_NOISY_ANSWERS = 16


def keras_logits(
    model: keras.Model,
    images: np.ndarray,
    *,
    batch_size: int = 32,
    is_noisy: bool = False,
) -> np.ndarray:
    """What the Keras model answers, on the processor that the checks run on.

    Args:
        model: keras.Model. Takes float32 pixels 0..255, gives logits.
        images: uint8 array (N, S, S, 3).
        batch_size: int. Defaults to `32`.
        is_noisy: bool. Whether answers differ from call to call. Defaults to
            `False`.

    Returns:
        float32 array (N, classes), or (R, N, classes) of R calls if `is_noisy`.
    """
    pixels = images.astype(np.float32)
    # Graphics cards may round to fewer digits than the tolerances allow for.
    with tf.device("/CPU:0"):
        answers = [
            model.predict(pixels, batch_size=batch_size, verbose=0)
            for _ in range(_NOISY_ANSWERS if is_noisy else 1)
        ]
    answers = np.stack(answers).astype(np.float32)
    return answers if is_noisy else answers[0]


def replay(
    folder: str | os.PathLike, images: np.ndarray, *, batch_size: int = 32
) -> dict[str, np.ndarray]:
    """Asks the files of a version about images, in a process of their own.

    Args:
        folder: str or path. The version's folder.
        images: uint8 array (N, S, S, 3).
        batch_size: int. Images in one request. Defaults to `32`.

    Returns:
        The answers, as `export.replay.answer_all` gives them.

    Raises:
        ValueError: if the files cannot be loaded or do not answer.
    """
    with tempfile.TemporaryDirectory() as exchange:
        images_path = Path(exchange) / "images.npy"
        answers_path = Path(exchange) / "answers.npz"
        np.save(images_path, images)
        # The package may lie in a folder that only this process knows.
        package_parent = str(Path(__file__).resolve().parent.parent)
        paths = [package_parent, os.environ.get("PYTHONPATH", "")]
        arguments = [folder, images_path, answers_path, batch_size]
        try:
            process = subprocess.run(
                [sys.executable, "-m", "export.replay", *map(str, arguments)],
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
        with np.load(answers_path) as answers:
            return dict(answers)


def judge(
    answers: Mapping[str, np.ndarray],
    expected_logits: np.ndarray,
    labels: tuple[str, ...],
    *,
    sources: Sequence[str],
    quantize: str = "none",
) -> tuple[Agreement, ...]:
    """Compares the answers of exported files with those of the Keras model.

    Args:
        answers: dict of arrays, as from `replay`. Answers to more images than those of
            the Keras model are left aside.
        expected_logits: float array (N, classes); or (R, N, classes), R answers of
            a stochastic model.
        labels: tuple of str. One label a class.
        sources: sequence of str. What must have answered: signatures of the SavedModel,
            `"litert"`.
        quantize: str. How the LiteRT file is quantised. Defaults to `"none"`.

    Returns:
        Tuple of `Agreement`, one for each source.

    Raises:
        ValueError: if a source gave no answers, or names other classes than its scores
            belong to.
    """
    agreements = []
    for source in sources:
        if f"{source}/logits" not in answers:
            raise ValueError(f"{source} gives no logits")
        logits = answers[f"{source}/logits"]
        count = min(len(logits), expected_logits.shape[-2])
        logits, expected = logits[:count], expected_logits[..., :count, :]
        if expected.ndim == 3:
            agreement = compare_noisy(source, logits, expected)
        else:
            agreement = compare(
                source,
                logits,
                answers[f"{source}/probabilities"][:count],
                expected,
                tolerance_of(source, quantize=quantize),
            )
        agreements.append(agreement)
        if source != "litert":
            _check_classes(source, answers, labels)
    return tuple(agreements)


def _check_classes(
    source: str, answers: Mapping[str, np.ndarray], labels: tuple[str, ...]
) -> None:
    """The named classes must be the labels of the best probabilities."""
    probabilities = answers[f"{source}/probabilities"]
    scores = answers[f"{source}/scores"]
    named = np.char.decode(answers[f"{source}/classes"], "utf-8")
    position = {label: index for index, label in enumerate(labels)}
    chosen = np.vectorize(lambda label: position.get(label, -1))(named)
    is_known = (chosen >= 0).all()
    if not is_known or not np.array_equal(
        np.take_along_axis(probabilities, chosen, axis=1), scores
    ):
        raise ValueError(f"{source}: the classes do not belong to their scores")
