"""Writes corrupted copies of a data set in the folder layout of ImageNet-C."""

import concurrent.futures
import dataclasses
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import cv2
import numpy as np
import tqdm

from v1keras.corruptions.apply import default_scale
from v1keras.corruptions.beam import beam_runner
from v1keras.corruptions.chunks import (
    ENCODERS,
    Chunk,
    chunks_of,
    corrupt_by,
    write_chunk,
)
from v1keras.corruptions.config import CorruptionsConfig
from v1keras.corruptions.registry import canonical_name
from v1keras.files import claim, write_json
from v1keras.locks import locks_out

MANIFEST = "corruptions.json"


class Dataset(Protocol):
    """What the writer needs of an `ImageDataset`, whose package imports this one."""

    class_names: Sequence[str]
    image_size: int
    crop_fraction: float
    fingerprint: str

    def split(self, name: str) -> Any: ...


@locks_out("writes corrupted images")
def write_corrupted(config: CorruptionsConfig, dataset: Dataset) -> Path:
    """Writes `out/corruption/severity/class/file` for every image and cell.

    Files that are already there are kept, so that an interrupted call resumes where it
    stopped. The result for an image depends on the seed and its position only.

    Args:
        config: `CorruptionsConfig`.
        dataset: `v1keras.data.ImageDataset`. The opened data set of clean images.

    Returns:
        The folder.

    Raises:
        ValueError: if an argument does not fit.
        FileExistsError: if the folder holds something else, or other settings.
        OSError: if a file cannot be written, or a process was ended from outside.

    Example:

    >>> config = CorruptionsConfig(dataset="shapes:60:24", out="shapes_c")
    >>> folder = write_corrupted(config, v1keras.data.load_dataset(config.dataset))
    """
    runner = _runner(config)
    split = dataset.split(config.split)
    images = split.images
    config = dataclasses.replace(
        config,
        corruptions=tuple(dict.fromkeys(map(canonical_name, config.corruptions))),
        severities=tuple(dict.fromkeys(config.severities)),
        scale=config.scale or default_scale(*images.shape[1:3]),
    )
    files = file_names(split.labels, split.ids, dataset.class_names, config.format)
    # Images, seed or textures that do not fit are refused before anything is written.
    for name in {config.corruptions[0], *({"frost"} & set(config.corruptions))}:
        corrupt_by(config, np.asarray(images[:1]), name, config.severities[0], [0])
    # Corruptions and severities may be added later; everything else changes files that
    # a second call would keep.
    manifest = {
        "source": f"{dataset.fingerprint}/{config.split}/{dataset.image_size}",
        "images": len(files),
        "seed": config.seed,
        "scale": config.scale,
        "format": config.format,
        "frost_textures": config.frost_textures,
        "crop_fraction": dataset.crop_fraction,
    }
    defaults = {"crop_fraction": 1.0}  # as of version 0.1.0
    stored = claim(
        config.out, MANIFEST, manifest, what="corrupted set", defaults=defaults
    )
    if stored is None:
        write_json(Path(config.out, MANIFEST), manifest)

    bar = tqdm.tqdm(
        total=len(files) * len(config.corruptions) * len(config.severities),
        unit="image",
        disable=None,  # only on a terminal
    )
    with bar:
        for ready in runner(config, list(chunks_of(images, files))):
            bar.update(ready)
    return Path(config.out)


def file_names(
    labels: Sequence[int],
    ids: Sequence[str],
    class_names: Sequence[str],
    format: str = "jpeg",
) -> list[str]:
    """`class/name.JPEG` for every image.

    Raises:
        ValueError: if two images would have the same file, an image has no name, or a
            class is no file name.
    """
    for name in class_names:
        if name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise ValueError(
                f"`class_names` must be usable as names of folders. Received: {name!r}"
            )
    suffix = ENCODERS[format][0]
    files = []
    for label, identifier in zip(labels, ids, strict=True):
        name = class_names[int(label)]
        parts = PurePosixPath(identifier.replace("\\", "/")).with_suffix("").parts
        own = parts[1:] if len(parts) > 1 and parts[0] == name else parts
        stem = "_".join(own).lstrip("./")
        if not stem or "\0" in stem:
            raise ValueError(f"`ids` must be names of files. Received: {identifier!r}")
        files.append(f"{name}/{stem}{suffix}")
    if len(set(files)) < len(files):
        seen: set[str] = set()
        twice = next(f for f in files if f in seen or seen.add(f))
        raise ValueError(
            f"`ids` must give each image a file of its own. Received: {twice} twice"
        )
    return files


def _runner(
    config: CorruptionsConfig,
) -> Callable[[CorruptionsConfig, Iterable[Chunk]], Iterator[int]]:
    """What works on the chunks; it yields how many files each of them has."""
    if config.runner == "local":
        return _run_locally
    return beam_runner(config.beam_options)


def _run_locally(config: CorruptionsConfig, chunks: Iterable[Chunk]) -> Iterator[int]:
    workers = config.workers or os.cpu_count() or 1
    if workers == 1:
        for chunk in chunks:
            yield write_chunk(config, chunk)
        return
    # Forking a process in which TensorFlow has started threads can hang.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_process
    ) as pool:
        futures = [pool.submit(write_chunk, config, chunk) for chunk in chunks]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        except BrokenProcessPool:
            raise OSError(
                "A process ended early, perhaps for lack of memory; the same call "
                f"resumes. Received: workers={workers}"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _start_process() -> None:
    # The processes share the cores already.
    cv2.setNumThreads(1)
    # An interrupt from the keyboard reaches all of them; the caller ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
