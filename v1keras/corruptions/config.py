"""The configuration of a corrupted copy of a data set."""

import dataclasses

from v1keras.command_line import check_values, option, require, require_seeds
from v1keras.corruptions.registry import BENCHMARK, EXTRA, canonical_name
from v1keras.corruptions.severities import SCALES, SEVERITIES, check_severities

FORMATS = ("jpeg", "png")


@dataclasses.dataclass(frozen=True)
class CorruptionsConfig:
    """What is corrupted and how it is stored. Every field is a flag."""

    dataset: str = option(required=True, help="Name or folder of the clean data set.")
    out: str = option(
        required=True, help="Folder to write corruption/severity/class/file to."
    )
    corruptions: tuple[str, ...] = option(
        BENCHMARK,
        f"Which corruptions; further ones are {', '.join(EXTRA)}.",
        group="corruptions",
    )
    severities: tuple[int, ...] = option(
        SEVERITIES, "Which severities, 1 to 5.", group="corruptions"
    )
    seed: int = option(0, "Seed of the corruptions.", group="corruptions")
    scale: str | None = option(
        None,
        "Severity table; by default by the size of the images.",
        choices=SCALES,
        group="corruptions",
    )
    frost_textures: str | None = option(
        None,
        "Folder of photographs of ice; by default ice is generated.",
        group="corruptions",
    )
    split: str = option(
        "test", "Which images.", choices=("train", "validation", "test"), group="data"
    )
    image_size: int | None = option(
        None,
        "Height and width in pixels; by default that of the data set.",
        group="data",
    )
    crop_fraction: float | None = option(
        None,
        "Share of the shorter side that images show, once it is scaled; by default "
        "0.875 for ImageNet, else 1.",
        group="data",
    )
    data_dir: str | None = option(
        None, "Where TensorFlow Datasets keeps its data.", group="data"
    )
    format: str = option(
        "jpeg",
        "JPEG of quality 85 as published, or exact PNG.",
        choices=FORMATS,
        group="output",
    )
    workers: int = option(
        0, "Processes; 0 means one for each core.", group="computation"
    )
    runner: str = option(
        "local", "Who does the work.", choices=("local", "beam"), group="computation"
    )
    beam_options: tuple[str, ...] = option(
        (),
        "Options of the Beam pipeline, such as --runner=FlinkRunner.",
        group="computation",
    )

    def __post_init__(self) -> None:
        check_values(self)
        require(self, "workers", self.workers >= 0, "at least 0")
        require_seeds(self, "seed")
        check_severities(self.severities)
        if not self.corruptions:
            raise ValueError(
                "`corruptions` must name at least one. Received: corruptions=()"
            )
        for name in self.corruptions:
            canonical_name(name)
