"""Writing files so that nobody ever sees half of one."""

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from v1keras.reading import read_json, read_text, reading

# No name that anybody else gives: what a killed process has left is removed.
_TEMPORARY = re.compile(r"\.v1keras-[0-9a-f]{8}\..+")


def temporary_path(path: str | os.PathLike) -> Path:
    """A new hidden name beside `path`, with its suffix."""
    path = Path(path)
    return path.with_name(f".v1keras-{uuid.uuid4().hex[:8]}.{path.name}")


def is_temporary(name: str) -> bool:
    """Whether the name of a file or folder is one that `temporary_path` gives."""
    return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, *, flush: bool = True) -> Iterator[Path]:
    """Gives a temporary path beside `path` and renames it into place at the end.

    The temporary name keeps the suffix of `path` (Keras and NumPy look at it) and
    lies in the same folder, so that the rename cannot cross file systems. If the
    body raises, the temporary file or folder is removed and `path` is untouched.

    Args:
        path: str or path. The file to be written. Missing parent folders are made.
        flush: bool. Whether it has reached the disk before it replaces what was there,
            so that a power cut leaves one of the two. Defaults to `True`.

    Yields:
        The temporary path to write to.

    Raises:
        OSError: if it cannot be written, as on a full disk; it names `path`.

    Example:

    >>> with atomic_write("result.txt") as temporary:
    ...     temporary.write_text("done")
    4
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        if flush:
            synchronize(temporary)
        temporary.replace(path)
        if flush:
            synchronize_entry(path.parent)
    except OSError as error:
        # In the middle of a write it names no file, and a temporary one helps nobody.
        if error.filename not in (None, str(temporary)):
            raise
        number, what = error.errno or errno.EIO, f"{error} (is the disk full?)"
        if error.errno:
            what = os.strerror(error.errno)
        raise OSError(number, what, str(path)) from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def synchronize(path: str | os.PathLike) -> None:
    """Flushes a file, or a folder with all that is in it, to disk."""
    for inner in Path(path).rglob("*"):
        synchronize_entry(inner)
    synchronize_entry(path)


def synchronize_entry(path: str | os.PathLike) -> None:
    """Flushes a file, or the names in a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` atomically, as UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` to `path` atomically, as indented JSON.

    Raises:
        ValueError: if a number is not finite; see `format_json`.
    """
    write_text(path, format_json(value, what=str(path)))


def format_json(value: Any, *, what: str) -> str:
    """`value` as indented JSON, which has no NaN and no infinity.

    Args:
        value: what `json.dumps` takes. `None` stands for a number that is undefined.
        what: str. What is written, for the message.

    Raises:
        ValueError: if a number is not finite; it names the entry.
    """
    wrong = next(_not_finite(value), None)
    if wrong is not None:
        raise ValueError(f"{what} must hold finite numbers. Received: {wrong}")
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _not_finite(value: Any, name: str = "") -> Iterator[str]:
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{name}={value}"
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{name}[{index}]")


def file_fingerprint(path: str | os.PathLike) -> str:
    """The SHA-256 digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: str | os.PathLike) -> dict[str, str]:
    """SHA-256 digests of all files, by their paths within a folder."""
    folder = Path(folder)
    return {
        path.relative_to(folder).as_posix(): file_fingerprint(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read_checksums(path: str | os.PathLike, remedy: str) -> dict[str, str]:
    """What `sha256sum` has written: digests by the paths of files.

    Args:
        path: str or path.
        remedy: str. What to do if it is damaged.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is damaged.
    """
    lines = read_text(path, remedy).removesuffix("\n").split("\n")
    with reading(path, remedy):
        pairs = [line.split("  ", 1) for line in lines]
        return {name: digest for digest, name in pairs}


def require_writable(folder: str | os.PathLike, name: str = "out") -> None:
    """Refuses a folder that cannot be written, before the work and not after it.

    Args:
        folder: str or path. It need not exist.
        name: str. The argument that names it, for messages. Defaults to `"out"`.

    Raises:
        OSError: if no file can be made in it.
    """
    folder = Path(folder)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise OSError(
            f"`{name}` must be a folder that can be written. Received: "
            f"{name}={folder} ({error.strerror})"
        ) from error


def claim(
    folder: str | os.PathLike,
    record: str,
    expected: Mapping[str, Any],
    *,
    what: str,
    defaults: Mapping[str, Any] | None = None,
    changes: Callable[[dict[str, Any]], Sequence[str]] | None = None,
    name: str = "out",
) -> dict[str, Any] | None:
    """The one answer to whether work may start in a folder or be resumed there.

    A folder says what it is by one JSON file, its record. Nothing is written here: a
    command writes the record once its other arguments have been checked as well.

    Args:
        folder: str or path.
        record: str. The path of the record within the folder.
        expected: mapping that can be written as JSON. Entries that the record must
            have, compared at every level; further ones in the record do not matter.
        what: str. What the folder should be, such as `"run"`, for messages.
        defaults: mapping or None. What entries mean that a record lacks because it was
            written before there were such entries. Defaults to `None`.
        changes: callable or None. Takes a record that has what is expected and gives
            what else differs, in words that follow "which has". Defaults to `None`.
        name: str. The argument that names the folder, for messages. Defaults to
            `"out"`.

    Returns:
        The record of a folder of the same work, `None` if the folder is new or empty.

    Raises:
        FileExistsError: if it is anything else; the message names what differs.

    Example:

    >>> claim("runs/new", "config.json", {"settings": {"epochs": 60}}, what="run")
    """
    folder = Path(folder)
    # Hidden files are what a killed `atomic_write` or the system left there.
    if not folder.exists() or (
        folder.is_dir() and all(path.name[0] == "." for path in folder.iterdir())
    ):
        return None
    file = folder / record
    stored, different = None, []
    if file.is_file():
        with contextlib.suppress(ValueError):
            stored = read_json(file, dict, "")
    if stored is None:
        has, different = "has", [f"no readable {record}"]
    else:
        has = f"by its {record} has"
        plain = json.loads(json.dumps([dict(expected), dict(defaults or {})]))
        different = list(_differences(stored, *plain))
        if changes is not None and not different:
            different = list(changes(stored))
    if different:
        raise FileExistsError(
            f"`{name}` must be a new folder or hold the same {what}, which is then "
            f"resumed. Received: {name}={folder}, which {has} "
            f"{', '.join(different[:3])}"
        )
    return stored


def _differences(stored: Any, expected: dict, defaults: dict) -> Iterator[str]:
    for key, value in expected.items():
        default = defaults.get(key)
        found = stored.get(key, default)
        if isinstance(value, dict) and isinstance(found, dict):
            yield from _differences(found, value, default or {})
        elif found != value:
            yield f"{key}={found!r} instead of {key}={value!r}"
