"""What a model costs: parameters, size, operations and time."""

import functools
import operator
import os
import time
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict

import keras
import numpy as np

from v1keras.evaluation.lineup import Lineup
from v1keras.files import write_json
from v1keras.layers import noise
from v1keras.reading import read_json
from v1keras.training.engine import get_engine

_FILE = "costs.json"
_REPEATS = 20


class Cost(NamedTuple):
    """What one model costs.

    Args:
        parameters: int. All numbers in its weights, trained or not.
        bytes: int. Their size in memory.
        operations: int. Floating-point operations an image; a multiplication and an
            addition are two.
        milliseconds: float. Shortest time of one image by itself, on `device`: what
            else a machine does only makes calls longer.
        device: str. What the time was measured on: `"CPU"` or `"GPU"`.
    """

    parameters: int
    bytes: int
    operations: int
    milliseconds: float
    device: str

    def __add__(self, other: "Cost") -> "Cost":
        """What both cost, one after the other."""
        return Cost(
            *(a + b for a, b in zip(self[:4], other[:4], strict=True)), self.device
        )


def measure_cost(model: keras.Model) -> Cost:
    """Counts and times a model on the images that it takes.

    Its noise is on, as it is while robustness is measured.

    Args:
        model: `keras.Model` that takes images `(batch, height, width, channels)`.

    Returns:
        `Cost`.

    Example:

    >>> model = v1keras.Run.open("runs/base").load_model()
    >>> cost = measure_cost(model)
    >>> cost.parameters == model.count_params()
    True
    """
    engine = get_engine()
    with noise(model, "stochastic", 0):
        operations = engine.count_operations(model)
        call = engine.compiled(model)
        image = np.zeros((1, *model.input_shape[1:]), np.uint8)
        call(image)
        times = []
        for _ in range(_REPEATS):
            started = time.perf_counter()
            call(image)
            times.append(1000 * (time.perf_counter() - started))
    return Cost(
        parameters=model.count_params(),
        bytes=sum(
            np.dtype(w.dtype).itemsize * int(np.prod(w.shape)) for w in model.weights
        ),
        operations=operations,
        milliseconds=round(min(times), 3),
        device=engine.device_name(),
    )


_CostFields = TypedDict("_CostFields", typing.get_type_hints(Cost))


class _Entry(TypedDict):
    """What `costs.json` holds of a model."""

    fingerprint: str
    cost: _CostFields


def measure_costs(
    out: str | os.PathLike,
    models: Mapping[str, keras.Model],
    fingerprints: Mapping[str, str],
) -> dict[str, Cost]:
    """The costs of some models, each measured once.

    Args:
        out: str or path. The folder of an evaluation, where `costs.json` keeps them.
        models: mapping from name to `keras.Model`; one is looked up only if its cost is
            not known.
        fingerprints: mapping from name to a str that changes with the model's weights.

    Returns:
        dict from name to `Cost`.
    """
    file = Path(out) / _FILE
    remedy = "remove it, and the costs are measured again"
    stored = read_json(file, dict[str, _Entry], remedy) if file.is_file() else {}
    known = {
        name: Cost(**entry["cost"])
        for name, entry in stored.items()
        if entry["fingerprint"] == fingerprints.get(name)
    }
    costs = {n: known[n] if n in known else measure_cost(models[n]) for n in models}
    if costs.keys() - known.keys():
        record = {
            name: {"fingerprint": fingerprints[name], "cost": cost._asdict()}
            for name, cost in costs.items()
        }
        write_json(file, {**stored, **record})
    return costs


def costs_of_lineup(lineup: Lineup, costs: Mapping[str, Cost]) -> dict[str, Cost]:
    """The costs of all that a lineup shows; an ensemble costs what its members do.

    Args:
        lineup: `Lineup`.
        costs: mapping from model to `Cost`, of all that the lineup measures.

    Returns:
        dict from model or ensemble to `Cost`.
    """
    ensembles = {
        name: functools.reduce(operator.add, (costs[part] for part in parts))
        for name, parts in lineup.ensembles.items()
    }
    return {**{name: costs[name] for name in lineup.models}, **ensembles}
