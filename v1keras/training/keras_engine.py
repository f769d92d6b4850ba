"""How JAX and PyTorch train: by `keras.Model.fit`, on several devices by JAX alone.

On JAX several processes are one machine with the devices of all: each is given its share
of a batch, and computes the same weights and figures.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from v1keras.data import batch_sizes, get_augmentation
from v1keras.hardware import require_tensorflow
from v1keras.training import slurm
from v1keras.training.config import TrainConfig
from v1keras.training.run import Run
from v1keras.training.strategy import Workers

SHARES_PREDICTION = False
"""Whether `predict` works on several devices, whatever the size of a batch."""

JIT_COMPILE = "auto"
"""What `model.compile` is told: JAX is slow without its compiler."""

# Seconds until JAX gives up a process that is silent. One that has lost another waits so
# long at its end, whatever we do.
_HEARTBEAT_TIMEOUT = 30


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices that share batches.

    Args:
        distribution: `keras.distribution.DataParallel`, or None for one device.
        own: range or None. The numbers of those in this process, if there are others.
    """

    distribution: keras.distribution.DataParallel | None = None
    own: range | None = None

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
    """Puts what Slurm says into `TF_CONFIG`; refuses several workers on PyTorch."""
    named, tasks = os.environ.get("TF_CONFIG"), slurm.count_tasks()
    if keras.backend.backend() != "jax":
        if strategy == "multi_worker" or named or tasks > 1:
            require_tensorflow("Work shared by processes, unless JAX computes,")
    elif not named and tasks > 1:
        index = int(os.environ["SLURM_PROCID"])
        config = {
            "cluster": {"worker": slurm.addresses()},
            "task": {"type": "worker", "index": index},
        }
        os.environ["TF_CONFIG"] = json.dumps(config)


def get_strategy(name: str, workers: Workers) -> Devices:
    """The devices of a strategy; see `v1keras.training.strategy.get_strategy`."""
    if workers.count > 1:
        _join(workers)
        return _parallel(tuple(keras.distribution.list_devices()), workers)
    if name == "tpu":
        require_tensorflow("`strategy` tpu")
    if keras.backend.backend() != "jax":
        if name == "mirrored":
            require_tensorflow("`strategy` mirrored, unless JAX computes,")
        return Devices()
    devices = tuple(keras.distribution.list_devices())
    several_gpus = len(devices) > 1 and not devices[0].startswith("cpu")
    if name == "mirrored" or (name == "auto" and several_gpus):
        return _parallel(devices, workers)
    return Devices()


@functools.cache
def _join(workers: Workers) -> None:
    """Makes one machine of all workers for JAX, and returns once they have come."""
    import jax

    try:
        jax.distributed.initialize(
            workers.chief,
            num_processes=workers.count,
            process_id=workers.index,
            # It would take one GPU in each task of Slurm.
            cluster_detection_method="deactivate",
            heartbeat_timeout_seconds=_HEARTBEAT_TIMEOUT,
        )
    except RuntimeError as error:
        if isinstance(error, jax.errors.JaxRuntimeError):
            raise
        raise ValueError(
            "Several workers must be joined before JAX computes anything: call "
            f"v1keras.training.strategy.get_strategy first. Received: {error}"
        ) from error


@functools.cache
def _parallel(devices: tuple[str, ...], workers: Workers) -> Devices:
    distribution = keras.distribution.DataParallel(
        devices=list(devices), auto_shard_dataset=False
    )
    if workers.count == 1:
        return Devices(distribution)
    import jax

    count = jax.local_device_count()
    if count * workers.count != len(devices):
        raise ValueError(
            "All workers must have as many devices. Received: worker "
            f"{workers.index} of {workers.count} with {count} of {len(devices)}"
        )
    first = workers.index * count
    return Devices(distribution, range(first, first + count))


def tells_of_loss(error: Exception) -> bool:
    """Whether an error was raised because another process no longer answers."""
    if keras.backend.backend() != "jax":
        return False
    import jax

    # There are no types of errors to go by, only the names of what talks.
    return isinstance(error, (ValueError, jax.errors.JaxRuntimeError)) and bool(
        re.match("[A-Z_]+: .*(Gloo|NCCL|[Cc]oordination service)", str(error))
    )


def wait_for_all() -> None:
    """Returns once all workers have called it."""
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("v1keras")


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """A context in which one process makes variables, as Keras does while it saves.

    In the scope of a strategy all would have to, and the others are not there.
    """
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


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
            training(replicas=strategy.count, own=strategy.own),
            validation_data=validation(replicas=strategy.count, own=strategy.own),
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
