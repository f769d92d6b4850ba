"""`python -m v1keras.predict`: labels and probabilities for images."""

import sys

from v1keras import command_line, prediction


def main(config: prediction.PredictConfig) -> None:
    """Classifies images."""
    prediction.print_predictions(config)


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            prediction.PredictConfig,
            prog="v1keras.predict",
            description="Names the most probable labels of images, by a run, the ensemble "
            "of several runs, or an exported model.",
        )
    )
else:
    # `v1keras.predict` is the function, however it was imported: this file is only
    # the command of that name.
    sys.modules[__name__] = prediction.predict
