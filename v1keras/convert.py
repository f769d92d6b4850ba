"""`python -m v1keras.convert`: a checkpoint of others becomes a run."""

import sys

from v1keras import command_line, training
from v1keras.escaping import say


def main(config: training.ConvertConfig) -> None:
    """Converts a checkpoint and says where its run is."""
    say(training.convert(config).summary())


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            training.ConvertConfig,
            prog="v1keras.convert",
            description="Makes a run directory of a published checkpoint, without "
            "PyTorch and without running anything in the file.",
        )
    )
