"""How JAX and PyTorch train: by `keras.Model.fit`, on several devices by JAX alone."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from v1keras.data import batch_sizes, get_augmentation
from v1keras.hardware import require_tensorflow
from v1keras.training.config import TrainConfig
from v1keras.training.run import Run

LOST: tuple[type[Exception], ...] = ()
"""There are no other processes that could be lost."""

SHARES_PREDICTION = False
"""Whether `predict` works on several devices, whatever the size of a batch."""

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
    devices = tuple(keras.distribution.list_devices())
    several_gpus = len(devices) > 1 and not devices[0].startswith("cpu")
    if name == "mirrored" or (name == "auto" and several_gpus):
        return _parallel(devices)
    return Devices()


@functools.cache
def _parallel(devices: tuple[str, ...]) -> Devices:
    return Devices(keras.distribution.DataParallel(devices=list(devices)))


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


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images, uint8 (B, H, W, 3), to a model's float32 outputs."""
    return lambda images: np.asarray(
        model.predict_on_batch(images.astype(np.float32)), np.float32
    )


def count_operations(model: keras.Model) -> int:
    """Floating-point operations of one image, as the back-end counts them."""
    image = np.zeros((1, *model.input_shape[1:]), np.float32)
    if keras.backend.backend() == "jax":
        import jax

        state = model.trainable_variables, model.non_trainable_variables
        values = [[variable.value for variable in variables] for variables in state]
        lowered = jax.jit(lambda x: model.stateless_call(*values, x)[0]).lower(image)
        return int(lowered.cost_analysis()["flops"])
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        model(image, training=False)
    return counter.get_total_flops()


def device_name() -> str:
    """What computes: `"CPU"` or `"GPU"`."""
    value = keras.ops.zeros(())
    if keras.backend.backend() == "jax":
        (device,) = value.devices()
        kind = device.platform
    else:
        kind = value.device.type
    return "CPU" if kind == "cpu" else "GPU"
