"""How TensorFlow trains: strategies, workers, event files."""

import contextlib
import functools
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from v1keras.data import batch_sizes
from v1keras.quiet import without_warnings_of_tensorflow
from v1keras.reading import reason
from v1keras.training import slurm
from v1keras.training.config import TrainConfig
from v1keras.training.distributed_fit import distributed_fit
from v1keras.training.pictures import Pictures
from v1keras.training.run import LOG_FOLDER, Run
from v1keras.training.strategy import Workers

_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)

SHARES_PREDICTION = True
"""Whether `predict` works on several devices, whatever the size of a batch."""

JIT_COMPILE = False
"""What `model.compile` is told: XLA's convolutions are slower on a CPU."""


def check(config: TrainConfig) -> None:
    """Refuses what the back-end cannot do: nothing."""


def find_workers(strategy: str) -> None:
    """Puts what Slurm says into `TF_CONFIG`."""
    tasks = slurm.count_tasks()
    if os.environ.get("TF_CONFIG") or tasks < 2:
        return
    # The resolver fails without GPUs, so that it is told of one for each task; which
    # ones a task sees is left to Slurm.
    resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
        port_base=slurm.first_port(),
        gpus_per_node=tasks,
        gpus_per_task=1,
        auto_set_gpu=False,
    )
    cluster = resolver.cluster_spec().as_dict()
    name, index = resolver.get_task_info()
    config = {"cluster": cluster, "task": {"type": name, "index": index}}
    os.environ["TF_CONFIG"] = json.dumps(config)


def get_strategy(name: str, workers: Workers) -> tf.distribute.Strategy:
    """The strategy of a name; see `v1keras.training.strategy.get_strategy`."""
    if workers.count > 1:
        return _multi_worker()
    if name == "tpu":
        return _tpu()
    gpus = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        devices = gpus or tf.config.list_logical_devices("CPU")
        return _mirrored(tuple(device.name for device in devices))
    return tf.distribute.get_strategy()


# One of each per process: TensorFlow numbers the collective operations of each strategy
# from the same start, and mixes up those of two strategies on the same devices.


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker() -> tf.distribute.MultiWorkerMirroredStrategy:
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError as error:
        raise ValueError(
            "Several workers must be joined before TensorFlow computes anything: call "
            f"v1keras.training.strategy.get_strategy first. Received: {error}"
        ) from error


@functools.cache
def _tpu() -> tf.distribute.TPUStrategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect("local")
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            "`strategy` tpu needs a TPU in this machine. Received: none that TensorFlow "
            f"finds ({error})"
        ) from error


def tells_of_loss(error: Exception) -> bool:
    """Whether an error was raised because another process no longer answers."""
    return isinstance(error, _LOST)


def wait_for_all() -> None:
    """Returns once all workers have called it."""
    strategy = _multi_worker()
    strategy.reduce(tf.distribute.ReduceOp.SUM, tf.constant(1.0), axis=None)


def alone() -> contextlib.AbstractContextManager:
    """A context without a meaning: TensorFlow saves in one process as it is."""
    return contextlib.nullcontext()


def count_replicas(strategy: tf.distribute.Strategy) -> int:
    """How many replicas have gradients of their own."""
    return strategy.num_replicas_in_sync


def count_batches(strategy: tf.distribute.Strategy, count: int, batch_size: int) -> int:
    """How many batches some images make; those that replicas cannot share are refused."""
    return len(batch_sizes(count, batch_size, replicas=strategy.num_replicas_in_sync))


def fit(
    strategy: tf.distribute.Strategy,
    model: keras.Model,
    training: Callable[..., tf.data.Dataset],
    validation: Callable[..., tf.data.Dataset],
    *,
    validation_steps: int,
    **kwargs,
) -> None:
    """Trains a model that was made under a strategy; see `distributed_fit`."""
    if strategy.num_replicas_in_sync > 1:
        distributed_fit(
            model, training, validation, validation_steps=validation_steps, **kwargs
        )
    else:
        model.fit(
            training(),
            validation_data=validation(),
            shuffle=False,  # the batches are
            **kwargs,
        )


def log_callbacks(
    run: Run, training: Callable[..., tf.data.Dataset]
) -> list[keras.callbacks.Callback]:
    """What writes event files for TensorBoard."""
    folder = run.path / LOG_FOLDER
    return [
        keras.callbacks.TensorBoard(folder, write_graph=False),
        Pictures(folder / "pictures", run, training),
    ]


@contextlib.contextmanager
def log_errors(folder: Path) -> Iterator[None]:
    """Makes an `OSError` of what TensorFlow raises where event files cannot be written."""
    try:
        yield
    except tf.errors.OpError as error:
        if not re.search("Summary(File)?Writer", error.message):
            raise
        raise OSError(f"{folder} cannot be written ({reason(error)})") from error


def compiled(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images, uint8 (B, H, W, 3), to a model's float32 outputs.

    A model that was made under a distribution strategy is called on all its replicas,
    each with its share of the batch.
    """

    def answer(images: tf.Tensor) -> tf.Tensor:
        return tf.cast(model(tf.cast(images, tf.float32), training=False), tf.float32)

    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync > 1:
        return _shared(strategy, answer)
    # The number of images stays open, so that the last batch does not retrace.
    # TensorFlow would warn about as many functions of one name as there are models.
    signature = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
    function = tf.function(answer).get_concrete_function(signature)
    return lambda images: function(tf.constant(images)).numpy()


def _shared(
    strategy: tf.distribute.Strategy, answer: Callable[[tf.Tensor], tf.Tensor]
) -> Callable[[np.ndarray], np.ndarray]:
    """A function that all replicas of a strategy compute together."""
    run = tf.function(
        lambda images: strategy.run(answer, (images,)), reduce_retracing=True
    )
    replicas = strategy.num_replicas_in_sync

    def call(images: np.ndarray) -> np.ndarray:
        # Replicas need equal shares: the last image fills up and is cut off again.
        lacking = -len(images) % replicas
        filled = np.concatenate([images, np.repeat(images[-1:], lacking, axis=0)])
        shares = [tf.constant(share) for share in np.split(filled, replicas)]
        distributed = strategy.experimental_distribute_values_from_function(
            lambda context: shares[context.replica_id_in_sync_group]
        )
        parts = strategy.experimental_local_results(run(distributed))
        return np.concatenate([part.numpy() for part in parts])[: len(images)]

    return call


def count_operations(model: keras.Model) -> int:
    """Floating-point operations of one image, as TensorFlow's profiler counts them."""
    signature = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    call = tf.function(lambda images: model(images, training=False))
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation()
    # It would warn of the age of what it calls itself.
    with without_warnings_of_tensorflow():
        counted = tf.compat.v1.profiler.profile(
            call.get_concrete_function(signature).graph,
            options={**options, "output": "none"},
        )
    return int(counted.total_float_ops)


def device_name() -> str:
    """What computes: `"CPU"` or `"GPU"`."""
    return "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
