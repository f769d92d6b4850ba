"""Images that look like photographs, as far as corruptions are concerned."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest


def _make_images(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth coloured fields with some detail, uint8 (count, height, width, 3)."""
    generator = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        coarse = generator.integers(0, 256, (5, 5, 3)).astype(np.float32)
        image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        image += generator.normal(0, 8, image.shape)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
    return np.stack(images)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return _make_images(5, 64, 64)


@pytest.fixture(scope="session")
def make_images() -> Callable[..., np.ndarray]:
    return _make_images
