"""`python -m v1keras.study`: the whole chain, from training to a report."""

import sys

from v1keras import command_line, studies
from v1keras.escaping import say


def main(config: studies.StudyConfig) -> None:
    """Runs the study, or says what it takes."""
    if config.plan:
        say(*studies.format_plan(studies.plan_study(config)).split("\n"))
    else:
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
            "it stopped, and several of them share the work.",
        )
    )
