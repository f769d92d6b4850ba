"""Names are text in every format: one function for each format that they enter.

Names of classes, files, folders and models come from whoever made them. What else a name
could be taken for is a tag, a link, a formula, a second line, an order to a terminal.

JSON and YAML are left to their libraries, which escape by themselves.
"""

import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import markupsafe
from markupsafe import Markup

# Control characters, line separators, changes of the direction of writing, and halves of
# characters: the bytes of a file's name that are not UTF-8.
_CONTROL = "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
_UNPRINTABLE = re.compile(rf"(?![\n\t]){_CONTROL}")
# What has a meaning in Markdown; an underscore within a word and a single colon have
# none. Bare addresses become links on GitHub.
_MARKDOWN = re.compile(
    r"[\\`*\[\]<>|~&$#]|(?<![^\W_])_|_(?![^\W_])|(?<=:)//|(?<=www)\.", re.IGNORECASE
)
# What spreadsheets begin a formula with, by OWASP
# (https://owasp.org/www-community/attacks/CSV_Injection); line ends, NUL and full-width
# signs are taken for them by some. An apostrophe before them makes them text.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\0＝＋－＠]")


def printable(text: str) -> str:
    """Text with U+FFFD where files and pages cannot hold or show a character.

    Args:
        text: str. A name, such as that of a folder.

    Returns:
        str. Line feeds and tabs stay.
    """
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def escape_html(value: Any) -> Markup:
    """Text of a page, in which no character is part of a tag.

    Args:
        value: any. What has been escaped already passes through.

    Returns:
        Markup.
    """
    if isinstance(value, Markup):
        return value
    return markupsafe.escape(printable(str(value)))


def escape_markdown(value: Any) -> Markup:
    """Text on one line, in which no character has a meaning of its own.

    Args:
        value: any. What has been escaped already passes through.

    Returns:
        Markup.
    """
    if isinstance(value, Markup):
        return value
    text = join_lines(str(value))
    return Markup(_MARKDOWN.sub(lambda found: "\\" + "\\".join(found.group()), text))


def join_lines(text: str) -> str:
    """Text as one line of a page, a chart or front matter, where space is one space."""
    return " ".join(printable(text).split())


def escape_csv(value: Any) -> Any:
    """A field of a CSV file that no spreadsheet takes for a formula.

    `unescape_csv` gives the text back; bytes of names that are not UTF-8 stay as
    `\\udc80` to `\\udcff`.

    Args:
        value: any. What is no text, such as a number, stays.

    Example:

    >>> escape_csv("=1+1"), escape_csv(-1.5), unescape_csv("'=1+1")
    ("'=1+1", -1.5, '=1+1')
    """
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_csv(text: str) -> str:
    """What `escape_csv` was given. Other text stays."""
    return text[1:] if text[:1] == "'" and _FORMULA.match(text) else text


def escape_line(text: str) -> str:
    """Text on one line, with escapes such as `\\x1b` for characters that control.

    For a terminal and for files of lines, such as `labels.txt`.

    Example:

    >>> print(escape_line("cat\\r\\x1b[2Jdog"))
    cat\\r\\x1b[2Jdog
    """
    return re.sub(
        _CONTROL, lambda found: found.group().encode("unicode_escape").decode(), text
    )


def say(*lines: Any, file: TextIO | None = None) -> None:
    """Prints lines, at once, and nothing that a terminal obeys.

    Args:
        *lines: any. Each is one line, whatever it holds.
        file: text file or None. Where to; `None` is standard output. Defaults to
            `None`.
    """
    text = "".join(f"{escape_line(str(line))}\n" for line in lines)
    print(text, end="", flush=True, file=file or sys.stdout)


def format_labels(labels: Sequence[str]) -> str:
    """The text of `labels.txt`: a label a line, in the order of a model's outputs.

    Args:
        labels: sequence of str.

    Raises:
        ValueError: if two are equal, or one would not be one line to every reader.
    """
    if len(set(labels)) != len(labels) or any(escape_line(a) != a for a in labels):
        raise ValueError(
            f"`labels` must differ and be one line each. Received: labels={list(labels)}"
        )
    return "".join(f"{label}\n" for label in labels)


def parse_labels(text: str) -> tuple[str, ...]:
    """The labels in the text of `labels.txt`."""
    return tuple(text.removesuffix("\n").split("\n"))
