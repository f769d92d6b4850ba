"""A checkpoint of others becomes a run directory."""

from pathlib import Path
from typing import Any

import numpy as np

from v1keras.data.datasets import IMAGENET_CROP_FRACTION
from v1keras.data.folders import find_images
from v1keras.data.tfds import TfdsImages, open_builder
from v1keras.files import atomic_write, claim, file_fingerprint, write_json
from v1keras.locks import locks_out
from v1keras.models import PublishedModel, read_published
from v1keras.models.published import IMAGE_SIZE
from v1keras.training.config import ConvertConfig
from v1keras.training.run import (
    CONFIG_FILE,
    CONVERTED,
    GABORS_FILE,
    MODEL_FILE,
    Run,
    resolve_v1,
    versions,
)

# What the front-end of a plain CNN was not built with.
_V1_SETTINGS = (
    "visual_degrees", "kernel_size", "k_exc", "noise_scale", "noise_level",
)  # fmt: skip


@locks_out("converts")
def convert(config: ConvertConfig) -> Run:
    """Writes a run directory with the model of a checkpoint.

    Evaluation, distillation, export and prediction take it as any other run. A V1
    front-end's receptive fields are written too, for `--gabors`.

    Args:
        config: `ConvertConfig`.

    Returns:
        `Run`.

    Raises:
        FileExistsError: if `config.out` is something else than this run.
        FileNotFoundError: if the checkpoint or the data set is missing.
        ValueError: if the checkpoint is none that is known, or has another number of
            classes than the data set.

    Example:

    >>> config = v1keras.training.ConvertConfig(
    ...     from_="voneresnet50_e70.pth.tar", out="runs/published"
    ... )
    >>> run = v1keras.training.convert(config)  # doctest: +SKIP
    """
    source, folder = Path(config.from_), Path(config.out)
    if not source.is_file():
        raise FileNotFoundError(f"`from` must be a file. Received: from={source}")
    expected = {
        "kind": CONVERTED,
        "settings": {"dataset": config.dataset},
        "checkpoint": {"file": source.name, "sha256": file_fingerprint(source)},
    }
    stored = claim(folder, CONFIG_FILE, expected, what="run")
    if stored is not None and stored["result"] is not None:
        return Run.open(folder)
    published = read_published(source)
    record = _record(config, published) | {"checkpoint": expected["checkpoint"]}
    model = published.build()
    write_json(folder / CONFIG_FILE, record)
    if published.variant.gabors is not None:
        with atomic_write(folder / GABORS_FILE) as temporary:
            np.savez(temporary, **published.variant.gabors.to_dict())
    with atomic_write(folder / MODEL_FILE) as temporary:
        model.save(temporary)
    write_json(folder / CONFIG_FILE, record | {"result": {}})
    return Run.open(folder)


def _record(config: ConvertConfig, published: PublishedModel) -> dict[str, Any]:
    """The content of `config.json`: what is known of a model that others trained."""
    names, display_names = _classes(config.dataset)
    if len(names) != published.num_classes:
        raise ValueError(
            "`dataset` must have as many classes as the checkpoint has logits. "
            f"Received: dataset={config.dataset} with {len(names)}, {config.from_} with "
            f"{published.num_classes}"
        )
    variant = published.variant
    settings = {
        "variant": variant.name,
        "dataset": config.dataset,
        "image_size": IMAGE_SIZE,
        **dict.fromkeys(_V1_SETTINGS),
        "rectify_noise": False,
        "normalization": "batch",
        "seed": 0,
        **published.settings,
    }
    return {
        "kind": CONVERTED,
        "name": Path(config.out).resolve().name,
        "settings": settings,
        "variant": variant.to_dict(),
        "v1": resolve_v1(settings, variant, IMAGE_SIZE),
        "class_names": list(names),
        "display_names": list(display_names),
        "image_size": IMAGE_SIZE,
        "crop_fraction": IMAGENET_CROP_FRACTION,
        "data": {"name": config.dataset},
        "versions": versions(),
        "result": None,
    }


def _classes(dataset: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Identifiers and readable names, without looking at an image."""
    if Path(dataset).expanduser().is_dir():
        folders = find_images(dataset)
        return folders.class_names, folders.display_names
    names = TfdsImages(open_builder(dataset, None)).class_names
    return names, tuple(name.replace("_", " ") for name in names)
