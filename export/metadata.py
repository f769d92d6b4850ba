"""What a user of exported files must know, and where they come from."""

import os
from pathlib import Path
from typing import Any

from export.config import ExportConfig
from export.sign import LABELS_FILE
from export.source import Source
from v1keras.files import write_json
from v1keras.training import versions

METADATA_FILE = "metadata.json"


def write_metadata(
    folder: str | os.PathLike,
    config: ExportConfig,
    source: Source,
    *,
    split: str,
    accuracy: dict[str, dict[str, float]],
    milliseconds: dict[str, float],
    sizes: dict[str, int],
) -> None:
    """Writes `metadata.json`.

    Args:
        folder: str or path. The version's folder.
        config: `ExportConfig`.
        source: `Source`.
        split: str. Where the images of the checks come from.
        accuracy: dict from source to a dict from slice to the share of right answers.
        milliseconds: dict from source to the time of a request with one image.
        sizes: dict from format to bytes.
    """
    size, classes = source.image_size, len(source.labels)
    content: dict[str, Any] = {
        "input": {
            "name": "images",
            "dtype": "float32",
            "shape": [None, size, size, 3],
            "colors": "RGB",
            "range": [0, 255],
            "resize": "shorter side to the input's size (average over the area when "
            "shrinking, bilinear when enlarging), then the central square",
        },
        "outputs": {
            name: {"dtype": "float32", "shape": [None, classes]}
            for name in ("logits", "probabilities")
        },
        "labels": LABELS_FILE,
        "class_names": list(source.class_names),
        "formats": list(config.formats),
        "quantize": config.quantize,
        "noise": {"mode": config.noise, "seed": config.noise_seed},
        "runs": [run.config for run in source.runs],
        "checked_on": split,
        "accuracy": accuracy,
        "milliseconds": milliseconds,
        "bytes": sizes,
        "versions": versions(),
    }
    write_json(Path(folder) / METADATA_FILE, content)
