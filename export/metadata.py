"""What a user of exported files must know, and where they come from."""

import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export import litert_metadata
from export.config import OUTPUTS, ExportConfig
from export.integrity import METADATA_FILE
from export.saved_model import LABELS_FILE
from export.source import Source
from v1keras.data.images import scaled_side
from v1keras.escaping import format_labels, printable
from v1keras.files import format_json, write_json
from v1keras.training import versions


def write_metadata(
    folder: str | os.PathLike,
    config: ExportConfig,
    source: Source,
    *,
    version: int,
    split: str,
    images: int,
    warnings: Sequence[str],
    diagnosis: dict[str, Any] | None,
    accuracy: dict[str, dict[str, float]],
    milliseconds: dict[str, float],
    sizes: dict[str, int],
) -> dict[str, Any]:
    """Writes `metadata.json`.

    Args:
        folder: str or path. The version's folder.
        config: `ExportConfig`.
        source: `Source`.
        version: int. Its number.
        split: str. Where the images of the checks come from.
        images: int. How many they are.
        warnings: sequence of str. What the checks could not tell.
        diagnosis: dict or None. What `diagnose` rests on, if there is that signature.
        accuracy: dict from model to a dict from slice to the share of right answers.
        milliseconds: dict from endpoint to the time of a request with one image.
        sizes: dict from format to bytes.

    Returns:
        What was written.
    """
    content = {
        "version": version,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **_description(config, source),
        "formats": list(config.formats),
        "runs": [run.config for run in source.runs],
        "checked_on": split,
        "images": images,
        "warnings": list(warnings),
        **({} if diagnosis is None else {"diagnosis": diagnosis}),
        "min_accuracy": config.min_accuracy,
        "max_loss": config.max_loss,
        "accuracy": accuracy,
        "milliseconds": milliseconds,
        "bytes": sizes,
        "license": config.license,
        "versions": versions(),
    }
    write_json(Path(folder) / METADATA_FILE, content)
    return content


def describe_litert(flatbuffer: bytes, config: ExportConfig, source: Source) -> bytes:
    """Puts into a LiteRT file what it takes and gives, and its labels.

    Args:
        flatbuffer: bytes. The model.
        config: `ExportConfig`.
        source: `Source`.

    Returns:
        The model, as bytes, with TensorFlow Lite's metadata and an archive that holds
        `labels.txt` and `metadata.json`.
    """
    description = _description(config, source)
    description["outputs"] = {
        name: description["outputs"][name] for name in config.litert_outputs
    }
    return litert_metadata.describe(
        flatbuffer,
        name=printable(config.model_name),
        description=f"Image classifier: {printable(', '.join(r.name for r in source.runs))}. "
        f"Fitting an image: {description['input']['resize']}.",
        license=config.license,
        files={
            LABELS_FILE: format_labels(source.labels),
            METADATA_FILE: format_json(description, what=METADATA_FILE),
        },
        labels_file=LABELS_FILE,
    )


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
            "crop_fraction": source.crop_fraction,
            "resize": f"shorter side to {scaled_side(size, source.crop_fraction)} "
            "pixels (average over the area when shrinking, bilinear when enlarging), "
            "then the central square",
        },
        "outputs": {
            name: {"dtype": "float32", "shape": [None, classes]} for name in OUTPUTS
        },
        "labels": LABELS_FILE,
        "class_names": list(source.class_names),
        "quantize": config.quantize,
        "noise": {"mode": config.noise, "seed": config.noise_seed},
    }
