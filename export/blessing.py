"""The markers of TFX: what a version has passed, and what a refused one failed.

A version that is served carries `INFRA_BLESSED` and `BLESSED`. Of a refused one only
the markers stay: `<out>/.rejected/<Unix seconds>/` holds `INFRA_NOT_BLESSED`, or
`INFRA_BLESSED` and `NOT_BLESSED`. Servers only look at folders whose names are numbers.
Each marker is a JSON object with the reasons and the figures behind them.
"""

import errno
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from v1keras.files import atomic_write, write_json

INFRA_BLESSED = "INFRA_BLESSED"
INFRA_NOT_BLESSED = "INFRA_NOT_BLESSED"
BLESSED = "BLESSED"
NOT_BLESSED = "NOT_BLESSED"
REJECTED_FOLDER = ".rejected"

_FAILURES = {
    INFRA_NOT_BLESSED: "the files do not answer like the Keras model",
    NOT_BLESSED: "it is not good enough",
}


class RejectedError(ValueError):
    """An export that is not fit to be served.

    Args:
        marker: str. `INFRA_NOT_BLESSED` or `NOT_BLESSED`.
        reasons: iterable of str. What it failed.
        figures: dict or None. What was measured. Defaults to `None`.

    Attributes:
        folder: Path or None. Where the markers were kept, once they are.
    """

    folder: Path | None = None

    def __init__(
        self,
        marker: str,
        reasons: Iterable[str],
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        reasons = list(reasons)
        self.marker = marker
        self.content = {**(figures or {}), "reasons": reasons}
        super().__init__(
            f"nothing was exported, because {_FAILURES[marker]}: {'; '.join(reasons)}"
        )

    def __str__(self) -> str:
        kept = f" (markers in {self.folder})" if self.folder else ""
        return super().__str__() + kept


def write_markers(
    folder: str | os.PathLike, markers: Mapping[str, Mapping[str, Any]]
) -> None:
    """Writes markers, a dict from the name of each to its content, into a folder."""
    for name, content in markers.items():
        write_json(Path(folder) / name, content)


def write_rejection(
    out: str | os.PathLike, markers: Mapping[str, Mapping[str, Any]]
) -> Path:
    """Keeps the markers of a refused export where servers do not look.

    Args:
        out: str or path. The served folder.
        markers: dict from the name of a marker to its content.

    Returns:
        Path of the new folder, `<out>/.rejected/<Unix seconds>`.
    """
    number = int(time.time())
    while True:
        path = Path(out) / REJECTED_FOLDER / str(number)
        try:
            with atomic_write(path) as temporary:
                temporary.mkdir()
                write_markers(temporary, markers)
        except OSError as error:
            # Renaming a folder never replaces one that holds files.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            number += 1
        else:
            return path
