"""Finished runs that go on with further epochs."""

import contextlib

from v1keras.training.checkpoint import is_without_checkpoint
from v1keras.training.config import TrainConfig
from v1keras.training.run import CHECKPOINT_FOLDER, Run


def epochs_of_shorter_run(config: TrainConfig) -> int | None:
    """The epochs of the finished run in `config.out`, if `config` has more of them.

    Args:
        config: `TrainConfig`.

    Returns:
        int, or `None` if there is no such run.
    """
    with contextlib.suppress(OSError, ValueError):
        run = Run.open(config.out)
        if run.is_finished and run.settings["epochs"] < config.epochs:
            return run.settings["epochs"]
    return None


def reopen(run: Run) -> Run:
    """A finished run as one that is not finished, its result among the earlier ones.

    Nothing is written: whoever trains on writes what is returned, once all else could
    be made.

    Args:
        run: `Run`.

    Returns:
        `Run`.
    """
    result = {"epochs": run.settings["epochs"], **run.config["result"]}
    earlier = [*run.config.get("earlier_results", ()), result]
    return Run(run.path, {**run.config, "earlier_results": earlier, "result": None})


def require_checkpoint(run: Run) -> None:
    """Refuses a run that has been finished before and cannot go on from there.

    Raises:
        FileNotFoundError: if it has no checkpoint; training would begin anew and
            replace its model.
    """
    if run.config.get("earlier_results") and is_without_checkpoint(run.path):
        raise FileNotFoundError(
            f"A finished run goes on from its {CHECKPOINT_FOLDER}/; put it back, or "
            f"train in a new folder. Received: {run.path} without it"
        )
