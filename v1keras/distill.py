"""`python -m v1keras.distill`: teaches a student from an ensemble."""

import sys

from v1keras import command_line, training
from v1keras.escaping import say


def main(config: training.DistillConfig) -> None:
    """Distils a student and says where its run is."""
    run = training.distill(config)
    if training.get_workers(config.strategy).is_chief:
        say(run.summary())


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            training.DistillConfig,
            prog="v1keras.distill",
            record="config.json",
            description="Distils the ensemble of several runs into one student and "
            "writes its run directory. The same command resumes where it stopped.",
        )
    )
