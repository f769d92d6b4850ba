"""`python -m v1keras.ablate`: compares recipes of distillation."""

import sys

from v1keras import command_line, studies
from v1keras.escaping import say


def main(config: studies.AblationConfig) -> None:
    """Runs the comparison and says what the chosen recipe keeps."""
    result = studies.run_ablation(config)
    if not config.seeds:
        return
    taught = _listed(result["retention"])
    alone = _listed(result["retention_without_teacher"])
    say(f"{result['recipe']}: retention {taught}; without a teacher {alone}")


def _listed(retentions: list[float | None]) -> str:
    if None in retentions:
        return "undefined, the ensemble is not above the base"
    return ", ".join(f"{value:.2f}" for value in retentions)


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            studies.AblationConfig,
            prog="v1keras.ablate",
            description="Teaches a student by each of several recipes, chooses one on "
            "held-out training images, and measures which share of the ensemble's gain "
            "it keeps on the test images, with several seeds. The same command resumes "
            "where it stopped.",
        )
    )
