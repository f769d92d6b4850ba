"""What predicts: a run, the ensemble of several, or an exported model."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
from scipy.special import softmax

from v1keras.evaluation.calibration import calibrate
from v1keras.layers import set_noise
from v1keras.models import build_ensemble
from v1keras.prediction.exported import is_exported, open_exported
from v1keras.training import Run, check_same_classes
from v1keras.training.engine import get_engine

RunLike = str | os.PathLike | Run


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """A classifier that is ready to be shown images.

    Args:
        labels: tuple of str. What answers call the classes.
        image_size: int. Height and width of the images, in pixels.
        crop_fraction: float. The share of an image's shorter side that they show.
        answer: callable. From pixels, uint8 (B, S, S, 3), to probabilities, float32
            (B, classes).
    """

    labels: tuple[str, ...]
    image_size: int
    crop_fraction: float
    answer: Callable[[np.ndarray], np.ndarray]


def open_classifier(
    run: RunLike | Sequence[RunLike],
    *,
    noise: str | None = None,
    seed: int = 0,
    calibrated: bool = False,
) -> Classifier:
    """Opens what predicts.

    Args:
        run: str, path or `Run`, or a sequence of them. A run; several, whose logits are
            averaged; or an exported model: the folder of its versions, one version, or
            a LiteRT file.
        noise: str or None. `"stochastic"`, `"off"` or `"fixed"`, for runs. Defaults to
            `None`: as saved.
        seed: int. Seed of a noise that is given. Defaults to `0`.
        calibrated: bool. Whether logits are divided by the temperature of a run
            (`v1keras.evaluation.calibrate`). Defaults to `False`.

    Returns:
        A `Classifier`.

    Raises:
        FileNotFoundError: if a run is missing or has no model yet.
        ValueError: if a model cannot be read or does not answer with logits alone, runs
            do not fit together, there are no held-out images for a temperature, or noise
            or temperature is asked for with an exported model.

    Example:

    >>> classifier = v1keras.prediction.open_classifier("runs/student", noise="off")
    >>> classifier.answer(np.zeros((2, 64, 64, 3), np.uint8)).shape
    (2, 12)
    """
    sources = [run] if isinstance(run, RunLike) else list(run)
    if not sources:
        raise ValueError("`run` must name at least one run. Received: run=[]")
    for source in sources:
        if isinstance(source, Run) or not is_exported(Path(source)):
            continue
        if len(sources) > 1:
            raise ValueError(
                "`run` must be run directories where there are several. "
                f"Received: run={source}, an exported model"
            )
        if noise is not None:
            raise ValueError(
                "`noise` must not be given for an exported model, which keeps the noise "
                f"that it was exported with. Received: noise={noise}, run={source}"
            )
        if calibrated:
            raise ValueError(
                "`calibrated` must be False for an exported model, which gives a "
                "confidence by its signature `diagnose`. Received: calibrated=True, "
                f"run={source}"
            )
        return Classifier(*open_exported(Path(source)))
    return _open_runs(sources, noise, seed, calibrated)


def _open_runs(
    sources: Sequence[RunLike], noise: str | None, seed: int, calibrated: bool
) -> Classifier:
    runs = [run if isinstance(run, Run) else Run.open(run) for run in sources]
    check_same_classes(runs)
    models = [_load(run) for run in runs]
    model = models[0] if len(models) == 1 else build_ensemble(models)
    if noise is not None:
        set_noise(model, noise, seed)
    temperature = calibrate(runs, model).temperature if calibrated else 1.0
    first = runs[0]
    return Classifier(
        first.labels,
        first.image_size,
        first.crop_fraction,
        _answers_of(model, temperature),
    )


def _load(run: Run) -> keras.Model:
    """The model of a run, which must answer with logits."""
    model = run.load_model()
    shape, classes = model.output_shape, len(run.class_names)
    if not isinstance(shape, tuple) or shape[1:] != (classes,):
        raise ValueError(
            f"`run` must hold a model with one output, logits (batch, {classes}) of its "
            f"classes. Received: {run.path}, whose model has outputs of {shape}"
        )
    return model


def _answers_of(
    model: keras.Model, temperature: float
) -> Callable[[np.ndarray], np.ndarray]:
    logits = get_engine().compiled(model)
    return lambda images: softmax(logits(images) / np.float32(temperature), axis=-1)
