"""`python -m v1keras.study`: the whole chain, from training to a report."""

import sys

from v1keras import command_line
from v1keras.studies import StudyConfig, run_study


def main(config: StudyConfig) -> None:
    """Runs the study."""
    run_study(config)


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            StudyConfig,
            prog="v1keras.study",
            description="Trains the plain CNN and V1 variants, makes their ensemble, "
            "distils it into a student, compares all under corruptions, exports the "
            "student and writes report.html. The same command goes on where it "
            "stopped.",
        )
    )
