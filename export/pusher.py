"""A finished version appears in the served folder, or nothing does.

A served folder holds one sub-folder for each version, named by a number (Unix
seconds here, as TFX's pusher does); a server takes the highest. Everything is
prepared in a hidden folder beside the versions, which no server looks at, and is
renamed into place in one step.
"""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from export.models_config import list_versions, read_labels, refresh
from v1keras.files import file_fingerprint, temporary_path
from v1keras.locks import lock_folder

WITHDRAWN_FOLDER = ".withdrawn"
METADATA_FILE = "metadata.json"


@contextlib.contextmanager
def staging(out: str | os.PathLike) -> Iterator[Path]:
    """Gives a hidden folder inside `out` in which a version can be prepared.

    The folder is removed at the end unless `publish` has moved it, and so is `out`
    when it was made here and has stayed empty. What exporters that were killed have
    left is removed first; exporters that are at work are not disturbed.

    Args:
        out: str or path. The served folder. It is made if it does not exist.

    Yields:
        The path of an empty folder.
    """
    out = Path(out)
    with lock_folder(out, "exports", shared=True):
        folder = temporary_path(out / "staging")
        folder.mkdir()
        try:
            # A server often runs as another user.
            folder.chmod(0o755)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish(folder: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Moves a prepared folder into place as the newest version.

    Args:
        folder: str or path. A folder that `staging` gave.
        out: str or path. The served folder.

    Returns:
        The path of the new version, `<out>/<number>`. The number is the time in Unix
        seconds, or one more than the newest version where that is not earlier.
    """
    out = Path(out)
    _synchronize(folder)
    known = (*list_versions(out), *list_withdrawn(out))
    number = max([int(time.time()), *(version + 1 for version in known)])
    while True:
        target = out / str(number)
        try:
            # Renaming a folder never replaces one that holds files.
            Path(folder).rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            number += 1
        else:
            _synchronize_entry(out)
            return target


def keep(
    out: str | os.PathLike, count: int, *, spare: Collection[int] = ()
) -> tuple[int, ...]:
    """Removes all but the newest versions, and what was withdrawn before them.

    Args:
        out: str or path. The served folder.
        count: int. How many versions stay, at least 1.
        spare: collection of int. Versions that stay as well. Defaults to `()`.

    Returns:
        Tuple of int. The versions that were removed.
    """
    if count < 1:
        raise ValueError(f"`count` must be at least 1. Received: count={count}")
    out = Path(out)
    found = list_versions(out)
    oldest = min([*found[-count:], *spare], default=0)
    removed = tuple(v for v in found[:-count] if v not in spare)
    for version in removed:
        # Hidden in one step before its files go, one by one. Another exporter may be
        # keeping as many at the same time.
        hidden = temporary_path(out / str(version))
        with contextlib.suppress(FileNotFoundError):
            (out / str(version)).rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)
    for version in list_withdrawn(out):
        if version < oldest:
            shutil.rmtree(out / WITHDRAWN_FOLDER / str(version), ignore_errors=True)
    return removed


def list_withdrawn(out: str | os.PathLike) -> tuple[int, ...]:
    """The versions that rollbacks have hidden, oldest first."""
    return list_versions(Path(out) / WITHDRAWN_FOLDER)


def withdraw(out: str | os.PathLike, to: int | None = None) -> tuple[int, ...]:
    """Makes an earlier version the newest one by hiding those after it.

    Nothing is deleted: a hidden version becomes the newest again when it is `to`.

    Args:
        out: str or path. The served folder.
        to: int or None. The version to be served, which may be a hidden one. With it,
            doing the same again changes nothing. `None` is the one before the newest.

    Returns:
        Tuple of int. The versions that were hidden, oldest first.

    Raises:
        ValueError: if there is no such version.
    """
    out = Path(out)
    found, hidden = list_versions(out), list_withdrawn(out)
    if to is None:
        if len(found) < 2:
            raise ValueError(
                "a rollback needs at least two versions. "
                f"Received: out={out} with {len(found)}"
            )
        to = found[-2]
    if to not in (*found, *hidden):
        known = ", ".join(map(str, sorted({*found, *hidden}))) or "none"
        raise ValueError(
            f"`to` must be a version in {out} ({known}). Received: to={to}"
        )
    if to in hidden:
        (out / WITHDRAWN_FOLDER / str(to)).rename(out / str(to))
    newer = tuple(version for version in found if version > to)
    if newer:
        (out / WITHDRAWN_FOLDER).mkdir(exist_ok=True)
    # The newest goes last: whatever stops this, what is served is it or `to`.
    for version in newer:
        (out / str(version)).rename(out / WITHDRAWN_FOLDER / str(version))
    return newer


def push(
    folder: str | os.PathLike, out: str | os.PathLike, count: int | None = None
) -> Path:
    """Publishes a prepared version and has the server load it.

    Args:
        folder: str or path. A folder that `export.pusher.staging` gave.
        out: str or path. The served folder.
        count: int or None. How many versions stay in it, apart from those with labels.
            Defaults to `None`, all of them.

    Returns:
        The path of the new version, `<out>/<number>`.
    """
    path = publish(folder, out)
    refresh(out)
    if count is not None:
        labelled = read_labels(Path(out).resolve().parent).get(
            Path(out).resolve().name, {}
        )
        keep(out, count, spare=set(labelled.values()))
    return path


def roll_back(
    out: str | os.PathLike, to: int | None = None
) -> tuple[tuple[int, ...], int]:
    """Has an earlier version of a model served again; nothing is deleted.

    Args:
        out: str or path. The served folder.
        to: int or None. The version to be served; it may be one that an earlier
            rollback has hidden. `None` is the one before the newest.

    Returns:
        Tuple of the versions that were hidden and the one that is the newest now.

    Raises:
        ValueError: if there is no such version.
    """
    hidden = withdraw(out, to)
    refresh(out)
    return hidden, list_versions(out)[-1]


def damaged_files(folder: str | os.PathLike) -> list[str]:
    """The files of a version that are not as they were written, or are missing.

    Args:
        folder: str or path. The version's folder.

    Returns:
        List of str, paths within the folder; `metadata.json` itself where it cannot be
        read.
    """
    folder = Path(folder)
    try:
        written = json.loads((folder / METADATA_FILE).read_text(encoding="utf-8"))
        expected = dict(written["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return [METADATA_FILE]
    found = checksums(folder)
    return [name for name, digest in expected.items() if found.get(name) != digest]


def checksums(folder: str | os.PathLike) -> dict[str, str]:
    """SHA-256 digests of all files, by their paths within a folder."""
    folder = Path(folder)
    return {
        path.relative_to(folder).as_posix(): file_fingerprint(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _synchronize(folder: str | os.PathLike) -> None:
    """Flushes the files to disk, so that a power cut cannot leave empty ones."""
    for path in Path(folder).rglob("*"):
        _synchronize_entry(path)
    _synchronize_entry(folder)


def _synchronize_entry(path: str | os.PathLike) -> None:
    """Flushes a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
