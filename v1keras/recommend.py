"""`python -m v1keras.recommend`: the runs that suit some photographs best."""

import sys

from v1keras import command_line, studies
from v1keras.escaping import say


def main(config: studies.RecommendConfig) -> None:
    """Recommends, and says how sure that is."""
    say(*studies.format_recommendation(studies.recommend(config)).split("\n"))


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            studies.RecommendConfig,
            prog="v1keras.recommend",
            description="Ranks runs and their ensembles for unlabelled photographs: by "
            "their accuracy on held-out images that are as noisy, blurred, flat and "
            "compressed as the photographs are.",
        )
    )
