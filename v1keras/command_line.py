"""Command lines made from frozen dataclasses.

Each command line has one frozen dataclass as its configuration. Its fields are the
flags, so that Python callers and shell users set the same names, and the resolved
configuration can be saved as it is. Flags live in an `absl.flags.FlagValues` of their
own: several command-line modules can be imported into one process.
"""

import dataclasses
import functools
import math
import os
import re
import sys
import textwrap
import traceback
import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import flags

from v1keras.endings import ends_in_order, exit_code
from v1keras.escaping import say
from v1keras.quiet import silence_image_libraries, start_backend
from v1keras.reading import check_form, read_json, reading, reason
from v1keras.scalars import LARGEST_SEED, as_integer, as_python

_REQUIRED = "required"
_CONFIG = "config"
_LISTS = (tuple[str, ...], tuple[int, ...])

# Flags of several commands on which the memory that they take depends.
_TAKE_MEMORY = ("batch_size", "width", "image_size", "workers")

# What `v1keras.reading` takes from the JSON files that keep settings.
_LARGEST_INTEGER = 2**63 - 1


def option(
    default: Any = None,
    help: str = "",
    *,
    choices: Sequence[str] | None = None,
    group: str = "",
    required: bool = False,
) -> Any:
    """Declares one field of a configuration and the flag that sets it.

    Args:
        default: any immutable value. What the field is when nothing is given.
        help: str. One sentence for `--help`.
        choices: sequence of str or None. The accepted values of a text flag.
        group: str. The heading in `--help` under which the flag stands.
        required: bool. Whether the command line must give the flag. The field then
            has no default in Python either.

    Returns:
        A dataclass field. The flag of a field like `from_`, which is a word of Python
        without its underscore, has none.

    Example:

    >>> @dataclasses.dataclass(frozen=True)
    ... class GreetConfig:
    ...     name: str = option(required=True, help="Whom to greet.")
    ...     times: int = option(1, "How often.")
    """
    metadata = {
        "help": help,
        "choices": choices,
        "group": group,
        _REQUIRED: required,
    }
    if required:
        return dataclasses.field(metadata=metadata, kw_only=True)
    return dataclasses.field(default=default, metadata=metadata)


def with_presets(config_class: type) -> type:
    """Makes the constructor of a configuration apply presets; a class decorator.

    The class variable `PRESETS` maps names to values of fields, and the field `preset`
    chooses one of them. What the constructor is given wins over the preset.

    Args:
        config_class: frozen dataclass.

    Returns:
        The class.

    Example:

    >>> @with_presets
    ... @dataclasses.dataclass(frozen=True)
    ... class GreetConfig:
    ...     PRESETS: typing.ClassVar = {"none": {}, "loud": {"times": 9}}
    ...     preset: str = option("none", "Other defaults.", choices=("none", "loud"))
    ...     times: int = option(1, "How often.")
    >>> GreetConfig(preset="loud")
    GreetConfig(preset='loud', times=9)
    """
    construct = config_class.__init__

    @functools.wraps(construct)
    def __init__(self, **given):
        preset = given.get("preset", config_class.preset)
        if preset not in config_class.PRESETS:
            raise ValueError(
                f"`preset` must be one of {', '.join(config_class.PRESETS)}. "
                f"Received: preset={preset!r}"
            )
        construct(self, **{**config_class.PRESETS[preset], **given})

    config_class.__init__ = __init__
    return config_class


def defaults_of(config_class: type) -> dict[str, Any]:
    """What the fields of a configuration are when nothing is given."""
    return {
        field.name: field.default
        for field in dataclasses.fields(config_class)
        if not field.metadata[_REQUIRED]
    }


def check_values(config: Any) -> None:
    """Refuses values that no field may have, from flags and in Python alike.

    Numbers of NumPy become those of Python, which JSON files hold.

    Raises:
        ValueError: if a field has choices and its value is none of them, if its value is
            NaN or infinite, or if it is to be an integer and is none of 64 bits.
    """
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = _plain(getattr(config, field.name), hints[field.name], field.name)
        object.__setattr__(config, field.name, value)
        choices = field.metadata["choices"]
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(
                f"`{field.name}` must be finite. Received: {field.name}={value}"
            )
        if choices and value is not None and value not in choices:
            raise ValueError(
                f"`{field.name}` must be one of {', '.join(choices)}. "
                f"Received: {field.name}={value!r}"
            )


def _plain(value: Any, hint: Any, name: str) -> Any:
    """A value with the numbers of Python, integers of 64 bits where there must be some."""
    kind = _value_type(hint)
    if kind == tuple[int, ...]:
        return tuple(_plain(each, int, name) for each in value)
    if kind is not int or value is None:
        return as_python(value)
    number = as_integer(value, name)
    if abs(number) > _LARGEST_INTEGER:
        raise ValueError(
            f"`{name}` must be an integer of 64 bits. Received: {name}={number}"
        )
    return number


def require(config: Any, name: str, holds: bool, what: str) -> None:
    """Raises a `ValueError` about a field unless a condition holds.

    Raises:
        ValueError: unless `holds`; it says that `name` must be `what`.
    """
    if not holds:
        value = getattr(config, name)
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        raise ValueError(f"`{name}` must be {what}. Received: {name}={shown}")


def require_seeds(config: Any, *names: str) -> None:
    """Refuses seeds beyond the range that is the same for all of them; None passes.

    Raises:
        ValueError: if one of the fields is, or holds, a number that is no seed.
    """
    for name in names:
        value = getattr(config, name)
        seeds = value if isinstance(value, tuple) else (value,)
        inside = all(seed is None or 0 <= seed <= LARGEST_SEED for seed in seeds)
        require(config, name, inside, f"from 0 to {LARGEST_SEED}")


def require_utf8(config: Any, name: str) -> None:
    """Refuses a path whose bytes are not UTF-8, which TensorFlow cannot write to.

    Raises:
        ValueError: unless it is UTF-8.
    """
    path = str(getattr(config, name))
    is_utf8 = path == path.encode("utf-8", "replace").decode()
    require(config, name, is_utf8, "a path in UTF-8")


def run(
    main: Callable[[Any], Any],
    config_class: type,
    argv: Sequence[str] | None = None,
    *,
    prog: str,
    description: str,
    record: str | None = None,
    tensorflow: bool = True,
) -> int:
    """Parses the flags into a `config_class` and calls `main` with it.

    `ValueError` and `OSError` (bad values, missing or unreadable files), packages that
    are not installed and too little memory become one line on standard error;
    `--traceback` shows where they came from.

    Args:
        main: callable. Takes the configuration.
        config_class: frozen dataclass whose fields are made with `option`.
        argv: sequence of str. The arguments without the program's name. Defaults to
            those of the process.
        prog: str. The name of the module, for messages.
        description: str. What the command does, for `--help`.
        record: str or None. The name of the JSON file in which results keep their
            settings. `--config` then takes such a file; flags that are given win, and
            `out` is never taken from it. Defaults to `None`.
        tensorflow: bool. Whether the command needs TensorFlow, which is then loaded
            quietly. Defaults to `True`.

    Returns:
        int. The exit code: 0, 2 for what becomes one line; 130, 143 or 129 when ended by Ctrl+C,
        SIGTERM or SIGHUP.
    """
    values = _define_flags(config_class, record)
    arguments = list(sys.argv[1:] if argv is None else argv)
    if any(argument in ("-h", "--help", "-help") for argument in arguments):
        say(*_help(config_class, prog, description, record))
        return 0
    try:
        rest = values([prog, *arguments])[1:]
        if rest:
            raise flags.Error(f"all arguments are flags. Received: {' '.join(rest)}")
        config = _resolve(config_class, values)
    except (flags.Error, ValueError, OSError) as error:
        return _fail(prog, error, hint=f"See python -m {prog} --help.")
    try:
        with ends_in_order():
            if tensorflow:
                start_backend()
                silence_image_libraries()
            main(config)
    except Exception as error:
        lacks_memory = _lacks_memory(error)
        known = isinstance(error, (ValueError, OSError, ModuleNotFoundError))
        if _lacks_own_module(error) or not (known or lacks_memory):
            raise
        if values["traceback"].value:
            say(*traceback.format_exc().splitlines(), file=sys.stderr)
        return _fail(prog, _remedy(config, error) if lacks_memory else error)
    except KeyboardInterrupt as ending:
        message = "interrupted; the same command resumes."
        return _fail(prog, message, code=exit_code(ending))
    return 0


def _lacks_memory(error: Exception) -> bool:
    """Whether there was too little memory; each library has an exception of its own."""
    is_known = isinstance(error, (ValueError, OSError))
    words = r"\bOOM\b|out of memory|allocate memory"
    return isinstance(error, MemoryError) or (
        not is_known and bool(re.search(words, str(error), re.IGNORECASE))
    )


def _remedy(config: Any, error: Exception) -> str:
    """What to do where there was too little memory."""
    named = [f"--{name}" for name in _TAKE_MEMORY if hasattr(config, name)]
    what = f"lower {' or '.join(named)}" if named else "end what else takes some"
    return f"out of memory ({reason(error)}): {what}."


def _lacks_own_module(error: Exception) -> bool:
    """Whether a module of this package is missing, and not one that it needs."""
    name = getattr(error, "name", None) or ""
    is_absent = isinstance(error, ModuleNotFoundError)
    return is_absent and name.partition(".")[0] in ("", "export", "v1keras")


def _fail(prog: str, error: Any, *, hint: str = "", code: int = 2) -> int:
    what = "not installed: " if isinstance(error, ModuleNotFoundError) else ""
    message = " ".join(f"{what}{error}".split())
    say(f"{prog}: error: {message} {hint}".rstrip(), file=sys.stderr)
    return code


def _flag_name(field: dataclasses.Field) -> str:
    return field.name.removesuffix("_")


def _value_type(annotation: Any) -> Any:
    """The type behind `X | None`."""
    if isinstance(annotation, types.UnionType):
        (inner,) = (a for a in typing.get_args(annotation) if a is not type(None))
        return inner
    return annotation


def _define_flags(config_class: type, record: str | None) -> flags.FlagValues:
    values = flags.FlagValues()
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        required = field.metadata[_REQUIRED]
        default = None if required else field.default
        value_type = _value_type(hints[field.name])
        common = {"flag_values": values}
        name, text = _flag_name(field), field.metadata["help"]
        if field.metadata["choices"]:
            flags.DEFINE_enum(
                name, default, list(field.metadata["choices"]), text, **common
            )
        elif value_type is bool:
            flags.DEFINE_bool(name, default, text, **common)
        elif value_type is int:
            flags.DEFINE_integer(name, default, text, **common)
        elif value_type is float:
            flags.DEFINE_float(name, default, text, **common)
        elif value_type is str:
            flags.DEFINE_string(name, default, text, **common)
        elif value_type in _LISTS:
            flags.DEFINE_list(name, list(default or ()), text, **common)
        else:
            raise TypeError(f"no flag type for the field {name}: {hints[name]}")
    flags.DEFINE_bool(
        "traceback", False, "Show where an error came from.", flag_values=values
    )
    if record is not None:
        flags.DEFINE_string(_CONFIG, None, _config_help(record), flag_values=values)
    return values


def _config_help(record: str) -> str:
    return f"A {record} to repeat: its settings hold where no flag is given."


def _resolve(config_class: type, values: flags.FlagValues) -> Any:
    repeats = _CONFIG in values and values[_CONFIG].value is not None
    given = _stored_settings(config_class, values[_CONFIG].value) if repeats else {}
    hints = typing.get_type_hints(config_class)
    for field in dataclasses.fields(config_class):
        name = _flag_name(field)
        flag = values[name]
        # Not an empty text or list; 0 is given, and whether it will do is said later.
        is_given = flag.value not in (None, "", []) or field.name in given
        if field.metadata[_REQUIRED] and not is_given:
            raise ValueError(f"--{name} is required: {field.metadata['help']}")
        if not flag.present:
            continue
        value = flag.value
        if isinstance(value, list):
            (item, _) = typing.get_args(hints[field.name])
            value = tuple(_parsed(item, text, field.name) for text in value)
        # bash leaves the ~ of --out=~/runs as it is.
        if isinstance(value, str):
            value = _expanded(value)
        elif isinstance(value, tuple):
            value = tuple(map(_expanded, value))
        given[field.name] = value
    return config_class(**given)


def _expanded(value: Any) -> Any:
    """A path in somebody's home folder, in full; other values as they are."""
    is_path = isinstance(value, str) and re.match(r"~[\w.-]*(/|$)", value)
    return os.path.expanduser(value) if is_path else value  # noqa: PTH111


class _Record(typing.TypedDict):
    """What is read of a file for `--config`."""

    settings: dict[str, Any]


def _stored_settings(config_class: type, file: str) -> dict[str, Any]:
    """The settings in a file, apart from `out`, by field."""
    if not Path(file).is_file():
        raise ValueError(
            f"`{_CONFIG}` must be a file with settings, such as the config.json of a run. "
            f"Received: {_CONFIG}={file}"
        )
    remedy = "give the flags instead"
    settings = read_json(file, _Record, remedy)["settings"]
    known = {field.name for field in dataclasses.fields(config_class)}
    foreign = sorted(settings.keys() - known)
    if foreign:
        raise ValueError(
            f"`{_CONFIG}` must hold settings of this command. Received: "
            f"{_CONFIG}={file} with {', '.join(foreign[:3])}"
        )
    with reading(file, remedy):
        check_form(settings, config_class)
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if name != "out"
    }


def _parsed(item: type, text: Any, name: str) -> Any:
    try:
        return item(text)
    except ValueError:
        raise ValueError(f"`{name}` must be integers. Received: {text!r}") from None


def _help(
    config_class: type, prog: str, description: str, record: str | None
) -> list[str]:
    lines = [f"python -m {prog} --flag=value ...", ""]
    lines += textwrap.wrap(description, 80)
    for heading, fields in _groups(config_class, record).items():
        lines += ["", f"{heading[:1].upper()}{heading[1:]}:"]
        for name, form, text in fields:
            lines += textwrap.wrap(
                f"--{name}{form}",
                80,
                initial_indent="  ",
                subsequent_indent="      ",
                break_on_hyphens=False,
            )
            lines += textwrap.wrap(
                text, 80, initial_indent="      ", subsequent_indent="      "
            )
    return lines


def _groups(
    config_class: type, record: str | None
) -> dict[str, list[tuple[str, str, str]]]:
    """Name, form and text of the flags, by heading: what matters most stands first.

    These are the flags that must be given, then those of the command itself, then
    those that it shares with others, which its base classes declare.
    """
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    own = [name for name, field in fields.items() if field.metadata[_REQUIRED]]
    for base in config_class.__mro__:
        own += [
            name for name in vars(base).get("__annotations__", ()) if name in fields
        ]
    hints = typing.get_type_hints(config_class)
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for name in dict.fromkeys(own):
        field = fields[name]
        required = field.metadata[_REQUIRED]
        heading = "required" if required else field.metadata["group"] or "other"
        text = field.metadata["help"]
        if not required and field.default not in (None, ()):
            default = field.default
            shown = (
                ",".join(map(str, default)) if isinstance(default, tuple) else default
            )
            text = f"{text} Default: {shown}."
        form = _form(field, _value_type(hints[name]))
        groups.setdefault(heading, []).append((_flag_name(field), form, text))
    if record is not None:
        shown = (_CONFIG, "=str", _config_help(record))
        groups.setdefault("settings", []).append(shown)
    shown_last = ("traceback", "", "Show where an error came from.")
    groups.setdefault("messages", []).append(shown_last)
    return groups


def _form(field: dataclasses.Field, value_type: Any) -> str:
    if field.metadata["choices"]:
        return "=" + "|".join(field.metadata["choices"])
    if value_type is bool:
        return f" (or --no{field.name})"
    return "=a,b,..." if value_type in _LISTS else f"={value_type.__name__}"
