"""`python -m v1keras.evaluate`: runs under image corruptions, as table and report."""

import sys

from v1keras import command_line, evaluation


def main(config: evaluation.EvaluateConfig) -> None:
    """Evaluates runs."""
    evaluation.evaluate(config)


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            evaluation.EvaluateConfig,
            prog="v1keras.evaluate",
            record="config.json",
            description="Compares runs on clean and corrupted images: accuracy per "
            "corruption, severity and category with intervals, gains over a baseline, "
            "calibration, their ensemble, and a report. The same command resumes where "
            "it stopped.",
        )
    )
