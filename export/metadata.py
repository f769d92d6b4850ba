"""What a user of exported files must know, and where they come from."""

import os
import zipfile
from pathlib import Path
from typing import Any

from export.config import ExportConfig
from export.pusher import METADATA_FILE, checksums
from export.saved_model import LABELS_FILE
from export.source import Source
from v1keras.files import format_json, write_json
from v1keras.training import versions


def write_metadata(
    folder: str | os.PathLike,
    config: ExportConfig,
    source: Source,
    *,
    split: str,
    images: int,
    accuracy: dict[str, dict[str, float]],
    milliseconds: dict[str, float],
    sizes: dict[str, int],
) -> dict[str, Any]:
    """Writes `metadata.json`.

    Args:
        folder: str or path. The version's folder, with all that its checksums are for.
        config: `ExportConfig`.
        source: `Source`.
        split: str. Where the images of the checks come from.
        images: int. How many they are.
        accuracy: dict from model to a dict from slice to the share of right answers.
        milliseconds: dict from endpoint to the time of a request with one image.
        sizes: dict from format to bytes.

    Returns:
        What was written.
    """
    content = {
        **_description(config, source),
        "formats": list(config.formats),
        "runs": [run.config for run in source.runs],
        "checked_on": split,
        "images": images,
        "accuracy": accuracy,
        "milliseconds": milliseconds,
        "bytes": sizes,
        "license": config.license,
        "sha256": checksums(folder),
        "versions": versions(),
    }
    write_json(Path(folder) / METADATA_FILE, content)
    return content


def attach_metadata(
    file: str | os.PathLike, config: ExportConfig, source: Source
) -> None:
    """Appends the labels and what the input must be to a LiteRT file.

    They are an archive at its end, as the associated files of TensorFlow Lite's
    metadata are: interpreters read the model at the beginning, `unzip` the rest.

    Args:
        file: str or path. The LiteRT file.
        config: `ExportConfig`.
        source: `Source`.
    """
    texts = {
        LABELS_FILE: "".join(f"{label}\n" for label in source.labels),
        METADATA_FILE: format_json(_description(config, source), what=METADATA_FILE),
    }
    with zipfile.ZipFile(file, "a") as archive:
        for name, text in texts.items():
            # Its default date is fixed, so that equal models are equal files.
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text)


def _description(config: ExportConfig, source: Source) -> dict[str, Any]:
    """What the files take and give, known before they are checked."""
    size, classes = source.image_size, len(source.labels)
    return {
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
        "quantize": config.quantize,
        "noise": {"mode": config.noise, "seed": config.noise_seed},
    }
