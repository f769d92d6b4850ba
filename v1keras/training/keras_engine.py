"""How JAX and PyTorch train: by `keras.Model.fit`, on several devices by JAX alone."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from v1keras.data import batch_sizes, get_augmentation
from v1keras.hardware import require_tensorflow
from v1keras.training.config import TrainConfig
from v1keras.training.run import Run

LOST: tuple[type[Exception], ...] = ()
"""There are no other processes that could be lost."""

JIT_COMPILE = "auto"
"""What `model.compile` is told: JAX is slow without its compiler."""


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices that share the batches of one process.

    Args:
        distribution: `keras.distribution.DataParallel`, or None for one device.
    """

    distribution: keras.distribution.DataParallel | None = None

    @property
    def count(self) -> int:
        """How many there are."""
        if self.distribution is None:
            return 1
        return self.distribution.device_mesh.devices.size

    def scope(self) -> contextlib.AbstractContextManager:
        """A context in which models are made and trained on all of them."""
        return (
            self.distribution.scope() if self.distribution else contextlib.nullcontext()
        )


def check(config: TrainConfig) -> None:
    """Refuses what the back-end cannot do, before the work."""
    for name in ("mixup", "cutmix"):
        if getattr(config, name):
            require_tensorflow(f"`{name}`")
    get_augmentation(config.augmentation)


def find_workers(strategy: str) -> None:
    """Refuses several workers."""
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if strategy == "multi_worker" or os.environ.get("TF_CONFIG") or tasks > 1:
        require_tensorflow("Work shared by processes (multi_worker, TF_CONFIG, Slurm)")


def get_strategy(name: str, workers: int) -> Devices:
    """The devices of a strategy; see `v1keras.training.strategy.get_strategy`."""
    if name == "tpu":
        require_tensorflow("`strategy` tpu")
    if keras.backend.backend() != "jax":
        if name == "mirrored":
            require_tensorflow("`strategy` mirrored, unless JAX computes,")
        return Devices()
    accelerators = keras.distribution.list_devices(
        "gpu"
    ) + keras.distribution.list_devices("tpu")
    if name == "mirrored" or (name == "auto" and len(accelerators) > 1):
        return _all_devices()
    return Devices()


@functools.cache
def _all_devices() -> Devices:
    devices = keras.distribution.list_devices()
    return Devices(keras.distribution.DataParallel(devices=devices))


def count_replicas(strategy: Devices) -> int:
    """One: gradients are those of all devices together."""
    return 1


def count_batches(strategy: Devices, count: int, batch_size: int) -> int:
    """How many batches some images make; those that devices cannot share are refused."""
    if batch_size % strategy.count:
        raise ValueError(
            f"`batch_size` must be a multiple of the {strategy.count} devices. "
            f"Received: batch_size={batch_size}"
        )
    return len(batch_sizes(count, batch_size))


def fit(
    strategy: Devices,
    model: keras.Model,
    training: Callable[..., Any],
    validation: Callable[..., Any],
    *,
    validation_steps: int,
    **kwargs,
) -> None:
    """Trains a model that was made in the scope of `strategy`."""
    with strategy.scope():
        model.fit(
            training(replicas=strategy.count),
            validation_data=validation(replicas=strategy.count),
            validation_steps=validation_steps,
            shuffle=False,  # the batches are
            **kwargs,
        )


def log_callbacks(
    run: Run, training: Callable[..., Any]
) -> list[keras.callbacks.Callback]:
    """None: Keras writes event files for TensorBoard by TensorFlow."""
    return []


def log_errors(folder: Path) -> contextlib.AbstractContextManager:
    """A context without a meaning, as there are no event files."""
    return contextlib.nullcontext()
