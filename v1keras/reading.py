"""Reading files that may be damaged: whichever library notices, one kind of message.

Nothing here runs code that a file holds: pickled objects are refused.
"""

import contextlib
import csv
import dataclasses
import json
import math
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from v1keras.escaping import unescape_csv

# How much of a foreign message is shown.
_SHOWN = 200


@contextlib.contextmanager
def reading(path: str | os.PathLike, remedy: str) -> Iterator[None]:
    """Makes one `ValueError` of whatever is raised while a file is read.

    A missing file, and one that may not be read, are no damage: such an `OSError`
    names its file and passes.

    Args:
        path: str or path. The file that the body reads.
        remedy: str. What to do about it, in words that follow a colon.

    Raises:
        ValueError: "PATH is damaged (WHAT IS WRONG): REMEDY".

    Example:

    >>> with reading("result.txt", "make it again"):
    ...     int("four")
    Traceback (most recent call last):
    ValueError: result.txt is damaged (invalid literal for int() ...): make it again
    """
    try:
        yield
    except Exception as error:  # NumPy alone raises ten kinds
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise ValueError(f"{path} is damaged ({reason(error)}): {remedy}") from error


def reason(error: Exception) -> str:
    """What an exception of any library says, on one line that is not too long."""
    text = f"no {error}" if isinstance(error, KeyError) else str(error)
    text = re.sub(r"\{\{.*?\}\}", "", text)  # where in TensorFlow's graph
    return " ".join(text.split())[:_SHOWN] or type(error).__name__


def read_text(path: str | os.PathLike, remedy: str) -> str:
    """The text of a file in UTF-8, its line ends as they are.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is damaged.
    """
    with reading(path, remedy):
        return Path(path).read_bytes().decode("utf-8")


def read_json(path: str | os.PathLike, form: Any, remedy: str) -> Any:
    """The content of a JSON file, of which every entry has been checked.

    Args:
        path: str or path.
        form: type. What it must be; see `check_form`.
        remedy: str. What to do if it is not.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is damaged.

    Example:

    >>> Path("sizes.json").write_text('{"train": 60}')
    13
    >>> read_json("sizes.json", dict[str, int], "make it again")
    {'train': 60}
    """
    with reading(path, remedy):
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        check_form(content, form)
    return content


def check_form(value: Any, form: Any, name: str = "it") -> None:
    """Refuses a value from JSON that is not of a type.

    Args:
        value: what `json.loads` gives.
        form: type. `str`, `bool`, `int` (of 64 bits), `float` (finite), `None`, `Any`, a
            `Literal`, a union, `list[X]`, `tuple[X, ...]`, `dict[str, X]`, a
            `TypedDict`, or a dataclass, of whose fields none need be there. Further
            entries do not matter.
        name: str. What it is, for messages.

    Raises:
        ValueError: if it is none; it names the entry.
    """
    origin, arguments = typing.get_origin(form), typing.get_args(form)
    if origin in (typing.Union, types.UnionType):
        errors = []
        for each in arguments:
            try:
                return check_form(value, each, name)
            except ValueError as error:
                errors.append(error)
        raise errors[0]
    is_typed_dict = typing.is_typeddict(form)
    if is_typed_dict or dataclasses.is_dataclass(form) or origin is dict:
        _require(isinstance(value, dict), value, name, "an object")
        if origin is dict:
            forms = dict.fromkeys(value, arguments[1])
        else:
            forms = typing.get_type_hints(form)
            required = form.__required_keys__ if is_typed_dict else ()
            lacking = sorted(set(required) - value.keys())
            if lacking:
                raise ValueError(f"no entry {', '.join(lacking)} in {name}")
        for entry in (each for each in forms if each in value):
            check_form(value[entry], forms[entry], entry)
    elif origin in (list, tuple):
        _require(isinstance(value, list), value, name, "a list")
        for index, inner in enumerate(value):
            check_form(inner, arguments[0], f"{name}[{index}]")
    elif origin is Literal:
        _require(value in arguments, value, name, f"one of {', '.join(arguments)}")
    elif form is not Any:
        what, is_one = _SIMPLE[form]
        _require(is_one(value), value, name, what)


def _is_number(value: Any, kind: Any, largest: float) -> bool:
    is_one = isinstance(value, kind) and not isinstance(value, bool)
    return is_one and -largest <= value <= largest


_SIMPLE: Mapping[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("true or false", lambda value: isinstance(value, bool)),
    dict: ("an object", lambda value: isinstance(value, dict)),
    float: (
        "a finite number",
        lambda value: _is_number(value, float | int, sys.float_info.max),
    ),
    int: (
        "a whole number of 64 bits",
        lambda value: _is_number(value, int, np.iinfo(np.int64).max),
    ),
    # Arrays are lists of lists in JSON, whose numbers their users check.
    np.ndarray: ("a list", lambda value: isinstance(value, list)),
    str: ("a text", lambda value: isinstance(value, str)),
    types.NoneType: ("null", lambda value: value is None),
}


def _require(holds: bool, value: Any, name: str, what: str) -> None:
    if not holds:
        shown = repr(value)
        shown = shown if len(shown) <= 40 else f"{shown[:40]}..."
        raise ValueError(f"{name} must be {what}, not {shown}")


def read_array(
    path: str | os.PathLike,
    remedy: str,
    *,
    dtype: Any,
    shape: Sequence[int | None],
    mmap: bool = False,
) -> np.ndarray:
    """The array of an `.npy` file.

    Args:
        path: str or path.
        remedy: str. What to do if it is damaged.
        dtype: NumPy type that it must have, such as `np.integer` for any of its kind.
        shape: sequence of int or None. The lengths it must have, `None` for any.
        mmap: bool. Whether its content is read as it is used. Defaults to `False`.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is damaged.
    """
    with reading(path, remedy):
        array = np.load(path, mmap_mode="r" if mmap else None)
        check_array(array, Path(path).name, dtype=dtype, shape=shape)
    return array


@contextlib.contextmanager
def open_archive(
    path: str | os.PathLike, remedy: str
) -> Iterator[Mapping[str, np.ndarray]]:
    """Opens an `.npz` file, whose arrays are read as they are looked up in the body.

    Args:
        path: str or path.
        remedy: str. What to do if it is damaged.

    Yields:
        Mapping from name to array.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is damaged, or the body finds it wanting.
    """
    with reading(path, remedy), np.lib.npyio.NpzFile(os.fspath(path)) as archive:
        yield archive


def check_array(
    array: Any, name: str, *, dtype: Any, shape: Sequence[int | None]
) -> None:
    """Refuses what is no array of a type and shape; see `read_array`.

    Raises:
        ValueError: if it is none; it says what it is.
    """
    found = getattr(array, "shape", ())
    fits = len(found) == len(shape) and np.issubdtype(array.dtype, dtype)
    if not (fits and all(b in (None, a) for a, b in zip(found, shape, strict=True))):
        wanted = ", ".join("n" if each is None else str(each) for each in shape)
        what = f"{array.dtype} {found}" if found else type(array).__name__
        raise ValueError(f"{name} must be {dtype.__name__} ({wanted}), not {what}")


def read_table(
    path: str | os.PathLike,
    columns: Mapping[str, type],
    remedy: str,
    *,
    optional: Mapping[str, type] | None = None,
    others: type = str,
) -> list[dict[str, Any]]:
    """The rows of a CSV file with a header.

    Args:
        path: str or path.
        columns: mapping from the name of a column that must be there to its type: `str`,
            `int`, `float` (finite), or `float | None`, whose empty fields are `None`.
        remedy: str. What to do if the file is damaged.
        optional: mapping or None. The types of columns that may be missing.
        others: type. That of all other columns. Defaults to `str`.

    Returns:
        list of dicts, whose values have these types.

    Raises:
        OSError: if there is no such file, or it may not be read.
        ValueError: if it is damaged.
    """
    form = {**(optional or {}), **columns}
    with (
        reading(path, remedy),
        Path(path).open(newline="", encoding="utf-8") as lines,
    ):
        reader = csv.DictReader(lines)
        names = [unescape_csv(name) for name in reader.fieldnames or ()]
        reader.fieldnames = names
        lacking = [name for name in columns if name not in names]
        if lacking or len(set(names)) < len(names):
            raise ValueError(
                f"no column {', '.join(lacking)}" if lacking else "a column twice"
            )
        rows = []
        for row in reader:
            if None in row or None in row.values():
                raise ValueError(f"line {reader.line_num} has not one value a column")
            rows.append(
                {name: _parsed(row[name], form.get(name, others), name) for name in row}
            )
    return rows


def _parsed(text: str, form: Any, name: str) -> Any:
    if form is str:
        return unescape_csv(text)
    if form == float | None:
        if not text:
            return None
        form = float
    value = form(text)
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {text}")
    return value
