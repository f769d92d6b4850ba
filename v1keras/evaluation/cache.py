"""The logits of an evaluation on disk: one file per cell, written atomically."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import numpy as np

from v1keras.evaluation.cells import CLEAN, Cell
from v1keras.files import atomic_write, claim, write_json
from v1keras.reading import check_array, open_archive, read_json

# The folder of the logits within that of an evaluation.
LOGITS = "logits"
MANIFEST = "manifest.json"
# The entry for how clean images are shown, within the settings of their data set.
SHOWN = "shown"
_PREFIX = "logits/"
_SAMPLE, _SAMPLE_ID = "sample", "sample_id"
_REMEDY = "remove it, and its cell is computed again"


class Sample(NamedTuple):
    """A picture of what a cell shows.

    Args:
        image: uint8 array of shape `(height, width, 3)`, RGB.
        id: str or None. The image's, where it is known.
    """

    image: np.ndarray
    id: str | None = None


class _Manifest(TypedDict):
    settings: dict[str, Any]
    models: dict[str, str]
    cells: NotRequired[dict[str, str]]


class CellLogits(NamedTuple):
    """What the models answered in one cell.

    Args:
        labels: int array of shape `(images,)`.
        ids: str array of shape `(images,)`.
        logits: dict from model name to an array of shape `(draws, images, classes)`.
    """

    labels: np.ndarray
    ids: np.ndarray
    logits: dict[str, np.ndarray]


class LogitCache:
    """A folder of logits, one `.npz` per cell, that a rerun resumes.

    A manifest holds what the logits depend on. The folder opens for these very settings
    only, so that logits of different images, seeds or weights never meet.

    Args:
        path: str or path. The folder; made when logits are added.
        settings: dict that can be written as JSON. What all logits depend on: images,
            seed, noise draws, number type.
        models: dict from model name to a string that changes with its weights.
        images: dict from `Cell` to a string that changes with its images, of the cells
            of which `settings` does not tell it. Defaults to none.

    Attributes:
        fingerprints: dict from model name to that string, of all models that have
            logits here or are to have some.

    Raises:
        FileExistsError: if the folder holds something else, or logits that were made
            with other settings, weights or images.

    Example:

    >>> cache = LogitCache("logits", {"seed": 0}, {"base": "3f2a"})
    >>> answers = {"base": np.zeros((1, 8, 10))}
    >>> cache.add(Cell("fog", 1), np.zeros(8, int), np.arange(8), answers)
    >>> cache.read(Cell("fog", 1)).logits["base"].shape
    (1, 8, 10)
    """

    def __init__(
        self,
        path: str | os.PathLike,
        settings: Mapping[str, Any],
        models: Mapping[str, str],
        images: Mapping[Cell, str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.settings = json.loads(json.dumps(dict(settings)))
        self._stored = claim(
            self.path,
            MANIFEST,
            {"settings": self.settings},
            what="evaluation",
            defaults=_taken_as_equal(self.settings),
        )
        manifest = _read_manifest(self.path) if self._stored else {}
        here = {str(cell): value for cell, value in (images or {}).items()}
        self._cells = self._joined(
            "images", manifest.get("cells", {}), here, "`out` be a new folder"
        )
        self.fingerprints = self._joined(
            "weights", manifest.get("models", {}), models, "the models have new names"
        )
        self._known: dict[Cell, set[str]] = {}

    @classmethod
    def exists(cls, path: str | os.PathLike) -> bool:
        """Whether a folder is one of logits."""
        return (Path(path) / MANIFEST).is_file()

    @classmethod
    def open(cls, path: str | os.PathLike) -> "LogitCache":
        """Opens an existing folder of logits, whatever it was made with.

        Raises:
            FileNotFoundError: if the folder is none.
            ValueError: if its manifest is damaged.
        """
        if not cls.exists(path):
            raise FileNotFoundError(f"{path} is not a folder of logits.")
        stored = _read_manifest(Path(path))
        return cls(path, stored["settings"], stored["models"])

    def _joined(
        self, what: str, stored: dict[str, str], now: Mapping[str, str], remedy: str
    ) -> dict[str, str]:
        """What is stored and what is here, which must agree in what both have."""
        changed = [name for name in now if stored.get(name, now[name]) != now[name]]
        if changed:
            raise FileExistsError(
                f"The {what} must be those that {self.path} holds logits of, or {remedy}. "
                f"Received: other {what} of {', '.join(changed[:3])} than those in its "
                f"{MANIFEST}"
            )
        return {**stored, **now}

    def file(self, cell: Cell) -> Path:
        """Where the logits of a cell are."""
        return self.path / f"{cell}.npz"

    def cells(self) -> set[Cell]:
        """The cells that there are logits of."""
        parts = (path.stem.rpartition("-") for path in self.path.glob("*-?.npz"))
        return {Cell(name, int(severity)) for name, _, severity in parts}

    def models(self, cell: Cell) -> set[str]:
        """The names of the models whose logits a cell holds."""
        if cell not in self._known:
            self._known[cell] = set()
            if self.file(cell).is_file():
                with open_archive(self.file(cell), _REMEDY) as data:
                    self._known[cell] = {
                        key.removeprefix(_PREFIX)
                        for key in data
                        if key.startswith(_PREFIX)
                    }
        return self._known[cell]

    def read(self, cell: Cell, models: Iterable[str] | None = None) -> CellLogits:
        """The logits of a cell.

        Args:
            cell: `Cell`.
            models: iterable of str or None. The models wanted. Defaults to all.

        Returns:
            A `CellLogits`.

        Raises:
            FileNotFoundError: if the cell lacks one of the models.
            ValueError: if the file is damaged or logits are not finite.
        """
        names = self.models(cell) if models is None else list(models)
        missing = sorted(set(names) - self.models(cell))
        if missing or not names:
            raise FileNotFoundError(
                f"{self.file(cell)} holds no logits of "
                f"{', '.join(missing) or 'any model'}."
            )
        with open_archive(self.file(cell), _REMEDY) as data:
            labels, ids = data["labels"], data["ids"]
            check_array(labels, "labels", dtype=np.integer, shape=(None,))
            check_array(ids, "ids", dtype=np.str_, shape=labels.shape)
            logits = {name: data[_PREFIX + name] for name in names}
            shape = (None, len(labels), None)
            for name, values in logits.items():
                check_array(values, name, dtype=np.floating, shape=shape)
                if not values.size or labels.max() >= values.shape[2]:
                    raise ValueError(f"{name} has {values.shape[2]} classes only")
        _check_finite(logits, cell, self.settings.get("dtype"))
        return CellLogits(labels, ids, logits)

    def add(
        self,
        cell: Cell,
        labels: np.ndarray,
        ids: np.ndarray,
        logits: Mapping[str, np.ndarray],
        *,
        sample: Sample | None = None,
    ) -> None:
        """Adds the logits of some models to a cell, beside those already there.

        Args:
            cell: `Cell`.
            labels: int array of shape `(images,)`.
            ids: sequence of str of that length.
            logits: dict from model to an array of shape `(draws, images, classes)`.
            sample: `Sample` or None. What was shown, for the report.

        Raises:
            ValueError: if the cell holds logits of other images, or logits are not
                finite.
        """
        _check_finite(logits, cell, self.settings.get("dtype"))
        ids = np.asarray(ids).astype(str)
        arrays = {_PREFIX + name: value for name, value in logits.items()}
        if self.models(cell):
            stored = self.read(cell)
            if not (
                np.array_equal(stored.ids, ids)
                and np.array_equal(stored.labels, labels)
            ):
                raise ValueError(
                    f"`ids` and `labels` must be those that {self.path} holds for "
                    f"{cell}. Received: {len(ids)} other images"
                )
            arrays = {_PREFIX + k: v for k, v in stored.logits.items()} | arrays
        if sample is not None:
            arrays[_SAMPLE] = sample.image
            if sample.id is not None:
                arrays[_SAMPLE_ID] = np.array(sample.id)
        manifest = {"settings": self.settings, "models": self.fingerprints}
        if self._cells:
            manifest["cells"] = self._cells
        if manifest != self._stored:
            write_json(self.path / MANIFEST, manifest)
            self._stored = manifest
        with atomic_write(self.file(cell)) as temporary:
            np.savez(temporary, labels=labels, ids=ids, **arrays)
        self._known.pop(cell, None)

    def sample(self, cell: Cell) -> Sample | None:
        """The picture that was stored with a cell."""
        if not self.file(cell).is_file():
            return None
        with open_archive(self.file(cell), _REMEDY) as data:
            if _SAMPLE not in data:
                return None
            image = data[_SAMPLE]
            check_array(image, _SAMPLE, dtype=np.uint8, shape=(None, None, 3))
            name = str(data[_SAMPLE_ID]) if _SAMPLE_ID in data else None
            return Sample(image, name)


def _taken_as_equal(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a manifest with these settings that version 0.1.0 did not write."""
    images = settings.get("images", {})
    # Of clean images alone, these are the settings.
    clean = images.get("clean", images)
    if SHOWN not in clean:
        return {}
    shown = {SHOWN: clean[SHOWN]}
    return {"settings": {"images": {"clean": shown} if "clean" in images else shown}}


def _check_finite(logits: Mapping[str, np.ndarray], cell: Cell, dtype: str) -> None:
    wrong = [name for name, value in logits.items() if not np.isfinite(value).all()]
    if wrong:
        narrow = "; float16 holds none beyond 65504" if dtype == "float16" else ""
        raise ValueError(
            f"`models` must give finite logits{narrow}. Received: NaN or infinite logits "
            f"of {', '.join(wrong)} for {cell}"
        )


def _read_manifest(folder: Path) -> _Manifest:
    remedy = f"remove {folder}, and all is computed again"
    return read_json(folder / MANIFEST, _Manifest, remedy)


def read_samples(
    out: str | os.PathLike, cells: Iterable[Cell], severities: Iterable[int] = (1, 3, 5)
) -> dict[Cell, Sample]:
    """Pictures of what an evaluation showed, for a report.

    Args:
        out: str or path. The folder of the evaluation.
        cells: iterable of `Cell`.
        severities: iterable of int. Which severities. Defaults to 1, 3 and 5; all that
            there are where none of them was measured.

    Returns:
        dict from `Cell` to `Sample`.
    """
    cache = LogitCache.open(Path(out) / LOGITS)
    corrupted = [cell for cell in cells if cell != CLEAN]
    chosen = [cell for cell in corrupted if cell.severity in severities] or corrupted
    samples = {cell: cache.sample(cell) for cell in (CLEAN, *chosen)}
    return {cell: sample for cell, sample in samples.items() if sample is not None}
