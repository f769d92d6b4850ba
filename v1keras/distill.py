"""`python -m v1keras.distill`: teaches a student from an ensemble."""

import sys

from v1keras import command_line
from v1keras.train import describe
from v1keras.training import DistillConfig, distill


def main(config: DistillConfig) -> None:
    """Distils a student and says where its run is."""
    print(describe(distill(config)))


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            DistillConfig,
            prog="v1keras.distill",
            description="Distils the ensemble of several runs into one student and "
            "writes its run directory. The same command goes on where it stopped.",
        )
    )
