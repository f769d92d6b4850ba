"""What a report is made of: plain values, which the templates draw.

Texts are plain text; the templates escape them.
"""

import base64
import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from markupsafe import Markup

# Pictures above this many pixels a side are embedded as JPEG: as PNG, samples of
# noise at 224 pixels would weigh megabytes.
_PNG_PIXELS = 96


class TableCell(NamedTuple):
    """A cell of a table that holds more than its text.

    Args:
        text: str.
        note: str. Lines in small type below it. Defaults to none.
        key: float, str or None. What its column is sorted by. Defaults to `text`.
        style: str. Classes of `report.css`; those of a row's first cell are for the
            whole row.
        share: float or None. In 0..1, how strongly the cell is tinted.
        tip: str. Shown when one points at the cell.
        colour: str. The class of a colour that stands before the text.
    """

    text: str
    note: str = ""
    key: float | str | None = None
    style: str = ""
    share: float | None = None
    tip: str = ""
    colour: str = ""


class Table(NamedTuple):
    """A table, whose first column names its rows.

    Args:
        head: tuple of str or `TableCell`.
        rows: tuple of tuples of str or `TableCell`, each as long as the head.
        style: str. `"summary"` (wide), `"heat"` or `"matrix"` (tinted cells),
            `"settings"` (long texts), `"scale"` (of colours).
        sortable: bool. Whether a click on a column's name sorts. Defaults to `False`.
    """

    head: tuple[str | TableCell, ...]
    rows: tuple[tuple[str | TableCell, ...], ...]
    style: str = "summary"
    sortable: bool = False


class Bar(NamedTuple):
    """A bar with its name and number.

    Args:
        name: str.
        text: str. The number.
        value: float. Where the bar ends; it begins at zero.
        low: float. Lower end of the interval, `value` where there is none.
        high: float. Its upper end.
        colour: str. The class of its colour.
        strong: bool. Whether the name is in bold type. Defaults to `False`.
    """

    name: str
    text: str
    value: float
    low: float
    high: float
    colour: str
    strong: bool = False


@dataclasses.dataclass(frozen=True)
class Bars:
    """A chart of horizontal bars on one scale.

    Args:
        bars: tuple of `Bar`.
        low: float. Left end of the scale, at most 0.
        high: float. Its right end, above `low`.
        ticks: tuple of (float, str). Where the scale is labelled.
        line: float or None. Where a thin line stands for chance. Defaults to none.
    """

    bars: tuple[Bar, ...]
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    line: float | None = None

    @property
    def both_ways(self) -> bool:
        """Whether bars go left too."""
        return any(bar.value < 0 for bar in self.bars)

    def place(self, value: float) -> float:
        """Where a value lies between the ends of the scale, in %."""
        place = (value - self.low) / (self.high - self.low)
        return round(100 * min(max(place, 0.0), 1.0), 2)


class Picture(NamedTuple):
    """An image that a page carries in itself; `picture` makes one.

    Args:
        source: str. A `data:` address.
        description: str. What it shows, for those who do not see it.
        pixelated: bool. Whether pixels keep their edges when it is enlarged.
        caption: str. What stands below it. Defaults to nothing.
    """

    source: str
    description: str
    pixelated: bool = False
    caption: str = ""


class Panel(NamedTuple):
    """Something to look at, with its title.

    Args:
        title: str.
        content: `Markup` (an SVG), `Table`, `Bars` or a tuple of `Picture`.
        note: str. What stands behind the title. Defaults to nothing.
    """

    title: str
    content: Markup | Table | Bars | tuple[Picture, ...]
    note: str = ""


class Panels(NamedTuple):
    """Panels side by side, as many as there is room for.

    Args:
        panels: tuple of `Panel`.
        style: str. `"grid"`, `"small"` or `"tiles"` for narrower ones, `"wide"` for
            wider ones.
    """

    panels: tuple[Panel, ...]
    style: str = "grid"


class Heading(NamedTuple):
    """A title within a section."""

    text: str


class Folded(NamedTuple):
    """Panels that a reader opens if they want to see them.

    Args:
        summary: str. What stands there while they are folded.
        content: `Panels`.
    """

    summary: str
    content: Panels


class Section(NamedTuple):
    """A part of a report.

    Args:
        title: str.
        blocks: tuple of str (paragraphs), `Heading`, `Table`, `Panels` and `Folded`.
    """

    title: str
    blocks: tuple[str | Heading | Table | Panels | Folded, ...]


def matrix(names: Sequence[str], cell: Callable[[int, int], str | TableCell]) -> Table:
    """A square table whose columns have the numbers that its rows have before a name.

    Args:
        names: sequence of str.
        cell: callable from the numbers of a row and a column, from 0, to the cell.

    Returns:
        `Table`.
    """
    numbers = range(len(names))
    head = (TableCell(str(i + 1), tip=names[i]) for i in numbers)
    rows = ((f"{i + 1}  {names[i]}", *(cell(i, j) for j in numbers)) for i in numbers)
    return Table(("", *head), tuple(rows), "matrix")


def picture(
    image: np.ndarray, description: str, *, pixelated: bool = False, caption: str = ""
) -> Picture:
    """Encodes an image, so that a page can carry it.

    Args:
        image: uint8 array of shape `(height, width, 3)`, RGB.
        description: str. What it shows, for those who do not see it.
        pixelated: bool. Whether pixels keep their edges when it is enlarged. Defaults
            to `False`.
        caption: str. What stands below it. Defaults to nothing.

    Returns:
        `Picture`.

    Raises:
        ValueError: if the image is not of this type and shape.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(
            "`image` must be uint8 RGB of shape (height, width, 3). "
            f"Received: dtype={image.dtype}, shape={image.shape}"
        )
    small = max(image.shape[:2]) <= _PNG_PIXELS or pixelated
    kind, options = (".png", []) if small else (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 90])
    data = cv2.imencode(kind, np.ascontiguousarray(image[..., ::-1]), options)[1]
    encoded = base64.b64encode(data.tobytes()).decode()
    mime = "png" if small else "jpeg"
    source = f"data:image/{mime};base64,{encoded}"
    return Picture(source, description, pixelated, caption)
