"""`python -m v1keras.train`: trains one classifier."""

import sys

from v1keras import command_line, training
from v1keras.escaping import say


def main(config: training.TrainConfig) -> None:
    """Trains a classifier and says where its run is."""
    run = training.train(config)
    if training.get_workers(config.strategy).is_chief:
        say(run.summary())


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            training.TrainConfig,
            prog="v1keras.train",
            record="config.json",
            description="Trains a CNN with a V1 front-end, or the plain one, and "
            "writes a run directory. The same command resumes where it stopped.",
        )
    )
