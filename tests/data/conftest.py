"""Small data sets on disk, drawn for the tests."""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def write_classes() -> Callable[..., Path]:
    """A function that writes class folders with images of one grey level each."""

    def write(
        folder: Path,
        class_names: Sequence[str] = ("cat", "dog", "owl"),
        count: int = 4,
        size: tuple[int, int] = (20, 20),
        suffix: str = ".png",
    ) -> Path:
        for label, name in enumerate(class_names):
            (folder / name).mkdir(parents=True)
            for index in range(count):
                image = np.full((*size, 3), 40 * label + index, np.uint8)
                cv2.imwrite(str(folder / name / f"{name}_{index}{suffix}"), image)
        return folder

    return write
