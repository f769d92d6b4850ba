"""Parts of a corrupted data set that one process writes at a time."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from v1keras.corruptions.apply import corrupt
from v1keras.corruptions.config import CorruptionsConfig
from v1keras.corruptions.severities import STORED_JPEG_QUALITY
from v1keras.files import atomic_write

# Suffix and settings of OpenCV for each format.
ENCODERS = {
    "jpeg": (
        ".JPEG",
        [cv2.IMWRITE_JPEG_QUALITY, STORED_JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    ),
    "png": (".png", []),
}
_IMAGES_PER_CHUNK = 32


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Some images in a row.

    Attributes:
        images: function without arguments that gives the uint8 array (n, H, W, 3).
        index: tuple of int. Their positions in the data set.
        files: tuple of str. Their paths below `corruption/severity/`.
    """

    images: Callable[[], np.ndarray]
    index: tuple[int, ...]
    files: tuple[str, ...]


def chunks_of(images: Any, files: Sequence[str]) -> Iterator[Chunk]:
    """The images of a data set and their files, a few in a row.

    Args:
        images: uint8 array (n, H, W, 3), or what has `subset(indices)`, as
            `v1keras.data.images.EncodedImages` do.
        files: sequence of str. Their paths below `corruption/severity/`.
    """
    for start in range(0, len(files), _IMAGES_PER_CHUNK):
        stop = min(start + _IMAGES_PER_CHUNK, len(files))
        # Only this part is to travel to the other process.
        if isinstance(images, np.ndarray):
            part = images[start:stop]
        else:
            part = images.subset(np.arange(start, stop))
        read = functools.partial(np.asarray, part)
        yield Chunk(read, tuple(range(start, stop)), tuple(files[start:stop]))


def write_chunk(config: CorruptionsConfig, chunk: Chunk) -> int:
    """Corrupts the images of a chunk and writes the files that are missing.

    Returns:
        int. The number of files that are there now.
    """
    suffix, options = ENCODERS[config.format]
    images = None
    for name in config.corruptions:
        for severity in config.severities:
            folder = Path(config.out, name, str(severity))
            missing = [
                position
                for position, file in enumerate(chunk.files)
                if not (folder / file).is_file()
            ]
            if not missing:
                continue
            if images is None:
                images = chunk.images()
            index = [chunk.index[position] for position in missing]
            corrupted = corrupt_by(config, images[missing], name, severity, index)
            for position, image in zip(missing, corrupted, strict=True):
                bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                _, encoded = cv2.imencode(suffix, bgr, options)
                with atomic_write(
                    folder / chunk.files[position], flush=False
                ) as temporary:
                    temporary.write_bytes(encoded.tobytes())
    return len(chunk.files) * len(config.corruptions) * len(config.severities)


def corrupt_by(
    config: CorruptionsConfig,
    images: np.ndarray,
    name: str,
    severity: int,
    index: Sequence[int],
) -> np.ndarray:
    """Corrupts images as a configuration says, those at `index` in the data set."""
    return corrupt(
        images,
        name,
        severity,
        seed=config.seed,
        scale=config.scale,
        index=index,
        frost_textures=config.frost_textures,
    )
