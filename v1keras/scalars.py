"""Numbers that callers give: those of NumPy become Python's, seeds have one range."""

import contextlib
import operator
from typing import Any

import numpy as np

LARGEST_SEED = 2**32 - 1
"""NumPy's legacy generator and Keras on JAX and PyTorch have seeds of 32 bits."""


def as_python(value: Any) -> Any:
    """A scalar of NumPy as one of Python, which JSON holds; others as they are."""
    return value.item() if isinstance(value, np.generic) else value


def as_integer(value: Any, name: str) -> int:
    """A whole number as an int; a bool is none.

    Raises:
        ValueError: if it is no whole number; it says that `name` must be one.

    Example:

    >>> as_integer(np.int64(3), "epochs")
    3
    """
    if not isinstance(value, bool):
        with contextlib.suppress(TypeError):
            return operator.index(value)
    raise ValueError(f"`{name}` must be an integer. Received: {name}={value!r}")


def as_seed(value: Any, name: str = "seed") -> int:
    """A seed as an int. Two different ones never stand for the same random numbers.

    Raises:
        ValueError: if it is no whole number from 0 to `LARGEST_SEED`.
    """
    seed = as_integer(value, name)
    if not 0 <= seed <= LARGEST_SEED:
        raise ValueError(
            f"`{name}` must be from 0 to {LARGEST_SEED}. Received: {name}={seed}"
        )
    return seed
