"""`python -m v1keras.corruptions`: writes a corrupted copy of a data set."""

import sys

from v1keras import command_line, corruptions, data
from v1keras.escaping import say


def main(config: corruptions.CorruptionsConfig) -> None:
    """Writes the corrupted data set and says where it is."""
    dataset = data.load_dataset(
        config.dataset,
        image_size=config.image_size,
        crop_fraction=config.crop_fraction,
        data_dir=config.data_dir,
    )
    folder = corruptions.write_corrupted(config, dataset)
    say(f"{folder}: {len(dataset.split(config.split))} images in every cell")


if __name__ == "__main__":
    sys.exit(
        command_line.run(
            main,
            corruptions.CorruptionsConfig,
            prog="v1keras.corruptions",
            description="Writes a corrupted copy of a data set in the folder layout "
            "of ImageNet-C. The same command resumes where it stopped.",
        )
    )
