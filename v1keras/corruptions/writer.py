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

from v1keras.corruptions.apply import corrupt, default_scale
from v1keras.corruptions.registry import BENCHMARK, SEVERITIES, canonical_name
from v1keras.corruptions.severities import SCALES, STORED_JPEG_QUALITY
from v1keras.files import atomic_write, claim, write_json

MANIFEST = "corruptions.json"
_ENCODERS = {
    "jpeg": (
        ".JPEG",
        [cv2.IMWRITE_JPEG_QUALITY, STORED_JPEG_QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    ),
    "png": (".png", []),
}
FORMATS = tuple(_ENCODERS)
_IMAGES_PER_CHUNK = 32


class Images(Protocol):
    """What is needed of a stack of images: a length, a shape and slices."""

    shape: tuple[int, ...]

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be made of every image.

    Attributes:
        out: str. The folder to write to.
        corruptions: tuple of str. Keys of `CORRUPTIONS`.
        severities: tuple of int. In 1..5.
        seed: int. Seed of the corruptions.
        scale: str. The severity table, `"imagenet"` or `"tiny"`.
        format: str. `"jpeg"` (quality 85, as published) or `"png"`.
        frost_textures: str or None. A folder of textures for frost.
    """

    out: str
    corruptions: tuple[str, ...]
    severities: tuple[int, ...]
    seed: int
    scale: str
    format: str
    frost_textures: str | None = None


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


@dataclasses.dataclass(frozen=True)
class _Slice:
    """Reads a slice of a stack in the process that needs it."""

    images: Images
    start: int
    stop: int

    def __call__(self) -> np.ndarray:
        return np.asarray(self.images[self.start : self.stop])


def write_corrupted(
    images: Images,
    labels: Sequence[int],
    ids: Sequence[str],
    class_names: Sequence[str],
    out: str | os.PathLike,
    *,
    seed: int,
    corruptions: Sequence[str] = BENCHMARK,
    severities: Sequence[int] = SEVERITIES,
    scale: str | None = None,
    format: str = "jpeg",
    frost_textures: str | os.PathLike | None = None,
    source: str = "",
    workers: int = 1,
    runner: Callable[[Job, Iterable[Chunk]], Iterator[int]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Writes `out/corruption/severity/class/file` for every image and cell.

    Files that are already there are kept, so that an interrupted call goes on where
    it stopped. The result for an image depends on the seed and its position only.

    Args:
        images: uint8 array (N, H, W, 3), or anything that gives such slices.
        labels: sequence of N ints. The class of each image.
        ids: sequence of N str. Names of the images, of which the file names are made.
        class_names: sequence of str. The name of each class and of its folder.
        out: str or path. The folder to write to.
        seed: int. Non-negative seed of the corruptions.
        corruptions: sequence of str. Defaults to the 15 of the benchmark.
        severities: sequence of int. Defaults to all five.
        scale: str. The severity table, `"imagenet"` or `"tiny"`. Defaults to `None`:
            by the size of the images.
        format: str. `"jpeg"` (of quality 85, as published) or `"png"` (exact).
            Defaults to `"jpeg"`.
        frost_textures: str or path. A folder of textures of ice. Defaults to `None`.
        source: str. Says which data these are; another one in the same folder is an
            error.
        workers: int. Processes; 1 computes in this one. Defaults to `1`.
        runner: callable. Does the chunks instead of processes of our own and yields
            how many files each one has. Defaults to `None`.
        progress: callable. Gets the number of files that are ready and that of all.
            Defaults to `None`.

    Returns:
        The folder.

    Raises:
        ValueError: An argument does not fit.
        FileExistsError: The folder holds something else, or other settings.
        OSError: A file cannot be written, or a process was ended from outside.
    """
    if scale is None:
        scale = default_scale(*images.shape[1:3])
    job = Job(
        out=os.fspath(out),
        corruptions=tuple(dict.fromkeys(canonical_name(name) for name in corruptions)),
        severities=tuple(dict.fromkeys(severities)),
        seed=seed,
        scale=scale,
        format=format,
        frost_textures=None if frost_textures is None else os.fspath(frost_textures),
    )
    _validate(job, workers)
    files = file_names(labels, ids, class_names, format)
    # Images, seed or textures that do not fit are refused before anything is written.
    for name in {job.corruptions[0], *({"frost"} & set(job.corruptions))}:
        _corrupted(job, np.asarray(images[:1]), name, job.severities[0], [0])
    _claim(job, source, len(files))

    chunks = list(_chunks(images, files))
    total = len(files) * len(job.corruptions) * len(job.severities)
    done = 0
    for ready in (runner or _processes(workers))(job, chunks):
        done += ready
        if progress:
            progress(done, total)
    return Path(job.out)


def file_names(
    labels: Sequence[int],
    ids: Sequence[str],
    class_names: Sequence[str],
    format: str = "jpeg",
) -> list[str]:
    """`class/name.JPEG` for every image.

    Raises:
        ValueError: Two images would have the same file, or a class is no file name.
    """
    for name in class_names:
        if name in ("", ".", "..") or "/" in name or "\\" in name:
            raise ValueError(
                f"a class must be usable as the name of a folder. Received: {name!r}"
            )
    suffix = _ENCODERS[format][0]
    files = []
    for label, identifier in zip(labels, ids, strict=True):
        name = class_names[int(label)]
        parts = PurePosixPath(identifier.replace("\\", "/")).with_suffix("").parts
        own = parts[1:] if len(parts) > 1 and parts[0] == name else parts
        files.append(f"{name}/{'_'.join(own).lstrip('./')}{suffix}")
    if len(set(files)) < len(files):
        seen: set[str] = set()
        twice = next(f for f in files if f in seen or seen.add(f))
        raise ValueError(f"two images have the same name. Received: {twice}")
    return files


def write_chunk(job: Job, chunk: Chunk) -> int:
    """Corrupts the images of a chunk and writes the files that are missing.

    Returns:
        int. The number of files that are there now.
    """
    suffix, options = _ENCODERS[job.format]
    images = None
    for name in job.corruptions:
        for severity in job.severities:
            folder = Path(job.out, name, str(severity))
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
            corrupted = _corrupted(job, images[missing], name, severity, index)
            for position, image in zip(missing, corrupted, strict=True):
                bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
                _, encoded = cv2.imencode(suffix, bgr, options)
                with atomic_write(folder / chunk.files[position]) as temporary:
                    temporary.write_bytes(encoded.tobytes())
    return len(chunk.files) * len(job.corruptions) * len(job.severities)


def _corrupted(
    job: Job, images: np.ndarray, name: str, severity: int, index: Sequence[int]
) -> np.ndarray:
    return corrupt(
        images,
        name,
        severity,
        seed=job.seed,
        scale=job.scale,
        index=index,
        frost_textures=job.frost_textures,
    )


def _validate(job: Job, workers: int) -> None:
    if not job.corruptions:
        raise ValueError("corruptions must name at least one. Received: corruptions=()")
    if not job.severities or any(s not in SEVERITIES for s in job.severities):
        raise ValueError(
            "severities must be integers in 1..5. "
            f"Received: severities={job.severities}"
        )
    if job.scale not in SCALES:
        raise ValueError(
            f"scale must be one of {', '.join(SCALES)}. Received: scale={job.scale!r}"
        )
    if job.format not in FORMATS:
        raise ValueError(
            f"format must be one of {', '.join(FORMATS)}. "
            f"Received: format={job.format!r}"
        )
    if workers < 1:
        raise ValueError(f"workers must be at least 1. Received: workers={workers}")


def _claim(job: Job, source: str, count: int) -> None:
    """Notes the settings in the folder, or refuses a folder with other ones.

    Corruptions and severities may be added later; everything else changes files that
    a second call would keep.
    """
    settings = {
        "source": source,
        "images": count,
        "seed": job.seed,
        "scale": job.scale,
        "format": job.format,
        "frost_textures": job.frost_textures,
    }
    if claim(job.out, MANIFEST, settings, what="corrupted set") is None:
        write_json(Path(job.out, MANIFEST), settings)


def _chunks(images: Images, files: Sequence[str]) -> Iterator[Chunk]:
    for start in range(0, len(files), _IMAGES_PER_CHUNK):
        stop = min(start + _IMAGES_PER_CHUNK, len(files))
        if isinstance(images, np.ndarray):
            # Only this part of an array is to travel to the other process.
            read = _Slice(images[start:stop], 0, stop - start)
        else:
            read = _Slice(images, start, stop)
        yield Chunk(read, tuple(range(start, stop)), tuple(files[start:stop]))


def _processes(workers: int) -> Callable[[Job, Iterable[Chunk]], Iterator[int]]:
    def run(job: Job, chunks: Iterable[Chunk]) -> Iterator[int]:
        if workers == 1:
            for chunk in chunks:
                yield write_chunk(job, chunk)
            return
        # Forking a process in which TensorFlow has started threads can hang.
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(
            workers, mp_context=context, initializer=_start_process
        ) as pool:
            futures = [pool.submit(write_chunk, job, chunk) for chunk in chunks]
            try:
                for future in concurrent.futures.as_completed(futures):
                    yield future.result()
            except BrokenProcessPool:
                raise OSError(
                    "a process ended before its work, perhaps for lack of memory; the "
                    f"same call goes on. Received: workers={workers}"
                ) from None
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise

    return run


def _start_process() -> None:
    # The processes share the cores already.
    cv2.setNumThreads(1)
    # An interrupt from the keyboard reaches all of them; the caller ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
