"""`python -m v1keras.choose`: the members of an ensemble, on held-out images."""

import sys

from v1keras import command_line, studies
from v1keras.escaping import say


def main(config: studies.ChooseConfig) -> None:
    """Chooses, and says how each step helped."""
    choice = studies.choose_ensemble(config)
    say(*studies.format_choice(choice).split("\n"))
    say(
        f"Chosen (+): {','.join(choice.members)}, on {choice.analysis.images} held-out "
        f"training images under the {config.select_on} corruptions. See "
        f"{config.out}/members.csv"
    )


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            studies.ChooseConfig,
            prog="v1keras.choose",
            description="Chooses the members of an ensemble among runs: step by step "
            "the one that helps most on images that all of them held out from training, "
            "corrupted here. No test image decides. The same command, with more models "
            "or without, computes only what is missing.",
        )
    )
