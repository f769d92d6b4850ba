"""Sample sheets: what a data set looks like."""

import cv2
import numpy as np

from v1keras.data.splits import Split

_CAPTION_WIDTH, _GAP, _BACKGROUND = 120, 4, 255


def sample_sheet(
    split: Split, names: tuple[str, ...], *, per_class: int = 8, scale: float = 1.0
) -> np.ndarray:
    """Lays out the first images of each class, a row for each.

    Args:
        split: `Split`.
        names: tuple of str. The name of each class, by label.
        per_class: int. Images in a row. Defaults to `8`.
        scale: float. Size of an image in the sheet, relative to its own. Defaults to
            `1.0`.

    Returns:
        uint8 RGB array (height, width, 3).

    Raises:
        ValueError: if a class has fewer images.

    Example:

    >>> from v1keras.data import load_dataset
    >>> dataset = load_dataset("shapes:240:240")
    >>> sheet = sample_sheet(dataset.split("test"), dataset.display_names)
    >>> keras.utils.save_img("shapes.png", sheet, scale=False)
    """
    side = round(split.image_size * scale)
    pitch = side + _GAP
    shape = (len(names) * pitch + _GAP, _CAPTION_WIDTH + per_class * pitch + _GAP, 3)
    sheet = np.full(shape, _BACKGROUND, np.uint8)
    for label, name in enumerate(names):
        members = np.flatnonzero(split.labels == label)[:per_class]
        if len(members) < per_class:
            raise ValueError(
                f"`per_class` must not exceed the images of a class, which are "
                f"{len(members)} for {name!r}. Received: per_class={per_class}"
            )
        top = _GAP + label * pitch
        place = (8, top + side // 2 + 5)
        cv2.putText(
            sheet, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40,) * 3, 1, cv2.LINE_AA
        )
        for column, image in enumerate(split.images[members]):
            left = _CAPTION_WIDTH + column * pitch + _GAP
            enlarged = cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)
            sheet[top : top + side, left : left + side] = enlarged
    return sheet
