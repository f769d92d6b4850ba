"""Writing files so that nobody ever sees half of one."""

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path beside `path` and renames it into place at the end.

    The temporary name keeps the suffix of `path` (Keras and NumPy look at it) and
    lies in the same folder, so that the rename cannot cross file systems. If the
    body raises, the temporary file or folder is removed and `path` is untouched.

    Args:
        path: str or path. The file to be written. Missing parent folders are made.

    Yields:
        The temporary path to write to.

    Example:

    >>> with atomic_write("result.txt") as temporary:
    ...     temporary.write_text("done")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex[:8]}.{path.name}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` atomically, as UTF-8."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def file_fingerprint(path: str | os.PathLike) -> str:
    """The SHA-256 digest of a file."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
