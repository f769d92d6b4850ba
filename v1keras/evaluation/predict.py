"""One pass over all cells: every image is made once and shown to all models."""

import collections
import contextlib
import functools
import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np

from v1keras.data.images import read_ahead
from v1keras.escaping import say
from v1keras.evaluation.cache import LogitCache, Sample
from v1keras.evaluation.cells import Cell
from v1keras.evaluation.images import CellImages
from v1keras.layers import is_stochastic, noise
from v1keras.quiet import verbosity
from v1keras.training.engine import get_engine

LOGITS_DTYPES = ("float32", "float16")


def weights_fingerprint(model: keras.Model) -> str:
    """A hash of a model's weights, for models that do not come from a file."""
    digest = hashlib.sha256()
    for weight in model.weights:
        digest.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).data)
    return digest.hexdigest()


def open_cache(
    path: str | os.PathLike,
    fingerprints: Mapping[str, str],
    images: CellImages,
    *,
    noise_samples: int = 1,
    seed: int = 0,
    dtype: str = "float32",
    batch: int | None = None,
    classes: Sequence[int] | None = None,
) -> LogitCache:
    """Opens the folder of logits for these models, images and settings.

    Args:
        path: str or path. A new folder, or one of an evaluation with equal settings.
        fingerprints: mapping from the name of a model to a str that changes with its
            weights, such as `weights_fingerprint` gives.
        images: `CellImages`.
        noise_samples: int. Noise draws of stochastic models. Defaults to `1`.
        seed: int. Seed of the noise. Defaults to `0`.
        dtype: str. `"float32"` or `"float16"`, which halves the files. Defaults to
            `"float32"`.
        batch: int or None. The size of batches on which the logits depend. Defaults to
            none: each image is answered by itself.
        classes: sequence of int or None. Which logits of a model are kept, in the order
            of the labels; those of other classes are left out. Defaults to all.

    Returns:
        A `LogitCache`.

    Raises:
        FileExistsError: if the folder is of something else, or of other settings.
    """
    if noise_samples < 1:
        raise ValueError(
            "`noise_samples` must be at least 1. "
            f"Received: noise_samples={noise_samples}"
        )
    if dtype not in LOGITS_DTYPES:
        raise ValueError(
            f"`dtype` must be one of {', '.join(LOGITS_DTYPES)}. "
            f"Received: dtype={dtype!r}"
        )
    settings = {
        "images": images.settings,
        "noise_samples": noise_samples,
        "seed": seed,
        "dtype": dtype,
        **({} if batch is None else {"batch": batch}),
        **({} if classes is None else {"classes": [int(each) for each in classes]}),
    }
    return LogitCache(path, settings, fingerprints, images.fingerprints)


def predict_cells(
    cache: LogitCache,
    models: Mapping[str, keras.Model],
    images: CellImages,
    cells: Sequence[Cell],
    *,
    batch_size: int = 128,
    progress: bool = True,
) -> None:
    """Fills the cache with the logits of all models in all cells.

    The seed of the noise, the number of draws (one for models without noise), the
    classes and the number type are those that the cache was opened with. Cells that it
    holds already are skipped, and a model is looked up only if a cell lacks it. The
    noise of a model starts from a seed of its own in every cell, so an evaluation that
    was interrupted and resumed gives the same logits as an uninterrupted one.

    Args:
        cache: `LogitCache`. From `open_cache`.
        models: mapping from name to `keras.Model` that takes images in 0..255 and
            returns logits. Their V1 noise is on while they are measured.
        images: `CellImages`.
        cells: sequence of `Cell`.
        batch_size: int. Defaults to `128`.
        progress: bool. Whether to show a progress bar, or in a file a line for each
            corruption. Defaults to `True`.

    Raises:
        ValueError: if models do not fit each other.
    """
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be at least 1. Received: batch_size={batch_size}"
        )
    missing = {
        cell: [name for name in models if name not in cache.models(cell)]
        for cell in dict.fromkeys(cells)
    }
    needed = dict.fromkeys(name for names in missing.values() for name in names)
    models = {name: models[name] for name in needed}
    check_models(models)
    draws, seed = cache.settings["noise_samples"], cache.settings["seed"]
    tell = _progress(list(missing)) if progress else lambda cell: None
    predictors = {name: _Predictor(model, draws) for name, model in models.items()}
    for cell, names in missing.items():
        with contextlib.ExitStack() as noise_is_on:
            for name in names:
                mode = noise(models[name], "stochastic", _seed(seed, name, cell))
                noise_is_on.enter_context(mode)
            if names:
                those = {name: predictors[name] for name in names}
                _predict_cell(cache, cell, those, images, batch_size)
        tell(cell)


def _progress(cells: Sequence[Cell]) -> Callable[[Cell], None]:
    """What is told when a cell is done: a bar, or in a file one line a corruption."""
    if verbosity() == 1:
        bar = keras.utils.Progbar(len(cells), unit_name="cell")
        return lambda cell: bar.add(1)
    left = collections.Counter(cell.corruption for cell in cells)
    started, total = time.monotonic(), len(left)

    def line(cell: Cell) -> None:
        left[cell.corruption] -= 1
        if not left[cell.corruption]:
            del left[cell.corruption]
            seconds = time.monotonic() - started
            say(f"{total - len(left)}/{total} {cell.corruption}: {seconds:.0f} s")

    return line


def _predict_cell(
    cache: LogitCache,
    cell: Cell,
    predictors: Mapping[str, "_Predictor"],
    images: CellImages,
    batch_size: int,
) -> None:
    logits: dict[str, list[np.ndarray]] = {name: [] for name in predictors}
    classes = cache.settings.get("classes", slice(None))
    labels, ids = [], []
    sample = None
    for batch in read_ahead(images.batches(cell, batch_size)):
        labels.append(batch.labels)
        ids.append(batch.ids)
        if sample is None or images.sample_id in batch.ids:
            place = np.argmax(batch.ids == images.sample_id)
            sample = Sample(batch.images[place], str(batch.ids[place]))
        for name, predictor in predictors.items():
            with np.errstate(over="ignore"):  # the cache refuses infinite logits
                answers = predictor(batch.images)[..., classes].astype(
                    cache.settings["dtype"]
                )
            logits[name].append(answers)
    cache.add(
        cell,
        np.concatenate(labels),
        np.concatenate(ids),
        {name: np.concatenate(parts, 1) for name, parts in logits.items()},
        sample=sample,
    )


def check_models(models: Mapping[str, keras.Model]) -> None:
    """Refuses models that cannot be shown the same images and classes.

    Raises:
        ValueError: if there are any; it names two of them.
    """
    first = next(iter(models), None)
    for name, model in models.items():
        if len(model.input_shape) != 4 or len(model.output_shape) != 2:
            raise ValueError(
                "`models` must take images and return one vector of logits. Received: "
                f"{name} from {model.input_shape} to {model.output_shape}"
            )
        for what in ("input_shape", "output_shape"):
            mine, other = getattr(model, what), getattr(models[first], what)
            if mine != other:
                raise ValueError(
                    "`models` must take the same images and know the same classes. "
                    f"Received: {what} {other} of {first}, {mine} of {name}"
                )


class _Predictor:
    """A compiled model, called several times per batch if it is stochastic."""

    def __init__(self, model: keras.Model, noise_samples: int) -> None:
        self._model = model
        self._noise_samples = noise_samples

    # Both are found out when they are needed, after the noise was switched on.
    @functools.cached_property
    def _draws(self) -> int:
        return self._noise_samples if is_stochastic(self._model) else 1

    @functools.cached_property
    def _call(self) -> Callable[[np.ndarray], np.ndarray]:
        # Later calls of `noise` only change the seed, which is a variable.
        return get_engine().compiled(self._model)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.stack([self._call(images) for _ in range(self._draws)])


def _seed(seed: int, name: str, cell: Cell) -> int:
    """A seed that depends on what it is for, not on what ran before."""
    digest = hashlib.sha256(f"{seed}/{name}/{cell}".encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF
