"""`python -m v1keras.corruptions`: writes a corrupted copy of a data set."""

import dataclasses
import os
import sys

from v1keras import command_line
from v1keras.corruptions.registry import BENCHMARK, EXTRA, SEVERITIES, canonical_name
from v1keras.corruptions.severities import SCALES
from v1keras.corruptions.writer import FORMATS, write_corrupted
from v1keras.quiet import verbosity


@dataclasses.dataclass(frozen=True)
class CorruptionsConfig:
    """The flags of `python -m v1keras.corruptions`."""

    dataset: str = command_line.option(
        required=True, help="Name or folder of the clean data set."
    )
    out: str = command_line.option(
        required=True, help="Folder to write corruption/severity/class/file to."
    )
    split: str = command_line.option(
        "test", "Which images.", choices=("train", "validation", "test")
    )
    image_size: int | None = command_line.option(
        None, "Height and width in pixels; by default that of the data set."
    )
    corruptions: tuple[str, ...] = command_line.option(
        BENCHMARK, f"Which corruptions; further ones are {', '.join(EXTRA)}."
    )
    severities: tuple[str, ...] = command_line.option(
        tuple(str(severity) for severity in SEVERITIES), "Which severities, 1 to 5."
    )
    seed: int = command_line.option(0, "Seed of the corruptions.")
    scale: str | None = command_line.option(
        None, "Severity table; by default by the size of the images.", choices=SCALES
    )
    format: str = command_line.option(
        "jpeg", "JPEG of quality 85 as published, or exact PNG.", choices=FORMATS
    )
    frost_textures: str | None = command_line.option(
        None, "Folder of photographs of ice; by default ice is generated."
    )
    data_dir: str | None = command_line.option(
        None, "Where TensorFlow Datasets keeps its data."
    )
    workers: int = command_line.option(0, "Processes; 0 means one for each core.")
    runner: str = command_line.option(
        "local", "Who does the work.", choices=("local", "beam")
    )
    beam_options: tuple[str, ...] = command_line.option(
        (), "Options of the Beam pipeline, such as --runner=FlinkRunner."
    )

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(
                f"workers must not be negative. Received: workers={self.workers}"
            )
        if self.seed < 0:
            raise ValueError(f"seed must not be negative. Received: seed={self.seed}")
        # Refused before the data set is loaded.
        known = {str(severity) for severity in SEVERITIES}
        if not self.severities or not known.issuperset(self.severities):
            raise ValueError(
                "severities must be integers in 1..5. "
                f"Received: severities={','.join(self.severities)}"
            )
        for name in self.corruptions:
            canonical_name(name)


def main(config: CorruptionsConfig) -> None:
    """Writes the corrupted data set and says where it is."""
    runner = None
    if config.runner == "beam":
        from v1keras.corruptions.beam import beam_runner

        runner = beam_runner(config.beam_options)

    import keras

    from v1keras.data import load_dataset

    dataset = load_dataset(
        config.dataset, image_size=config.image_size, data_dir=config.data_dir
    )
    split = dataset.split(config.split)
    bar: keras.utils.Progbar | None = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or keras.utils.Progbar(total, verbose=verbosity(), unit_name="image")
        bar.update(done)

    folder = write_corrupted(
        split.images,
        split.labels,
        split.ids,
        dataset.class_names,
        config.out,
        seed=config.seed,
        corruptions=config.corruptions,
        severities=tuple(int(severity) for severity in config.severities),
        scale=config.scale,
        format=config.format,
        frost_textures=config.frost_textures,
        source=f"{dataset.fingerprint}/{config.split}/{dataset.image_size}",
        workers=config.workers or os.cpu_count() or 1,
        runner=runner,
        progress=progress,
    )
    print(f"{folder}: {len(split)} images in every cell")


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            CorruptionsConfig,
            prog="v1keras.corruptions",
            description="Writes a corrupted copy of a data set in the folder layout "
            "of ImageNet-C. The same command goes on where it stopped.",
        )
    )
