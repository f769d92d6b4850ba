"""`python -m v1keras.train`: trains one classifier."""

import sys

from v1keras import command_line
from v1keras.training import Run, TrainConfig, train


def main(config: TrainConfig) -> None:
    """Trains a classifier and says where its run is."""
    print(describe(train(config)))


def describe(run: Run) -> str:
    """One line on a finished run."""
    result = run.config["result"]
    return (
        f"{run.path}: best validation accuracy {result['validation_accuracy']:.4f} "
        f"in epoch {result['best_epoch']} of {run.config['settings']['epochs']}"
    )


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            TrainConfig,
            prog="v1keras.train",
            description="Trains a CNN with a V1 front-end, or the plain one, and "
            "writes a run directory. The same command goes on where it stopped.",
        )
    )
