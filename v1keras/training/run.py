"""The run directory: the one unit that all command lines pass on."""

import collections
import dataclasses
import importlib
import os
import zipfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import keras
import numpy as np

from v1keras.command_line import defaults_of
from v1keras.escaping import escape_line
from v1keras.files import require_writable
from v1keras.models import resolve_setting
from v1keras.reading import check_form, read_json, read_table, reading, reason
from v1keras.training.config import DistillConfig, TrainConfig
from v1keras.v1 import VARIANTS, Variant

CONFIG_FILE = "config.json"
MODEL_FILE = "model.keras"
HISTORY_FILE = "history.csv"
GABORS_FILE = "gabors.npz"
CHECKPOINT_FOLDER = "checkpoint"
LOG_FOLDER = "logs"

# The kind of a run that is not trained here.
CONVERTED = "converted"

_RETRAIN = "put back a copy of it, or train the run again in a new folder"


class _Data(TypedDict):
    name: str
    fingerprint: NotRequired[str | None]
    sizes: NotRequired[dict[str, int]]


class _Fold(TypedDict):
    name: str
    fingerprint: str | None
    validation_fraction: float | None
    validation_source: str | None
    split_seed: int | None


class _V1(TypedDict):
    variant: Variant
    sf_range: tuple[float, ...]


class _Result(TypedDict, total=False):
    """Empty for a run that was not trained here."""

    epochs: int
    best_epoch: int
    validation_accuracy: float
    validation_balanced_accuracy: float


class _Record(TypedDict):
    """What every run notes, from its beginning, and what was added later."""

    kind: Literal["member", "student", "converted"]
    name: str
    settings: dict[str, Any]
    variant: Variant
    class_names: list[str]
    display_names: list[str]
    image_size: int
    crop_fraction: NotRequired[float]
    data: _Data
    v1: NotRequired[_V1 | None]
    learnt_from: NotRequired[list[_Fold]]
    result: NotRequired[_Result | None]
    earlier_results: NotRequired[list[_Result]]


@dataclasses.dataclass(frozen=True)
class Run:
    """An open run directory: what `train` and `distill` write.

    `v1keras.Run` is this class. Open one by `Run.open`.

    Args:
        path: path of the folder.
        config: dict. The content of `config.json`.

    Example:

    >>> run = v1keras.Run.open("runs/low_noise")
    >>> run.class_names[:2], run.image_size
    (('circle', 'square'), 64)
    >>> run.load_model().output_shape
    (None, 12)
    >>> len(run.history["val_accuracy"])
    1
    """

    path: Path
    config: dict[str, Any]

    @classmethod
    def open(cls, path: str | os.PathLike) -> "Run":
        """Reads a run directory.

        Args:
            path: str or path.

        Returns:
            `Run`.

        Raises:
            FileNotFoundError: if the folder is missing or is no run.
            ValueError: if its configuration is damaged.
        """
        path = Path(path)
        file = path / CONFIG_FILE
        if not path.is_dir():
            raise FileNotFoundError(f"A run directory must exist. Received: {path}")
        if not file.is_file():
            raise FileNotFoundError(
                f"A run directory must hold {CONFIG_FILE}. Received: {path}"
            )
        run = cls(path, read_json(file, _Record, _RETRAIN))
        with reading(file, _RETRAIN):
            run._check()
        return run

    def _check(self) -> None:
        """Refuses entries that do not fit together, or hold what none may."""
        check_form(self.config["settings"], self._settings_class, "settings")
        count = len(self.class_names)
        if not count == len(set(self.class_names)) == len(self.display_names) > 0:
            raise ValueError("class_names must differ, and have a display name each")
        if self.image_size < 1:
            raise ValueError(f"image_size must be positive, not {self.image_size}")
        # They refuse what they cannot be made of.
        _ = self.variant, self.v1, self.is_finished and self.summary()

    @property
    def name(self) -> str:
        """The name of the folder, which tables and charts show."""
        return self.path.resolve().name

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the training, with the defaults of those of later versions."""
        return {**defaults_of(self._settings_class), **self.config["settings"]}

    @property
    def _settings_class(self) -> type[TrainConfig]:
        return DistillConfig if self.config["kind"] == "student" else TrainConfig

    @property
    def class_names(self) -> tuple[str, ...]:
        """Identifiers of the classes, in the order of the logits."""
        return tuple(self.config["class_names"])

    @property
    def display_names(self) -> tuple[str, ...]:
        """Readable names of the classes, in the order of the logits."""
        return tuple(self.config["display_names"])

    @property
    def labels(self) -> tuple[str, ...]:
        """What answers call the classes: `display_names` that are unique, a line each.

        The identifier stands behind those that occur twice, as in `crane (n02012849)`.
        Line breaks and control characters become escapes, as `v1keras.escaping` has
        them.
        """
        shown = [escape_line(name) for name in self.display_names]
        return tuple(
            f"{display} ({escape_line(name)})" if shown.count(display) > 1 else display
            for name, display in zip(self.class_names, shown, strict=True)
        )

    @property
    def history(self) -> dict[str, list[float]]:
        """What each epoch measured, by column of `history.csv`, such as `"val_accuracy"`.

        The dictionary is like that of `keras.callbacks.History`, with `"epoch"` (from 1)
        and `"seconds"`; it is empty before the first epoch has finished.
        """
        file = self.path / HISTORY_FILE
        if not file.is_file():
            return {}
        remedy = "remove it; a training that resumes writes it anew"
        rows = read_table(file, {}, remedy, others=float)
        return {name: [row[name] for row in rows] for name in (rows or [{}])[0]}

    @property
    def image_size(self) -> int:
        """Height and width of the input, in pixels."""
        return self.config["image_size"]

    @property
    def crop_fraction(self) -> float:
        """The share of an image's shorter side that the model is shown."""
        # Runs of version 0.1.0 were shown all of it.
        return self.config.get("crop_fraction", 1.0)

    @property
    def variant(self) -> Variant:
        """The V1 variant of the model."""
        return Variant(**self.config["variant"])

    @property
    def v1(self) -> dict[str, Any] | None:
        """What the front-end was built with, `None` for the plain CNN.

        `variant` has its highest spatial frequency in force, and `sf_range` is the
        range that its cells have (cycles per degree). The others are
        `image_size` (pixels), `visual_degrees`, `kernel_size` and `stride` (pixels),
        `k_exc`, `noise_scale`, `noise_level` (spikes) and `rectify_noise`.
        """
        if "v1" in self.config:
            stored = self.config["v1"]
        else:
            # Version 0.1.0 did not save them, nor which ends of a named variant were
            # the setting's.
            variant = VARIANTS.get(self.variant.name, self.variant)
            stored = resolve_v1(self.settings, variant, self.image_size)
        return stored and {**stored, "variant": Variant(**stored["variant"])}

    @property
    def is_finished(self) -> bool:
        """Whether all epochs were trained, or a callback has ended the training."""
        return self.config.get("result") is not None

    @property
    def is_converted(self) -> bool:
        """Whether others trained the model, and `v1keras.convert` made the run."""
        return self.config["kind"] == CONVERTED

    @property
    def is_writable(self) -> bool:
        """Whether files can be made in the folder; runs of others may be read-only."""
        try:
            require_writable(self.path)
        except OSError:
            return False
        return True

    def summary(self) -> str:
        """One line on a finished run: where it is and how good its best epoch."""
        if self.is_converted:
            return f"{self.path}: {self.config['checkpoint']['file']}, converted"
        result = self.config["result"]
        return (
            f"{self.path}: best validation accuracy "
            f"{result['validation_accuracy']:.4f} in epoch {result['best_epoch']} of "
            f"{result.get('epochs', self.settings['epochs'])}"
        )

    def is_after_model(self, file: Path) -> bool:
        """Whether a file, such as a table of accuracies, is not older than the model."""
        model = self.path / MODEL_FILE
        if not model.is_file():
            return True
        return file.stat().st_mtime_ns >= model.stat().st_mtime_ns

    def find_model(self) -> Path:
        """The file of the best model.

        Raises:
            FileNotFoundError: if no epoch has been finished yet, or the file was removed.
        """
        file = self.path / MODEL_FILE
        if not file.is_file():
            how = "which the first epoch writes"
            if self.is_finished:
                how = "though it is finished; put it back, or train in a new folder"
            raise FileNotFoundError(
                f"A run directory must hold {MODEL_FILE}. Received: {self.path} without "
                f"it, {how}"
            )
        return file

    def load_model(self) -> keras.Model:
        """Loads the best model of the run.

        Raises:
            FileNotFoundError: if there is none; see `find_model`.
            ValueError: if the file is damaged, holds what Keras refuses to load, such
                as code, or weights are not finite.
        """
        file = self.find_model()
        model = load_model_file(file, _RETRAIN)
        wrong = weights_not_finite(model)
        if wrong:
            raise ValueError(
                "A model must have finite weights; train the run again in a new folder, "
                f"with a lower `learning_rate`. Received: {file}, of which "
                f"{len(wrong)} weights hold NaN or infinity, such as {wrong[0]}"
            )
        return model


def load_model_file(file: Path, remedy: str) -> keras.Model:
    """Loads a `.keras` file for inference.

    Args:
        file: path.
        remedy: str. What to do if it is damaged.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or holds what Keras refuses to load, such as code.
    """
    # Keras looks at no checksums, and so takes weights with a flipped bit.
    with reading(file, remedy), zipfile.ZipFile(file) as archive:
        broken = archive.testzip()
        if broken is not None:
            raise ValueError(f"{broken} in it does not fit its checksum")
    try:
        return keras.models.load_model(file, compile=False)
    except Exception as error:
        raise ValueError(
            "A model must hold what v1keras and Keras know, and no code, which is "
            f"never run from a file. Received: {file}, which is undamaged but "
            f"refused ({reason(error)})"
        ) from error


def weights_not_finite(model: keras.Model) -> list[str]:
    """The paths of the weights that hold NaN or infinity."""
    return [
        weight.path
        for weight in model.weights
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all()
    ]


def resolve_v1(
    settings: Mapping[str, Any], variant: Variant, image_size: int
) -> dict[str, Any] | None:
    """What `Run.v1` is, as it is saved.

    Args:
        settings: mapping. The fields of the `TrainConfig`.
        variant: `Variant`.
        image_size: int. In pixels.
    """
    if not variant.v1:
        return None
    names = (
        "stride",
        "visual_degrees",
        "kernel_size",
        "k_exc",
        "noise_scale",
        "noise_level",
    )
    given = {name: settings[name] for name in names}
    variant, setting = resolve_setting(variant, image_size, **given)
    return {
        "variant": variant.to_dict(),
        "sf_range": list(variant.sf_range),
        "image_size": image_size,
        **{name: getattr(setting, name) for name in names},
        "rectify_noise": settings["rectify_noise"],
    }


def check_different(runs: Sequence[Run], name: str) -> None:
    """Refuses a run that would count twice.

    Args:
        runs: sequence of `Run`.
        name: str. The argument that names them, for the message.

    Raises:
        ValueError: if two are one folder, whatever the paths to it.
    """
    folders = collections.Counter(str(run.path.resolve()) for run in runs)
    twice = [escape_line(folder) for folder, count in folders.items() if count > 1]
    if twice:
        raise ValueError(
            f"`{name}` must not name a run twice. Received: "
            f"{name}={','.join(twice)} more than once"
        )


def check_same_classes(runs: list[Run]) -> None:
    """Refuses runs whose models cannot be compared or averaged.

    Raises:
        ValueError: if two runs differ in classes, image size or crop fraction; it
            names the two.
    """
    first = runs[0]
    for run in runs[1:]:
        check_classes(first, f"run {run.path}", run.class_names)
        if run.image_size != first.image_size:
            raise ValueError(
                "Runs must have the same image size. Received: "
                f"{first.path} with {first.image_size} pixels, {run.path} with "
                f"{run.image_size}"
            )
        if run.crop_fraction != first.crop_fraction:
            raise ValueError(
                "Runs must have the same `crop_fraction`. Received: "
                f"{first.path} with {first.crop_fraction}, {run.path} with "
                f"{run.crop_fraction}"
            )


def check_classes(run: Run, other: str, class_names: Sequence[str]) -> None:
    """Refuses what has other classes than a run, such as a data set.

    Args:
        run: `Run`.
        other: str. What is compared with it, for the message.
        class_names: sequence of str. Its classes, in their order.

    Raises:
        ValueError: if they differ; it names the two and some of the classes.
    """
    if tuple(class_names) == run.class_names:
        return
    different = sorted(set(class_names) ^ set(run.class_names))
    raise ValueError(
        "Runs and data sets must have the same classes in the same order. Received: the "
        f"run {run.path} with {len(run.class_names)} and the {other} with "
        f"{len(class_names)}, which differ in "
        f"{', '.join(different[:3]) or 'their order'}"
    )


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    import platform

    backend = keras.backend.backend()
    return {
        "v1keras": metadata.version("v1keras"),
        "keras": keras.__version__,
        backend: importlib.import_module(backend).__version__,
        "python": platform.python_version(),
    }
