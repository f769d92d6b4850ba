"""`python -m v1keras.evaluate`: runs under image corruptions, as table and report."""

import sys

from v1keras import command_line
from v1keras.evaluation import EvaluateConfig, evaluate


def main(config: EvaluateConfig) -> None:
    """Evaluates runs."""
    evaluate(config)


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            EvaluateConfig,
            prog="v1keras.evaluate",
            description="Compares runs on clean and corrupted images: accuracy per "
            "corruption, severity and category with intervals, gains over a baseline, "
            "calibration, their ensemble, and a report. The same command resumes where "
            "it stopped.",
        )
    )
