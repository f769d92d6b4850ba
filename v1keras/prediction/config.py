"""The configuration of predictions."""

import dataclasses
from pathlib import Path

from v1keras.command_line import check_values, option, require, require_seeds
from v1keras.corruptions import canonical_name, check_severities
from v1keras.layers import NOISE_MODES


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """What to predict with what. Every field is a flag."""

    run: tuple[str, ...] = option(
        required=True,
        help="Run directory. Several are averaged as an ensemble. Or an exported model: "
        "the folder of its versions, one version, or a LiteRT file.",
    )
    images: tuple[str, ...] = option(
        required=True, help="Image files, and folders with images at any depth."
    )
    csv: str | None = option(
        None, "File to write, one row an image. Default: lines on the terminal."
    )
    top: int = option(3, "How many labels to name for each image.")
    corrupt: str | None = option(
        None, "Corrupt the images first: a name and a severity 1 to 5, such as fog:3."
    )
    noise: str | None = option(
        None,
        "Neuronal noise of a run. Default: as saved, which is stochastic unless it was "
        "switched.",
        choices=NOISE_MODES,
    )
    seed: int = option(0, "Seed of the corruption and of --noise.")
    calibrated: bool = option(
        False,
        "Divide the logits of a run by its temperature, which is fitted on its held-out "
        "images when it is first asked for.",
    )
    batch_size: int = option(32, "How many images the model is shown at once.")

    def __post_init__(self):
        check_values(self)
        require(self, "top", self.top >= 1, "at least 1")
        require_seeds(self, "seed")
        require(self, "batch_size", self.batch_size >= 1, "at least 1")
        is_file = self.csv is None or not Path(self.csv).is_dir()
        require(self, "csv", is_file, "a file")
        if self.corrupt is not None:
            parse_corruption(self.corrupt)


def parse_corruption(text: str) -> tuple[str, int]:
    """The name and the severity of a corruption.

    Args:
        text: str. Such as `"fog:3"`.

    Raises:
        ValueError: if there is no such corruption or severity.

    Example:

    >>> parse_corruption("fog:3")
    ('fog', 3)
    """
    name, _, severity = text.rpartition(":")
    try:
        corruption = canonical_name(name), int(severity)
        check_severities(corruption[1:])
    except ValueError as error:
        raise ValueError(
            "`corrupt` must be the name of a corruption and a severity 1 to 5, such as "
            f"fog:3. Received: corrupt={text}"
        ) from error
    return corruption
