"""What has changed between two versions: classes, quality, sizes, and all the rest."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from export.integrity import METADATA_FILE, require_whole
from export.models_config import list_versions
from export.rollback import find_version
from v1keras.reading import read_json

# Each run repeats them.
_NAMES = ("class_names", "display_names")
_UNITS = {
    "accuracy": lambda share: f"{share:.1%}",
    "bytes": lambda size: f"{size / 1e6:.3f} MB",
    "milliseconds": lambda time: f"{time:.1f} ms",
}


def choose_versions(
    out: str | os.PathLike, old: int | None = None, new: int | None = None
) -> tuple[Path, Path]:
    """The folders of the two versions that are to be compared.

    Args:
        out: str or path. The served folder.
        old: int or None. The number of one, which may be hidden. `None` is the one
            before `new`.
        new: int or None. The number of the other one. `None` is the newest.

    Raises:
        ValueError: if there is no such version.
    """
    served = list_versions(out)
    if new is None and served:
        new = served[-1]
    before = [version for version in served if new is not None and version < new]
    if old is None and before:
        old = before[-1]
    if old is None or new is None:
        raise ValueError(
            "a comparison needs two versions that are served, or --old and --new. "
            f"Received: out={out} with {len(served)}"
        )
    return find_version(out, old, "old"), find_version(out, new, "new")


def compare_versions(old: str | os.PathLike, new: str | os.PathLike) -> list[str]:
    """What differs between the descriptions of two versions.

    Args:
        old: str or path. A version's folder.
        new: str or path. Another one's.

    Returns:
        List of str, one for each difference: classes first, then accuracy, sizes and
        times, then settings and whatever else `metadata.json` holds. Empty if all that
        they say is equal, apart from when they were made.

    Raises:
        FileNotFoundError: if one has no `metadata.json`.
        ValueError: if the files of one are damaged.
    """
    before, after = (_read(Path(folder)) for folder in (old, new))
    classes = [dict.fromkeys(each.pop("class_names")) for each in (before, after)]
    lines = [f"class added: {name!r}" for name in classes[1] if name not in classes[0]]
    lines += [
        f"class removed: {name!r}" for name in classes[0] if name not in classes[1]
    ]
    if not lines and list(classes[0]) != list(classes[1]):
        lines.append("classes: in another order")
    before, after = (dict(_flatten(each)) for each in (before, after))
    names = [*after, *(name for name in before if name not in after)]
    measured = [name for unit in _UNITS for name in names if name[0] == unit]
    for name in [*measured, *(name for name in names if name not in measured)]:
        values = [each.get(name) for each in (before, after)]
        if values[0] != values[1]:
            shown = " -> ".join(_show(name[0], value) for value in values)
            lines.append(f"{' '.join(name)}: {shown}")
    return lines


class _Metadata(TypedDict):
    runs: NotRequired[list[dict[str, Any]]]


def _read(folder: Path) -> dict[str, Any]:
    require_whole(folder, str(folder))
    metadata = read_json(folder / METADATA_FILE, _Metadata, "export the version again")
    for name in ("version", "created", "sha256"):  # They differ by their nature.
        metadata.pop(name, None)
    for run in metadata.get("runs", ()):
        for name in _NAMES:
            run.pop(name, None)
    return metadata


def _flatten(value: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple, Any]]:
    """Pairs of the path to an innermost value and the value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flatten(inner, (*name, key))
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for index, inner in enumerate(value, 1):
            yield from _flatten(inner, (*name, str(index)))
    else:
        yield name, value


def _show(kind: str, value: Any) -> str:
    if value is None:
        return "none"
    # Names are shown with what a terminal would act on escaped.
    return _UNITS.get(kind, repr)(value)
