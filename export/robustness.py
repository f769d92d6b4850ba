"""What an evaluation has measured about a run, read from its tables."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from v1keras.training import Run

_CELLS_FILE, _SUMMARY_FILE = "robustness.csv", "summary.csv"
_ENSEMBLE_ROLE = "ensemble"


@dataclasses.dataclass(frozen=True)
class Robustness:
    """The rows of one model.

    Args:
        cells: tuple of dict. Rows of `robustness.csv`: one for each corruption and
            severity, and one for clean images.
        summary: dict or None. The row of `summary.csv`, which has the intervals of
            means, where there is such a file.
    """

    cells: tuple[Mapping[str, str], ...]
    summary: Mapping[str, str] | None


def read_robustness(
    runs: Sequence[Run], evaluation: str | None = None
) -> Robustness | None:
    """Reads the evaluation of a run, or of an ensemble of runs.

    Args:
        runs: sequence of `Run`. Several are an ensemble.
        evaluation: str or None. A folder of `v1keras.evaluate`, or its
            `robustness.csv`. `None` looks for the file in the folder of a single run,
            where `v1keras.evaluate` leaves it.

    Returns:
        `Robustness`, or None where there is none.

    Raises:
        FileNotFoundError: if `evaluation` is not there.
        ValueError: if it says nothing about the runs, or is no evaluation.
    """
    if evaluation is None:
        file = runs[0].path / _CELLS_FILE
        if len(runs) > 1 or not file.is_file():
            return None
    else:
        file = Path(evaluation)
        file = file / _CELLS_FILE if file.is_dir() else file
    try:
        cells = tuple(row for row in _rows(file) if _is_about(row, runs))
        summaries = [
            row
            for row in _rows(file.with_name(_SUMMARY_FILE), missing_ok=True)
            if _is_about(row, runs)
        ]
    except (KeyError, csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{file} is no table of v1keras.evaluate") from error
    if not cells:
        name = runs[0].name if len(runs) == 1 else "an ensemble"
        raise ValueError(f"{file} says nothing about {name}")
    return Robustness(cells, summaries[0] if summaries else None)


def _rows(file: Path, *, missing_ok: bool = False) -> list[dict[str, str]]:
    if missing_ok and not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _is_about(row: Mapping[str, str], runs: Sequence[Run]) -> bool:
    if len(runs) > 1:
        return row["role"] == _ENSEMBLE_ROLE
    # Where two runs share a folder's name, an evaluation tells them apart by more of
    # their paths.
    return Path(row["model"]).name == runs[0].name and row["role"] != _ENSEMBLE_ROLE
