"""One process at a time works in a folder; what a killed one has left is removed."""

import contextlib
import errno
import functools
import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from v1keras.escaping import say
from v1keras.files import is_temporary

try:
    import fcntl
except ImportError:  # Windows, where folders are not locked
    fcntl = None

LOCK_FILE = ".lock"
# What `flock` says on file systems without it, such as some mounts of clusters.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL)


class FolderInUseError(BlockingIOError):
    """Another process works in a folder.

    Args:
        message: str.
        holder: str. Who does what there: `"another process (pid 7, host a) trains"`.
    """

    def __init__(self, message: str, holder: str) -> None:
        super().__init__(message)
        self.holder = holder


@contextlib.contextmanager
def lock_folder(
    folder: str | os.PathLike,
    doing: str,
    *,
    name: str = "out",
    shared: bool = False,
    wait: bool = False,
) -> Iterator[None]:
    """Keeps other processes out of a folder for as long as the body runs.

    The lock is one of the operating system on a hidden file in the folder, so that it
    ends with its process, however that ends. The file holds process and host, for
    messages, and is removed at the end. Whoever is alone in the folder first removes
    the temporary files and folders that a killed process has left in it, except those
    below a sub-folder with a lock of its own.

    The folder is made if it is missing, and removed again if it stays empty. One that
    cannot be written to is not locked.

    Args:
        folder: str or path.
        doing: str. What this process does there, in words that follow "another
            process", such as `"trains"`.
        name: str. The argument that names the folder, for messages. Defaults to
            `"out"`.
        shared: bool. Whether others that share the folder as well may work in it at
            the same time. Defaults to `False`.
        wait: bool. Whether to wait for the other process. Defaults to `False`.

    Raises:
        FolderInUseError: if another process works in the folder.
        FileExistsError: if it is no folder.

    Example:

    >>> with lock_folder("runs/base", "trains"):
    ...     pass
    """
    folder = Path(folder)
    if not folder.is_dir() and (folder.exists() or folder.is_symlink()):
        raise FileExistsError(
            f"`{name}` must be a folder. Received: {name}={folder}, which is none"
        )
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if fcntl is None or not os.access(folder, os.W_OK):
            yield
            return
        with _locked(folder, doing, name, shared, wait):
            yield
    finally:
        with contextlib.suppress(OSError):
            for path in made:
                path.rmdir()


def runs_within(
    enter: Callable[[Any], contextlib.AbstractContextManager],
) -> Callable[[Callable], Callable]:
    """Makes a function run within a context of its configuration; a decorator.

    Args:
        enter: callable. Takes the function's first argument, the configuration, and
            gives the context manager.
    """

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def within(config, *args, **kwargs):
            with enter(config):
                return function(config, *args, **kwargs)

        return within

    return decorate


def locks_out(doing: str) -> Callable[[Callable], Callable]:
    """Makes a function hold the folder `out` of its configuration; a decorator.

    Args:
        doing: str; see `lock_folder`.
    """
    return runs_within(lambda config: lock_folder(config.out, doing))


@contextlib.contextmanager
def _locked(
    folder: Path, doing: str, name: str, shared: bool, wait: bool
) -> Iterator[None]:
    file = folder / LOCK_FILE
    descriptor = _acquire(file, name, shared, wait)
    try:
        record = {"pid": os.getpid(), "host": socket.gethostname(), "doing": doing}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(record).encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            # Of those that share a folder, the last one removes the file.
            if not shared or _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                file.unlink()
        os.close(descriptor)


def _acquire(file: Path, name: str, shared: bool, wait: bool) -> int:
    """The descriptor of the locked file."""
    said = False
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            alone = _flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if alone:
                _remove_orphans(file.parent)
            elif not (shared or wait):
                holder = _holder(file)
                raise FolderInUseError(
                    f"{holder} there; wait for it, or end it. Received: "
                    f"{name}={file.parent}",
                    holder,
                )
            elif not (shared or said):
                say(f"{file.parent}: waits, as {_holder(file)} there")
                said = True
            if shared:
                _flock(descriptor, fcntl.LOCK_SH)
            elif not alone:
                _flock(descriptor, fcntl.LOCK_EX)
            # The process before may have removed the file that was waited for; whoever
            # waited has yet to look for orphans.
            if (alone or shared) and _is_same(descriptor, file):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _flock(descriptor: int, operation: int) -> bool:
    """Locks a file; whether that worked."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return not _is_recorded_alive(os.pread(descriptor, 4096, 0))
    return True


def _is_same(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _is_recorded_alive(content: bytes) -> bool:
    """Whether the process of a record runs, as far as can be told from this host."""
    record = _parse(content)
    if not record:
        return False
    if record.get("host") != socket.gethostname():
        return True
    if record.get("pid") == os.getpid():  # as that process had before, or this one
        return False
    try:
        os.kill(record["pid"], 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        pass
    return True


def _holder(file: Path) -> str:
    try:
        record = _parse(file.read_bytes())
    except OSError:
        record = {}
    who = f"pid {record.get('pid', 'unknown')}, host {record.get('host', 'unknown')}"
    return f"another process ({who}) {record.get('doing', 'works')}"


def _parse(content: bytes) -> dict[str, Any]:
    try:
        record = json.loads(content)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _remove_orphans(folder: Path) -> None:
    for path, folders, files in os.walk(folder):
        if LOCK_FILE in files and Path(path) != folder:
            folders.clear()  # its own process removes them
            continue
        for name in filter(is_temporary, files):
            Path(path, name).unlink(missing_ok=True)
        for name in filter(is_temporary, tuple(folders)):
            folders.remove(name)
            shutil.rmtree(Path(path, name), ignore_errors=True)
