"""A finished version appears in the served folder, or nothing does.

A served folder holds one sub-folder for each version, named by a number (Unix
seconds here, as TFX's pusher does); a server takes the highest. Everything is
prepared in a hidden folder beside the versions, which no server looks at, and is
renamed into place in one step.
"""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from export.models_config import list_versions, read_labels, refresh
from export.rollback import HIDDEN_FOLDER, list_hidden
from v1keras.files import synchronize, synchronize_entry, temporary_path
from v1keras.locks import lock_folder


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


def publish(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    finish: Callable[[int], None] | None = None,
) -> Path:
    """Moves a prepared folder into place as the newest version.

    Args:
        folder: str or path. A folder that `staging` gave.
        out: str or path. The served folder.
        finish: callable or None. Takes the number that the version is about to get and
            writes into `folder` what tells it; called again if another exporter was
            faster. Defaults to `None`.

    Returns:
        The path of the new version, `<out>/<number>`. The number is the time in Unix
        seconds, or one more than the newest version where that is not earlier.
    """
    out = Path(out)
    known = (*list_versions(out), *list_hidden(out))
    number = max([int(time.time()), *(version + 1 for version in known)])
    while True:
        target = out / str(number)
        if finish is not None:
            finish(number)
        synchronize(folder)
        try:
            # Renaming a folder never replaces one that holds files.
            Path(folder).rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
            number += 1
        else:
            synchronize_entry(out)
            return target


def keep(
    out: str | os.PathLike, count: int, *, spare: Collection[int] = ()
) -> tuple[int, ...]:
    """Removes all but the newest versions, and what was hidden before them.

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
    for version in list_hidden(out):
        if version < oldest:
            shutil.rmtree(out / HIDDEN_FOLDER / str(version), ignore_errors=True)
    return removed


def push(
    folder: str | os.PathLike,
    out: str | os.PathLike,
    finish: Callable[[int], None] | None = None,
    *,
    count: int | None = None,
) -> Path:
    """Publishes a prepared version and has the server load it.

    Args:
        folder: str or path. A folder that `export.pusher.staging` gave.
        out: str or path. The served folder.
        finish: callable or None. As of `publish`. Defaults to `None`.
        count: int or None. How many versions stay in it, apart from those with labels.
            Defaults to `None`, all of them.

    Returns:
        The path of the new version, `<out>/<number>`.
    """
    path = publish(folder, out, finish)
    refresh(out)
    if count is not None:
        labelled = read_labels(Path(out).resolve().parent).get(
            Path(out).resolve().name, {}
        )
        keep(out, count, spare=set(labelled.values()))
    return path
