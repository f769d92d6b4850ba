"""Keeping the best model and everything that a killed training needs to resume."""

import contextlib
import csv
import dataclasses
import itertools
import math
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import keras

from v1keras.escaping import say
from v1keras.files import atomic_write, file_fingerprint, write_json
from v1keras.reading import read_json, reading
from v1keras.training.engine import get_engine
from v1keras.training.run import (
    CHECKPOINT_FOLDER,
    CONFIG_FILE,
    HISTORY_FILE,
    MODEL_FILE,
    weights_not_finite,
)

_STATE_FILE = "state.json"
_WEIGHTS_FILE = "training.weights.h5"
_NAME = re.compile(r"epoch_(\d{4,})")
# The one before stays, should the newest turn out to be damaged.
_KEPT = 2
# What ReduceLROnPlateau remembers between epochs.
_PLATEAU_STATE = ("best", "wait", "cooldown_counter")


class _State(TypedDict):
    """The content of `state.json`."""

    history: list[dict[str, float]]
    best_epoch: int
    best_accuracy: float
    learning_rate: float
    plateau: list[dict[str, float]]
    # Version 0.1.0 wrote none.
    sha256: NotRequired[str]


@dataclasses.dataclass
class Progress:
    """What training has done so far.

    `best_accuracy` is of the figure that the best epoch is chosen by.
    """

    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best_epoch: int = 0
    best_accuracy: float = -1.0

    @property
    def epochs(self) -> int:
        """The number of finished epochs."""
        return len(self.history)

    @property
    def best(self) -> dict[str, Any]:
        """The figures of the best epoch."""
        return self.history[self.best_epoch - 1]


class RunCheckpoint(keras.callbacks.Callback):
    """Writes a run directory while Keras trains, and resumes from it.

    After each epoch: a checkpoint of weights, optimiser, noise seeds, schedule, the
    table of all epochs and the best model on the validation images
    (`checkpoint/epoch_...`), then that model (`model.keras`) and that table
    (`history.csv`), which therefore are never ahead of it. Each is written to a
    temporary name and renamed. The two newest checkpoints are kept. The first loss that
    is not finite ends the training before any of them is written.

    Args:
        folder: path of the run.
        plateau: list of the `ReduceLROnPlateau` callbacks of the same training, which
            must stand before this one.
        writes: bool. Whether this process writes, or another one that trains with it.
            Defaults to `True`.
        monitor: str. The figure of validation that is largest in the best epoch.
            Defaults to `"val_accuracy"`.
        averages: list of the `SwapEMAWeights` callback of the same training, if there is
            one: the best model then has the averaged weights. Defaults to none.
    """

    def __init__(
        self,
        folder: Path,
        plateau: list[keras.callbacks.Callback],
        *,
        writes: bool = True,
        monitor: str = "val_accuracy",
        averages: Sequence[keras.callbacks.SwapEMAWeights] = (),
    ):
        super().__init__()
        self.folder = folder
        self.plateau = plateau
        self.monitor = monitor
        self.averages = averages
        self.writes = writes
        self.progress = Progress()
        self._plateau_state: list[dict] = []
        self._epoch = 0
        self._started = 0.0

    def restore(self, model: keras.Model, *, may_begin_anew: bool = True) -> None:
        """Brings `model` to the last finished epoch, if there is one.

        If its checkpoint is damaged, the one before is taken, which is said.

        Args:
            model: the compiled Keras model that will be trained.
            may_begin_anew: bool. Whether the user may be told how to begin anew in this
                folder. Defaults to `True`.

        Raises:
            ValueError: if there are checkpoints, and none can be read.
        """
        folders = list(reversed(_checkpoints(self.folder)))
        if not folders:
            return
        model.optimizer.build(model.trainable_variables)
        damaged = []
        for folder in folders:
            try:
                self._read(folder, model)
            except (OSError, ValueError) as error:
                damaged.append(f"{folder}, which cannot be read ({error})")
            else:
                break
        else:
            how = "put back a copy of it, or train in a new folder"
            if may_begin_anew:
                how = f"remove {folders[0].parent} to train from the start"
            raise ValueError(
                f"A checkpoint must be undamaged; {how}. Received: {'; '.join(damaged)}"
            )
        for each in damaged:
            say(f"{each}: resumed from {folder.name} instead.")
        if self.writes:
            self._publish(folder)

    def _read(self, folder: Path, model: keras.Model) -> None:
        remedy = "the one before is taken"
        state = read_json(folder / _STATE_FILE, _State, remedy)
        with reading(folder / _WEIGHTS_FILE, remedy):
            digest = file_fingerprint(folder / _WEIGHTS_FILE)
            if digest != state.get("sha256", digest):
                raise ValueError("it is not as it was written")
            model.load_weights(folder / _WEIGHTS_FILE)
        self._plateau_state = state["plateau"]
        if self._plateau_state:  # the other schedules follow from the step
            model.optimizer.learning_rate = state["learning_rate"]
        self.progress = Progress(
            state["history"], state["best_epoch"], state["best_accuracy"]
        )

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
        if logs[self.monitor] > progress.best_accuracy:
            progress.best_epoch = epoch + 1
            progress.best_accuracy = float(logs[self.monitor])
        if not self.writes:
            if progress.best_epoch == epoch + 1:
                with self._averaged_weights():
                    pass  # rounds them as it does where they are saved
            return
        self._publish(self._write_checkpoint(epoch + 1, rate))
        for folder in _checkpoints(self.folder)[:-_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)

    def finish(self) -> None:
        """Removes what only an unfinished run needs.

        Weights and optimiser stay, so that the run can go on.
        """
        *older, newest = _checkpoints(self.folder)
        for folder in older:
            shutil.rmtree(folder, ignore_errors=True)
        (newest / MODEL_FILE).unlink(missing_ok=True)

    def _check_finite(self, logs: dict[str, float], where: str) -> None:
        wrong = [f"{k}={v}" for k, v in logs.items() if not math.isfinite(v)]
        if not wrong:
            return
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        best = self.progress.best_epoch
        place, kept = (
            ("in a new folder", f"the best model, of epoch {best}, is kept")
            if best
            else ("with the same `out`", "no model is kept")
        )
        raise ValueError(
            "Losses and weights must stay finite; lower `learning_rate`, or raise "
            f"`warmup_epochs` if the schedule has a warm-up, {place}. Received: "
            f"{', '.join(wrong[:3])} in {where} at a learning rate of {rate:g} in "
            f"{self.folder}, where {kept}"
        )

    def _publish(self, folder: Path) -> None:
        """Has both a checkpoint and the run directory show its best model and table."""
        model, shown = folder / MODEL_FILE, self.folder / MODEL_FILE
        if shown.is_file() and not model.is_file():
            # Finished runs and those of version 0.1.0 hold their model only once.
            with atomic_write(model) as temporary:
                _link(shown, temporary)
        elif model.is_file() and not (shown.is_file() and shown.samefile(model)):
            with atomic_write(shown) as temporary:
                _link(model, temporary)
        self._write_history()

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

    def _write_checkpoint(self, epoch: int, rate: float) -> Path:
        target = self.folder / CHECKPOINT_FOLDER / f"epoch_{epoch:04d}"
        state = {
            **dataclasses.asdict(self.progress),
            "learning_rate": rate,
            "plateau": [
                {name: float(getattr(callback, name)) for name in _PLATEAU_STATE}
                for callback in self.plateau
            ],
        }
        with atomic_write(target) as temporary:
            temporary.mkdir()
            if self.progress.best_epoch == epoch:
                with self._averaged_weights(), get_engine().alone():
                    _bare(self.model).save(temporary / MODEL_FILE)
            else:
                _link(self.folder / MODEL_FILE, temporary / MODEL_FILE)
            # After the averages have been there: swapping back rounds the weights.
            with get_engine().alone():
                self.model.save_weights(temporary / _WEIGHTS_FILE)
            digest = file_fingerprint(temporary / _WEIGHTS_FILE)
            write_json(temporary / _STATE_FILE, {**state, "sha256": digest})
            # A damaged one of this epoch may stand there.
            shutil.rmtree(target, ignore_errors=True)
        return target

    @contextlib.contextmanager
    def _averaged_weights(self) -> Iterator[None]:
        """The model has its averaged weights within, if there are any."""
        for averages in self.averages:
            averages.on_test_begin()
        yield
        for averages in self.averages:
            averages.on_test_end()


def is_without_epochs(folder: str | os.PathLike) -> bool:
    """Whether a folder is a run of which no epoch has been finished.

    Args:
        folder: str or path.
    """
    folder = Path(folder)
    kept = (folder / MODEL_FILE, folder / HISTORY_FILE, folder / CHECKPOINT_FOLDER)
    return (folder / CONFIG_FILE).is_file() and not any(map(Path.exists, kept))


def is_without_checkpoint(folder: str | os.PathLike) -> bool:
    """Whether a run has no checkpoint to go on from.

    Args:
        folder: str or path.
    """
    return not _checkpoints(Path(folder))


def _checkpoints(folder: Path) -> list[Path]:
    """The folders of a run's checkpoints, oldest first."""
    found = {
        int(match[1]): path
        for path in (folder / CHECKPOINT_FOLDER).glob("epoch_*")
        if (match := _NAME.fullmatch(path.name)) and path.is_dir()
    }
    return [found[epoch] for epoch in sorted(found)]


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name, or copies it where the file system has none."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def _bare(model: keras.Model) -> keras.Model:
    """What is used after training: a student without its distiller, no optimizer.

    The file is half as large, and loads where only `v1keras` was imported.
    """
    model = getattr(model, "student", model)
    return keras.Model(model.input, model.output, name=model.name)
