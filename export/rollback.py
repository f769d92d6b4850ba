"""Earlier versions are served again: later ones are hidden, and nothing is deleted.

Hidden versions lie in `<out>/.withdrawn/`, where no server looks. Each of these steps
may be repeated, and may be stopped at any time: doing the same again ends it.
"""

import os
from pathlib import Path

from export.integrity import require_whole
from export.models_config import list_versions, refresh, require_refreshable

HIDDEN_FOLDER = ".withdrawn"


def list_hidden(out: str | os.PathLike) -> tuple[int, ...]:
    """The versions that rollbacks have hidden, oldest first."""
    return list_versions(Path(out) / HIDDEN_FOLDER)


def find_version(out: str | os.PathLike, version: int, argument: str) -> Path:
    """The folder of a version, be it served or hidden.

    Args:
        out: str or path. The served folder.
        version: int. Its number.
        argument: str. What names the number, for the message.

    Raises:
        ValueError: if there is no such version; it says which there are.
    """
    out = Path(out)
    found, hidden = list_versions(out), list_hidden(out)
    if version not in (*found, *hidden):
        known = ", ".join(map(str, sorted({*found, *hidden}))) or "none"
        raise ValueError(
            f"`{argument}` must be a version in {out} ({known}). "
            f"Received: {argument}={version}"
        )
    return (out if version in found else out / HIDDEN_FOLDER) / str(version)


def roll_back(out: str | os.PathLike, to: int) -> tuple[int, ...]:
    """Has a version served again by hiding those after it.

    Args:
        out: str or path. The served folder.
        to: int. The version to be served; it may be a hidden one.

    Returns:
        Tuple of int. The versions that were hidden, oldest first.

    Raises:
        OSError: if the server's configuration cannot be brought up to date.
        ValueError: if there is no such version, or its files are damaged.
    """
    out = Path(out)
    target = find_version(out, to, "to")
    require_whole(target, f"version {to} in {out}")
    require_refreshable(out)
    if target.parent != out:
        target.rename(out / str(to))
    newer = tuple(version for version in list_versions(out) if version > to)
    if newer:
        (out / HIDDEN_FOLDER).mkdir(exist_ok=True)
    # The newest goes last: whatever stops this, what is served is it or `to`.
    for version in newer:
        (out / str(version)).rename(out / HIDDEN_FOLDER / str(version))
    refresh(out)
    return newer


def undo(out: str | os.PathLike) -> tuple[int, ...]:
    """Takes all rollbacks back: no version is hidden, and the newest is served.

    Args:
        out: str or path. The served folder.

    Returns:
        Tuple of int. The versions that were hidden, oldest first.

    Raises:
        ValueError: if there are no versions, or the files of a hidden one are damaged;
            none is shown then.
    """
    out = Path(out)
    hidden = list_hidden(out)
    if not hidden and not list_versions(out):
        raise ValueError(f"`out` must hold versions. Received: out={out}")
    for version in hidden:
        folder = out / HIDDEN_FOLDER / str(version)
        require_whole(folder, f"version {version} in {out}")
    require_refreshable(out)
    # The newest comes first: whatever stops this, none between is served meanwhile.
    for version in reversed(hidden):
        (out / HIDDEN_FOLDER / str(version)).rename(out / str(version))
    refresh(out)
    return hidden
