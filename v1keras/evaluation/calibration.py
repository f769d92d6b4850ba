"""The temperature of a run: fitted on its held-out images, and stored with the run."""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, TypedDict

import keras
import numpy as np

from v1keras.data import ImageDataset
from v1keras.evaluation.metrics import measure
from v1keras.evaluation.temperature import fit_temperature
from v1keras.files import file_fingerprint, write_json
from v1keras.layers.neuronal_noise import noise_layers
from v1keras.reading import read_json, reading
from v1keras.training import Run
from v1keras.training.held_out import held_out_by_all, open_run_dataset

CALIBRATION_FILE = "calibration.json"
IMAGES = 1000
"""How many held-out images a temperature is fitted on, if there are so many."""
LEAST_IMAGES = 16
_BATCH = 32
_REMEDY = "remove it, and the temperature is fitted again"


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a model's logits are divided by before they become a confidence.

    Args:
        temperature: float. Above 1 where the model is too confident.
        images: int. How many held-out images it was fitted on.
        before: dict. `negative_log_likelihood` and `expected_calibration_error` of
            these images, undivided.
        after: dict. The same, of each half of the images divided by the temperature
            of the other half.
    """

    temperature: float
    images: int
    before: dict[str, float]
    after: dict[str, float]


_Entry = TypedDict("_Entry", typing.get_type_hints(Calibration))


class _Record(TypedDict):
    """The fingerprint of the model, and what was fitted by the mode of its noise."""

    model: str
    noise: dict[str, _Entry]


def calibrate(
    runs: Sequence[Run], model: keras.Model, dataset: ImageDataset | None = None
) -> Calibration:
    """The calibration of a run, or of an ensemble of runs.

    That of a run is read from its folder if it is there for this model and its noise.
    Else it is fitted on validation images and, where the folder can be written, left
    there. That of an ensemble belongs to no run and is fitted each time.

    Args:
        runs: sequence of `Run`.
        model: `keras.Model`. Theirs, with the noise that it answers with.
        dataset: `ImageDataset` or None. From `open_run_dataset` of the first run.
            Defaults to opening it where it is needed.

    Returns:
        A `Calibration`.

    Raises:
        ValueError: if the runs have held out no common images, or too few, their data
            set is not there, or what is stored is damaged.

    Example:

    >>> run = v1keras.Run.open("runs/student")
    >>> calibration = calibrate([run], run.load_model())
    >>> calibration == stored_calibrations(run)["stochastic"]
    True
    """
    mode = _noise_of(model) if len(runs) == 1 else None
    known = stored_calibrations(runs[0]) if mode else {}
    if mode in known:
        return known[mode]
    try:
        dataset = dataset or open_run_dataset(runs[0])
    except OSError as error:
        raise ValueError(
            f"a temperature is fitted on images that {runs[0].path} has held out, and "
            f"they are not there ({error})"
        ) from error
    if not held_out_by_all(runs, dataset):
        raise ValueError(
            "Runs must have held out the same validation images for a temperature to be "
            f"fitted. Received: {', '.join(str(run.path) for run in runs)}"
        )
    split = dataset.split("validation").spread(IMAGES)
    if len(split) < LEAST_IMAGES:
        raise ValueError(
            f"A temperature must be fitted on at least {LEAST_IMAGES} validation "
            f"images. Received: {len(split)}"
        )
    images = np.asarray(split.images)
    logits = [
        model.predict_on_batch(images[start : start + _BATCH].astype(np.float32))
        for start in range(0, len(images), _BATCH)
    ]
    found = measure_calibration(np.concatenate(logits), split.labels)
    if mode and runs[0].is_writable:
        _store(runs[0], {**known, mode: found})
    return found


def measure_calibration(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """Fits a temperature and measures it on images that it was not fitted on.

    Args:
        logits: float array (images, classes), of images that were not trained on.
        labels: int array (images,).
    """
    odd = np.arange(len(labels)) % 2 == 1
    divided = np.array(logits, np.float64)
    for half in (odd, ~odd):
        divided[half] /= fit_temperature(logits[~half], labels[~half])
    figures = []
    for values in (logits, divided):
        measured = measure(values, labels)
        figures.append(
            {
                "negative_log_likelihood": measured.negative_log_likelihood,
                "expected_calibration_error": measured.reliability.calibration_error(),
            }
        )
    return Calibration(fit_temperature(logits, labels), len(labels), *figures)


def stored_calibrations(run: Run) -> dict[str, Calibration]:
    """What has been fitted for the model of a run, by the mode of its noise.

    Args:
        run: `Run`.

    Returns:
        dict from `"stochastic"` or `"off"` to `Calibration`; an empty one if nothing
        was fitted, or the model has changed since.

    Raises:
        ValueError: if the file is damaged.
    """
    file = run.path / CALIBRATION_FILE
    if not file.is_file():
        return {}
    record: dict[str, Any] = read_json(file, _Record, _REMEDY)
    if record["model"] != file_fingerprint(run.find_model()):
        return {}
    with reading(file, _REMEDY):
        for entry in record["noise"].values():
            if entry["temperature"] <= 0:
                raise ValueError("a temperature must be positive")
    return {mode: Calibration(**entry) for mode, entry in record["noise"].items()}


def _store(run: Run, calibrations: dict[str, Calibration]) -> None:
    record = {
        "model": file_fingerprint(run.find_model()),
        "noise": {
            mode: dataclasses.asdict(each) for mode, each in calibrations.items()
        },
    }
    write_json(run.path / CALIBRATION_FILE, record)


def _noise_of(model: keras.Model) -> str | None:
    """`"off"`, `"stochastic"`, or None for patterns that another seed makes others."""
    modes = {each.noise for each in noise_layers(model) if each.noise_gain > 0}
    (mode,) = modes or {"off"}
    return None if mode == "fixed" else mode
