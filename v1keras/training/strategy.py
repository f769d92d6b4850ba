"""Where a model is trained: on one device, on several, or by several processes."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import keras

from v1keras.locks import lock_folder, runs_within
from v1keras.training.engine import get_engine


class Workers(NamedTuple):
    """The processes that share the work of one command.

    Args:
        index: int. The number of this one; the chief is 0.
        count: int. How many there are.
        chief: str. The address of the chief, `"host:port"`; empty if there is one only.
    """

    index: int = 0
    count: int = 1
    chief: str = ""

    @property
    def is_chief(self) -> bool:
        """Whether this process writes and prints."""
        return self.index == 0


def get_workers(strategy: str) -> Workers:
    """Which of how many workers this process is, by `TF_CONFIG` or in a step of Slurm.

    Args:
        strategy: str. One of `v1keras.training.config.STRATEGIES`; there are several
            workers under `"multi_worker"` and `"auto"` only.

    Returns:
        `Workers`.

    Raises:
        ValueError: if `TF_CONFIG` cannot be used, or if there must be several workers
            and it names none.
    """
    if strategy not in ("auto", "multi_worker"):
        return Workers()
    get_engine().find_workers(strategy)
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text or "{}")
        cluster = {
            name: list(hosts) for name, hosts in config.get("cluster", {}).items()
        }
        jobs = {name: len(hosts) for name, hosts in cluster.items()}
        task = config.get("task", {})
        job, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise ValueError(
            "The environment variable TF_CONFIG must be as TensorFlow documents it. "
            f"Received: TF_CONFIG={text}"
        ) from error
    count = sum(jobs.values())
    if strategy == "multi_worker" and count < 2:
        raise ValueError(
            "`strategy` multi_worker needs several workers in TF_CONFIG, or tasks in a "
            f"step of Slurm. Received: TF_CONFIG={text}"
        )
    if count < 2:
        return Workers()
    if not set(jobs) <= {"chief", "worker"} or not 0 <= index < jobs.get(job, 0):
        raise ValueError(
            "TF_CONFIG must name jobs `chief` and `worker` only, and a task that is one "
            f"of theirs. Received: TF_CONFIG={text}"
        )
    chiefs, others = cluster.get("chief", []), cluster.get("worker", [])
    before = len(chiefs) if job == "worker" else 0
    return Workers(index + before, count, [*chiefs, *others][0])


def get_strategy(name: str) -> Any:
    """The distribution strategy of a name, of the back-end that computes.

    With several workers it must be called before the back-end computes anything, and
    waits until all of them have called it.

    Args:
        name: str. `"none"`, `"mirrored"` (all GPUs, or all logical devices of a
            machine without one), `"multi_worker"` (the processes that `TF_CONFIG` or
            Slurm name, all GPUs of each), `"tpu"`, or `"auto"` (multi_worker where there
            are several workers, mirrored where there are several GPUs).

    Returns:
        `tf.distribute.Strategy`; on JAX and PyTorch
        `v1keras.training.keras_engine.Devices`. Models are made within its `scope()`.

    Raises:
        ValueError: if there are no such devices or workers, or the back-end knows none.
    """
    return get_engine().get_strategy(name, get_workers(name))


def predicting_strategy(name: str) -> str:
    """The name of the strategy under which models predict.

    Args:
        name: str. That of a command.

    Returns:
        str. `name`, or `"none"` where workers or devices cannot share a prediction.
    """
    alone = get_workers(name).count > 1 or not get_engine().SHARES_PREDICTION
    return "none" if alone else name


@contextlib.contextmanager
def working_together(
    folder: str | os.PathLike, strategy: str, doing: str
) -> Iterator[Workers]:
    """Holds a folder for as long as the body runs, by the chief for all workers.

    The workers begin the body together and leave it together. What the others print is
    dropped.

    Args:
        folder: str or path.
        strategy: str; see `get_workers`.
        doing: str; see `v1keras.locks.lock_folder`.

    Yields:
        `Workers`.

    Raises:
        ConnectionError: if a worker ends before the others.
        BlockingIOError: if another process works in the folder.
    """
    workers = get_workers(strategy)
    if workers.count == 1:
        with lock_folder(folder, doing):
            yield workers
        return
    try:
        get_strategy(strategy)
        with contextlib.ExitStack() as stack:
            if workers.is_chief:
                stack.enter_context(lock_folder(folder, doing))
            else:
                nowhere = stack.enter_context(Path(os.devnull).open("w"))
                stack.enter_context(contextlib.redirect_stdout(nowhere))
            wait_for_all(workers)
            yield workers
            wait_for_all(workers)
    except Exception as error:
        if not get_engine().tells_of_loss(error):
            raise
        raise ConnectionError(
            "All workers must work until the end; its own messages say why one has not, "
            "and the same command on all of them resumes. Received: worker "
            f"{workers.index} of {workers.count} has lost another "
            f"({type(error).__name__})"
        ) from error


def works_together(doing: str) -> Callable[[Callable], Callable]:
    """Makes a function work in `out` with the `strategy` of its configuration.

    Args:
        doing: str; see `working_together`.
    """
    return runs_within(
        lambda config: working_together(config.out, config.strategy, doing)
    )


def works_alone(doing: str) -> Callable[[Callable], Callable]:
    """As `works_together`, for functions that cannot share their work: they refuse to.

    Args:
        doing: str; see `working_together`.
    """

    def alone(config) -> contextlib.AbstractContextManager:
        refuse_workers(config.strategy)
        return lock_folder(config.out, doing)

    return runs_within(alone)


def refuse_workers(strategy: str) -> None:
    """Refuses several workers, for commands that cannot share their work so.

    Args:
        strategy: str; see `get_workers`.

    Raises:
        ValueError: if there are several.
    """
    count = get_workers(strategy).count
    if count > 1:
        raise ValueError(
            "Several workers can share train, distill and evaluate only; here "
            "`strategy` must be none or mirrored. Received: "
            f"strategy={strategy} with {count} workers"
        )


def wait_for_all(workers: Workers) -> None:
    """Returns once all workers have called it."""
    if workers.count > 1:
        get_engine().wait_for_all()


@contextlib.contextmanager
def precision(mixed: bool, dtype: str = "bfloat16") -> Iterator[None]:
    """Layers made within compute in a type of 16 bits if `mixed`.

    bfloat16 has the range of float32. float16 has not: the loss of a training must be
    scaled.
    """
    before = keras.config.dtype_policy()
    if mixed:
        keras.config.set_dtype_policy(f"mixed_{dtype}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
