"""`diagnose`: a signature that says how far an answer and the camera can be trusted."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from scipy.special import softmax

from export.config import LEAST_DIAGNOSIS_IMAGES
from export.predictor import served_noise
from export.source import Source
from v1keras.corruptions import BENCHMARK, corrupt
from v1keras.data import ImageDataset
from v1keras.evaluation.calibration import calibrate
from v1keras.evaluation.cells import CLEAN, corrupted_cells
from v1keras.evaluation.discriminant import fit_discriminant
from v1keras.evaluation.metrics import accuracy
from v1keras.evaluation.temperature import fit_temperature
from v1keras.layers import VOneBlock, is_stochastic
from v1keras.models import build_ensemble
from v1keras.training.held_out import held_out_by_all

DRAWS = 8
"""Noise draws that the disagreement of one stochastic model is measured on."""
CELLS = (CLEAN, *corrupted_cells(BENCHMARK, (1, 3, 5)))
"""What the camera's images are told apart into."""
CORRUPTIONS = (CLEAN.corruption, *BENCHMARK)
FRAMES = (1, 10)
"""How many images of one camera are looked at together, in the figures."""
_FALSE_ALARMS = 0.05
_WINDOWS = 1000
_SEED = 0
_BATCH = 32
_FRONT_END = "front_end"


@dataclasses.dataclass(frozen=True, eq=False)
class Diagnosis:
    """What `diagnose` computes with, fitted on held-out images.

    Args:
        temperature: float. Divides the logits before they become a confidence.
        weights: float array (statistics, cells). From statistics of the front-end to
            the log-likelihoods of `CELLS`.
        offsets: float array (cells,). Added to them; with the logarithm of the prior:
            one half for clean images, the rest evenly for the others.
        figures: dict for JSON. How well this does on images that it was not fitted on.
    """

    temperature: float
    weights: np.ndarray
    offsets: np.ndarray
    figures: dict[str, Any]


class Observer:
    """A classifier that also gives what a diagnosis is made from.

    Args:
        members: sequence of `keras.Model`. One classifier, or the members of an
            ensemble.
    """

    def __init__(self, members: Sequence[keras.Model]) -> None:
        images = keras.Input(members[0].input_shape[1:], name="images")
        block = _front_end(members)
        if len(members) == 1:
            (model,) = members
            outputs = {"logits": model.output, _FRONT_END: block.output}
            self.model = keras.Model(model.input, outputs)
        else:
            owner = next(m for m in members if block in m.layers)
            answers = build_ensemble(members, member_outputs=True)(images)
            front_end = keras.Model(owner.input, block.output)(images)
            self.model = keras.Model(images, {**answers, _FRONT_END: front_end})
        self._draws = DRAWS if len(members) == 1 and is_stochastic(self.model) else 1

    def observe(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Logits, those of the members or noise draws, and statistics.

        Args:
            images: float32 tensor (B, S, S, 3), pixels 0..255.

        Returns:
            Dict of `logits` (B, classes); `opinions` (B, members or draws, classes),
            where there are several; `statistics` (B, F): mean and standard deviation
            over each map of the front-end and over each colour, compressed.
        """
        # The answer is the first draw, so that it is one like any other.
        shown = tf.repeat(images, self._draws, axis=0)
        answers = {
            name: tf.cast(values, tf.float32)
            for name, values in self.model(shown, training=False).items()
        }
        maps = answers.pop(_FRONT_END)[:: self._draws]
        logits = answers.pop("logits")
        moments = [
            moment
            for values in (maps, images)
            for moment in (
                tf.reduce_mean(values, (1, 2)),
                tf.math.reduce_std(values, (1, 2)),
            )
        ]
        observed = {
            "logits": logits[:: self._draws],
            "statistics": tf.asinh(tf.concat(moments, axis=-1)),
        }
        if self._draws > 1:
            shape = (-1, self._draws, logits.shape[-1])
            observed["opinions"] = tf.reshape(logits, shape)
        elif answers:
            observed["opinions"] = tf.stack(list(answers.values()), axis=1)
        return observed


def _front_end(members: Sequence[keras.Model]) -> keras.layers.Layer:
    """The V1 front-end of the first member that has one, else a plain CNN's stem."""
    layers = [layer for member in members for layer in member.layers]
    for layer in layers:
        if isinstance(layer, VOneBlock):
            return layer
    for layer in layers:
        if layer.name == "stem_pool":
            return layer
    raise ValueError(
        "`diagnose` must be of classifiers that `build_classifier` made. Received: "
        f"{', '.join(member.name for member in members)}"
    )


class Diagnoser(tf.Module):
    """The function behind the signature `diagnose`, with its variables.

    Args:
        members: sequence of `keras.Model`. See `Observer`.
        diagnosis: `Diagnosis`. Fitted for them.
    """

    def __init__(self, members: Sequence[keras.Model], diagnosis: Diagnosis) -> None:
        super().__init__(name="diagnoser")
        observer = Observer(members)
        weights = tf.constant(diagnosis.weights, tf.float32)
        offsets = tf.constant(diagnosis.offsets, tf.float32)
        names = tf.constant(CORRUPTIONS)
        of_cells = tf.constant(_corruption_of_cells(), tf.float32)
        severities = tf.constant([cell.severity for cell in CELLS], tf.float32)

        def diagnose(images: tf.Tensor) -> dict[str, tf.Tensor]:
            observed = observer.observe(images)
            logits = observed["logits"]
            scores = tf.nn.softmax(observed["statistics"] @ weights + offsets)
            shares = scores @ of_cells
            calibrated = tf.nn.softmax(logits / diagnosis.temperature)
            answer = {
                "logits": logits,
                "probabilities": tf.nn.softmax(logits),
                "confidence": tf.reduce_max(calibrated, axis=-1),
                "corruption": tf.gather(names, tf.argmax(shares, axis=-1)),
                "corruption_probabilities": shares,
                "severity": tf.linalg.matvec(scores, severities),
            }
            if "opinions" in observed:
                answer["disagreement"] = _disagreement(observed["opinions"])
            return answer

        specification = tf.TensorSpec((None, *members[0].input_shape[1:]), tf.float32)
        function = tf.function(diagnose, [specification], autograph=False)
        with served_noise(observer.model):
            self.diagnose = function.get_concrete_function()
        self.model_variables = self.diagnose.variables


def _disagreement(opinions: tf.Tensor) -> tf.Tensor:
    """Jensen-Shannon divergence of opinions over its maximum, (B,) in 0..1."""
    probabilities = tf.nn.softmax(opinions)
    mean = tf.reduce_mean(probabilities, axis=1)
    most = np.log(min(opinions.shape[1], opinions.shape[2]))
    each = tf.reduce_mean(_entropy(probabilities), axis=1)
    return tf.maximum(_entropy(mean) - each, 0.0) / most


def _entropy(probabilities: tf.Tensor) -> tf.Tensor:
    return -tf.reduce_sum(tf.math.xlogy(probabilities, probabilities), axis=-1)


def _corruption_of_cells() -> np.ndarray:
    """Which cell is of which corruption, (cells, corruptions)."""
    return np.array([[c.corruption == name for name in CORRUPTIONS] for c in CELLS])


def require_held_out(source: Source, dataset: ImageDataset) -> None:
    """Refuses runs that have not held out the same validation images, and enough.

    Raises:
        ValueError: if a diagnosis would be fitted on images that they know, or on few.
    """
    if not held_out_by_all(source.runs, dataset):
        raise ValueError(
            "`diagnose` must be False where the runs have held out no common validation "
            f"images. Received: {', '.join(str(run.path) for run in source.runs)}"
        )
    found = len(dataset.split("validation"))
    if found < LEAST_DIAGNOSIS_IMAGES:
        raise ValueError(
            f"`diagnose` must have at least {LEAST_DIAGNOSIS_IMAGES} validation images. "
            f"Received: {found}"
        )


def fit_diagnosis(source: Source, dataset: ImageDataset, count: int) -> Diagnosis:
    """Fits and measures a diagnosis on validation images.

    Half of the images tell the cells apart, a quarter more gives the temperature of
    their scores, and the last quarter is what the figures are measured on. The
    temperature of the classifier is the one of the run (`calibrate`). Nothing is
    trained on corrupted images: the classifier stays as it is.

    Args:
        source: `Source`.
        dataset: `ImageDataset`.
        count: int. How many validation images.

    Returns:
        A `Diagnosis`.
    """
    shown = dataset.split("validation").spread(count)
    images, truth = np.asarray(shown.images), shown.labels
    calibration = calibrate(source.runs, source.model, dataset)
    observer = Observer(source.members)
    observe = tf.function(observer.observe, reduce_retracing=True, autograph=False)
    observed = [_observe(observe, images, cell) for cell in CELLS]
    statistics = np.stack([each["statistics"] for each in observed])
    logits = np.stack([each["logits"] for each in observed])

    part = np.arange(len(images)) % 4
    fitting, tuning, testing = part < 2, part == 2, part == 3
    weights, offsets = fit_discriminant(statistics[:, fitting]).linear()
    scores = statistics @ weights + offsets
    cells = np.repeat(np.arange(len(CELLS)), tuning.sum())
    sharpness = fit_temperature(scores[:, tuning].reshape(-1, len(CELLS)), cells)
    prior = np.full(len(CELLS), 0.5 / (len(CELLS) - 1))
    prior[CELLS.index(CLEAN)] = 0.5
    offsets = offsets / sharpness + np.log(prior)
    scores = scores / sharpness + np.log(prior)
    figures = {
        "temperature": calibration.temperature,
        "corruptions": list(CORRUPTIONS),
        "images": {"fitted": int((~testing).sum()), "measured": int(testing.sum())},
        "calibration": {
            name: getattr(calibration, name) for name in ("images", "before", "after")
        },
        **_monitoring(scores[:, tuning], scores[:, testing]),
        "accuracy": {
            str(cell): accuracy(each[testing], truth[testing])
            for cell, each in zip(CELLS, logits, strict=True)
        },
    }
    return Diagnosis(calibration.temperature, weights / sharpness, offsets, figures)


def _observe(observe, images: np.ndarray, cell) -> dict[str, np.ndarray]:
    """Logits and statistics of images in a cell."""
    if cell != CLEAN:
        images = corrupt(images, cell.corruption, cell.severity, seed=_SEED)
    batches = [
        observe(tf.constant(images[start : start + _BATCH], tf.float32))
        for start in range(0, len(images), _BATCH)
    ]
    return {
        name: np.concatenate([batch[name] for batch in batches])
        for name in ("logits", "statistics")
    }


def _monitoring(tuning: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """How well corruptions are told, from scores (cells, images, cells)."""
    tuning, scores = softmax(tuning, axis=-1), softmax(scores, axis=-1)
    shares = scores @ _corruption_of_cells()
    of = np.array([CORRUPTIONS.index(cell.corruption) for cell in CELLS])
    severities = np.array([cell.severity for cell in CELLS])
    right = shares.argmax(axis=-1) == of[:, None]
    error = scores @ severities - severities[:, None]
    clean = CELLS.index(CLEAN)
    return {
        "corruption_named": float(right[1:].mean()),
        "severity_error": float(np.abs(error[1:]).mean()),
        "alarms": {
            str(frames): _alarms(tuning[clean, :, clean], scores[..., clean], frames)
            for frames in FRAMES
        },
    }


def _alarms(usual: np.ndarray, shown: np.ndarray, frames: int) -> dict[str, Any]:
    """How often frames are less clean, on average, than nearly all clean ones are.

    Args:
        usual: float array (images,). How probably clean images are clean.
        shown: float array (cells, images). The same of other images in all cells.
        frames: int. How many images are taken together.

    Returns:
        Dict of the `threshold` and, for each cell, the share of alarms.
    """
    rng = np.random.default_rng(_SEED)

    def means(values: np.ndarray) -> np.ndarray:
        count = values.shape[-1]
        if frames == 1:
            return values
        return values[..., rng.integers(0, count, (_WINDOWS, frames))].mean(axis=-1)

    threshold = np.quantile(means(usual), _FALSE_ALARMS)
    shares = (means(shown) < threshold).mean(axis=-1)
    return {"threshold": float(threshold)} | dict(
        zip(map(str, CELLS), shares.tolist(), strict=True)
    )
