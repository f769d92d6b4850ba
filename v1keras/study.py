"""`python -m v1keras.study`: the whole chain, from training to a report."""

import sys

from v1keras import command_line, studies


def main(config: studies.StudyConfig) -> None:
    """Runs the study."""
    studies.run_study(config)


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            studies.StudyConfig,
            prog="v1keras.study",
            record="study.json",
            description="Trains the plain CNN and V1 variants, makes their ensemble, "
            "distils it into a student, compares all under corruptions, exports the "
            "student and writes report.html. The same command resumes where "
            "it stopped.",
        )
    )
