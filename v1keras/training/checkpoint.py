"""Keeping the best model and everything that a killed training needs to resume."""

import csv
import dataclasses
import itertools
import json
import math
import shutil
import time
from pathlib import Path
from typing import Any

import keras

from v1keras.files import atomic_write, write_json
from v1keras.training.run import (
    CHECKPOINT_FOLDER,
    HISTORY_FILE,
    MODEL_FILE,
    weights_not_finite,
)

_STATE_FILE = "state.json"
_WEIGHTS_FILE = "training.weights.h5"
# What ReduceLROnPlateau remembers between epochs.
_PLATEAU_STATE = ("best", "wait", "cooldown_counter")


@dataclasses.dataclass
class Progress:
    """What training has done so far."""

    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best_epoch: int = 0
    best_accuracy: float = -1.0

    @property
    def epochs(self) -> int:
        """The number of finished epochs."""
        return len(self.history)


class RunCheckpoint(keras.callbacks.Callback):
    """Writes a run directory while Keras trains, and resumes from it.

    After each epoch: the best model on the validation images (`model.keras`), the
    table of all epochs (`history.csv`), and a checkpoint of weights, optimiser, noise
    seeds and schedule (`checkpoint/`). Each is written to a temporary name and renamed.
    The first loss that is not finite ends the training before any of them is written.

    Args:
        folder: path of the run.
        plateau: list of the `ReduceLROnPlateau` callbacks of the same training, which
            must stand before this one.
    """

    def __init__(self, folder: Path, plateau: list[keras.callbacks.Callback]):
        super().__init__()
        self.folder = folder
        self.plateau = plateau
        self.progress = Progress()
        self._plateau_state: list[dict] = []
        self._epoch = 0
        self._started = 0.0

    def restore(self, model: keras.Model) -> None:
        """Brings `model` to the last finished epoch, if there is one.

        Args:
            model: the compiled Keras model that will be trained.

        Raises:
            ValueError: if the checkpoint cannot be read.
        """
        folders = sorted((self.folder / CHECKPOINT_FOLDER).glob("epoch_*"))
        if not folders:
            return
        newest = folders[-1]
        model.optimizer.build(model.trainable_variables)
        try:
            state = json.loads((newest / _STATE_FILE).read_text(encoding="utf-8"))
            model.load_weights(newest / _WEIGHTS_FILE)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                "A checkpoint must be undamaged; remove it to resume from the previous "
                f"one, or from the start. Received: {newest}, which cannot be read ({error})"
            ) from error
        self._plateau_state = state.pop("plateau")
        rate = state.pop("learning_rate")
        if self._plateau_state:  # the other schedules follow from the step
            model.optimizer.learning_rate = rate
        self.progress = Progress(**state)

    def on_train_begin(self, logs=None):
        # The plateau callback has just forgotten what it knew.
        for callback, state in zip(self.plateau, self._plateau_state, strict=False):
            for name, value in state.items():
                setattr(callback, name, value)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch + 1
        self._started = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        # Means over the epoch so far: one bad step makes them so at once, and for good.
        self._check_finite(logs, f"step {batch + 1} of epoch {self._epoch}")

    def on_epoch_end(self, epoch, logs=None):
        self._check_finite(logs, f"epoch {self._epoch}")
        # The last step may have spoilt weights that no validation image needs.
        wrong = dict.fromkeys(weights_not_finite(self.model), math.nan)
        self._check_finite(wrong, f"the last step of epoch {self._epoch}")
        progress = self.progress
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        progress.history.append(
            {
                "epoch": epoch + 1,
                **{name: float(value) for name, value in sorted(logs.items())},
                "learning_rate": rate,
                "seconds": round(time.monotonic() - self._started, 2),
            }
        )
        if logs["val_accuracy"] > progress.best_accuracy:
            progress.best_epoch = epoch + 1
            progress.best_accuracy = float(logs["val_accuracy"])
            with atomic_write(self.folder / MODEL_FILE) as temporary:
                _bare(self.model).save(temporary)
        self._write_history()
        self._write_checkpoint(epoch + 1, rate)

    def _check_finite(self, logs: dict[str, float], where: str) -> None:
        wrong = [f"{k}={v}" for k, v in logs.items() if not math.isfinite(v)]
        if not wrong:
            return
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        best = self.progress.best_epoch
        kept = (
            f"the best model, of epoch {best}, is kept" if best else "no model is kept"
        )
        raise ValueError(
            "Losses and weights must stay finite; lower `learning_rate`, or raise "
            "`warmup_epochs` if the schedule has a warm-up, in a new folder. Received: "
            f"{', '.join(wrong[:3])} in {where} at a learning rate of {rate:g} in "
            f"{self.folder}, where {kept}"
        )

    def _write_history(self) -> None:
        with (
            atomic_write(self.folder / HISTORY_FILE) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            history = self.progress.history
            writer = csv.DictWriter(
                file, list(dict.fromkeys(itertools.chain(*history)))
            )
            writer.writeheader()
            writer.writerows(history)

    def _write_checkpoint(self, epoch: int, rate: float) -> None:
        state = {
            **dataclasses.asdict(self.progress),
            "learning_rate": rate,
            "plateau": [
                {name: float(getattr(callback, name)) for name in _PLATEAU_STATE}
                for callback in self.plateau
            ],
        }
        parent = self.folder / CHECKPOINT_FOLDER
        older = list(parent.glob("epoch_*"))
        with atomic_write(parent / f"epoch_{epoch:04d}") as temporary:
            temporary.mkdir()
            self.model.save_weights(temporary / _WEIGHTS_FILE)
            write_json(temporary / _STATE_FILE, state)
        for folder in older:
            shutil.rmtree(folder, ignore_errors=True)


def _bare(model: keras.Model) -> keras.Model:
    """What is used after training: a student without its distiller, no optimizer.

    The file is half as large, and loads where only `v1keras` was imported.
    """
    model = getattr(model, "student", model)
    return keras.Model(model.input, model.output, name=model.name)
