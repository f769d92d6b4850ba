"""`shapes`: a small embedded data set whose classes differ in form only.

Every image shows one object of one of twelve forms in front of clutter. All forms cover
the same area, and pose, colours, texture, lighting and background are drawn alike for
all of them, so that neither the mean colour nor the brightness of an image says
anything about its class. Straight sides, corners, holes and concavities do, and noise
and blur take them away: so it suits robustness experiments where no data can be
downloaded.
"""

import cv2
import numpy as np

_CIRCLE_POINTS = 48
_SUPERSAMPLING = 4
_SUBPIXEL_BITS = 4


def _arc(radius: float, start: float, stop: float, count: int) -> np.ndarray:
    """Points (count, 2) on a circle around the origin; angles in radians."""
    angles = np.linspace(start, stop, count)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def _regular_polygon(corners: int) -> np.ndarray:
    return _arc(1.0, 0.0, 2 * np.pi, corners + 1)[:-1]


def _star() -> np.ndarray:
    radii = np.where(np.arange(10) % 2, 0.45, 1.0)[:, None]
    return radii * _regular_polygon(10)


def _cross() -> np.ndarray:
    w = 0.36
    quarter = np.array([[1.0, -w], [1.0, w], [w, w]])
    rotate = np.array([[0.0, 1.0], [-1.0, 0.0]])
    parts = [quarter]
    for _ in range(3):
        parts.append(parts[-1] @ rotate)
    return np.concatenate(parts)


def _crescent() -> np.ndarray:
    # A disc of radius 1 without a disc of radius 0.8 whose centre lies at x = 0.5.
    radius, shift = 0.8, 0.5
    x = (1 + shift**2 - radius**2) / (2 * shift)
    outer = np.arccos(x)
    inner = np.arctan2(np.sqrt(1 - x**2), x - shift)
    bite = _arc(radius, 2 * np.pi - inner, inner, _CIRCLE_POINTS)
    bite = bite + np.array([shift, 0.0])
    rim = _arc(1.0, outer, 2 * np.pi - outer, _CIRCLE_POINTS)
    return np.concatenate([rim, bite[1:-1]])


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, _CIRCLE_POINTS, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=-1)


def _arrow() -> np.ndarray:
    half = [[-1.0, 0.2], [0.1, 0.2], [0.1, 0.62], [1.0, 0.0]]
    mirrored = [[0.1, -0.62], [0.1, -0.2], [-1.0, -0.2]]
    return np.array(half + mirrored)


def _hourglass() -> np.ndarray:
    half = [[-0.12, 0.0], [-0.75, 1.0], [0.75, 1.0]]
    mirrored = [[0.12, 0.0], [0.75, -1.0], [-0.75, -1.0]]
    return np.array(half + mirrored)


def _drop() -> np.ndarray:
    # The tip is where the two tangents from (1.9, 0) to the unit disc meet.
    tangent = np.arccos(1 / 1.9)
    round_part = _arc(1.0, tangent, 2 * np.pi - tangent, _CIRCLE_POINTS)
    return np.concatenate([round_part, [[1.9, 0.0]]])


def _signed_area(contour: np.ndarray) -> float:
    x, y = contour.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))


def _centroid(contour: np.ndarray) -> np.ndarray:
    after = np.roll(contour, -1, axis=0)
    cross = contour[:, :1] * after[:, 1:] - contour[:, 1:] * after[:, :1]
    moment = np.sum((contour + after) * cross, axis=0)
    return moment / (6 * _signed_area(contour))


def _normalised(*contours: np.ndarray) -> tuple[np.ndarray, ...]:
    """Centres contours and scales the area between them to one.

    The first contour is the outline, the others are holes.
    """
    outline, *holes = contours
    area = abs(_signed_area(outline)) - sum(abs(_signed_area(h)) for h in holes)
    centre = _centroid(outline)
    return tuple((contour - centre) / np.sqrt(area) for contour in contours)


def _contours() -> dict[str, tuple[np.ndarray, ...]]:
    disc = _regular_polygon(_CIRCLE_POINTS)
    return {
        "circle": _normalised(disc),
        "square": _normalised(_regular_polygon(4)),
        "triangle": _normalised(_regular_polygon(3)),
        "pentagon": _normalised(_regular_polygon(5)),
        "star": _normalised(_star()),
        "cross": _normalised(_cross()),
        "ring": _normalised(disc, 0.5 * disc),
        "crescent": _normalised(_crescent()),
        "heart": _normalised(_heart()),
        "arrow": _normalised(_arrow()),
        "hourglass": _normalised(_hourglass()),
        "drop": _normalised(_drop()),
    }


SHAPES: tuple[str, ...] = tuple(_contours())
"""The class names, in the order of the labels."""


def draw_shapes(
    n: int, *, image_size: int = 64, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draws the first `n` images of the endless, seeded sequence of shapes.

    Image `i` depends on `seed`, `i` and `image_size` only: a longer sequence begins
    with the shorter one. Its class is `i % len(SHAPES)`, so that all are equally
    frequent.

    Args:
        n: int. The number of images.
        image_size: int. Height and width of an image in pixels, at least 16.
            Defaults to `64`.
        seed: int. Which sequence, not negative. Defaults to `0`.

    Returns:
        A tuple `(images, labels)`: uint8 RGB images (n, image_size, image_size, 3)
        and int32 labels (n,), indices into `SHAPES`.

    Raises:
        ValueError: if an argument is out of its range.

    Example:

    >>> images, labels = draw_shapes(24)
    >>> images.shape, SHAPES[labels[1]]
    ((24, 64, 64, 3), 'square')
    """
    if n < 1:
        raise ValueError(f"`n` must be positive. Received: n={n}")
    if image_size < 16:
        raise ValueError(
            f"`image_size` must be at least 16 pixels. Received: image_size={image_size}"
        )
    if seed < 0:
        raise ValueError(f"`seed` must be at least 0. Received: seed={seed}")
    contours = list(_contours().values())
    axis = np.linspace(-1, 1, image_size, dtype=np.float32)
    grid = np.meshgrid(axis, axis)
    images = np.empty((n, image_size, image_size, 3), np.uint8)
    labels = np.arange(n, dtype=np.int32) % len(contours)
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        images[index] = _draw(contours[labels[index]], grid, rng)
    return images, labels


def _draw(
    contours: tuple[np.ndarray, ...],
    grid: list[np.ndarray],
    rng: np.random.Generator,
) -> np.ndarray:
    size = len(grid[0])
    back_colour, front_colour = _colours(rng)
    scene = back_colour + rng.uniform(4, 20) * _texture(rng, grid)
    scene = _clutter(scene, rng, strokes=rng.integers(0, 5))
    front = front_colour + rng.uniform(2, 12) * _texture(rng, grid)
    mask = _mask(contours, size, rng)[..., None]
    scene = scene + mask * (front - scene)
    scene = _clutter(scene, rng, strokes=rng.integers(0, 2))
    scene *= _lighting(rng, grid)
    level = np.float32(rng.uniform(1, 5))
    scene += level * rng.standard_normal(scene.shape, np.float32)
    return np.clip(np.rint(scene), 0, 255).astype(np.uint8)


def _colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two RGB colours at a distance of 70 to 130 grey levels per channel (RMS)."""
    back = rng.uniform(50, 205) + rng.uniform(-40, 40, size=3)
    direction = rng.normal(size=3) + rng.choice([-1.0, 1.0])
    step = rng.uniform(70, 130) * np.sqrt(3) * direction / np.linalg.norm(direction)
    # Of the two signs the one that stays further inside the range of grey levels.
    excess = [np.abs(back + s * step - 127.5).max() for s in (1, -1)]
    front = back + step if excess[0] <= excess[1] else back - step
    return np.float32(back), np.float32(np.clip(front, 5, 250))


def _texture(rng: np.random.Generator, grid: list[np.ndarray]) -> np.ndarray:
    """A grating plus blobs, of about unit amplitude, in a colour of its own."""
    x, y = grid
    size = len(x)
    # Frequencies are in cycles per image: the texture scales with the image.
    frequency = 2 ** rng.uniform(0.5, 3.5)
    angle, phase = rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)
    ramp = np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)) + phase
    cells = int(rng.integers(3, 17))
    blobs = rng.normal(size=(cells, cells)).astype(np.float32)
    blobs = cv2.resize(blobs, (size, size), interpolation=cv2.INTER_CUBIC)
    mix = rng.uniform(0, 1)
    pattern = mix * np.sin(ramp.astype(np.float32)) + (1 - mix) * blobs
    tint = rng.uniform(0.5, 1.2, size=3).astype(np.float32)
    return np.float32(pattern)[..., None] * tint


def _clutter(
    scene: np.ndarray, rng: np.random.Generator, *, strokes: int
) -> np.ndarray:
    """Lays lines and corners in random colours over the scene."""
    if not strokes:
        return scene
    size = len(scene)
    canvas = np.clip(scene, 0, 255).astype(np.uint8)
    for _ in range(strokes):
        start = rng.uniform(0, size, size=2)
        steps = rng.normal(scale=size / 7, size=(2, 2))
        points = np.cumsum(np.vstack([start, steps]), axis=0)
        colour = tuple(float(c) for c in rng.integers(20, 236, size=3))
        thickness = max(1, round(rng.uniform(0.01, 0.035) * size))
        fixed = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
        cv2.polylines(
            canvas, [fixed], False, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS
        )
    return canvas.astype(np.float32)


def _mask(
    contours: tuple[np.ndarray, ...], size: int, rng: np.random.Generator
) -> np.ndarray:
    """The share of each pixel (size, size) that the posed object covers."""
    side = rng.uniform(0.34, 0.48) * size
    stretch = np.sqrt(2 ** rng.uniform(-0.4, 0.4))
    centre = size * rng.uniform(0.4, 0.6, size=2)
    # Rotation, stretch of constant area, rotation: every form in every direction.
    matrix = _rotation(rng) @ np.diag([stretch, 1 / stretch]) @ _rotation(rng)
    fine = size * _SUPERSAMPLING
    canvas = np.zeros((fine, fine), np.uint8)
    scale = _SUPERSAMPLING * 2**_SUBPIXEL_BITS
    posed = [
        np.rint(scale * (side * contour @ matrix.T + centre)).astype(np.int32)
        for contour in contours
    ]
    cv2.fillPoly(canvas, posed, 255, shift=_SUBPIXEL_BITS)
    mask = cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA)
    return mask.astype(np.float32) / 255


def _rotation(rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _lighting(rng: np.random.Generator, grid: list[np.ndarray]) -> np.ndarray:
    """A linear gradient of illumination (size, size, 1) around one."""
    x, y = grid
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.45)
    gradient = 1 + strength * (x * np.cos(angle) + y * np.sin(angle))
    return np.float32(gradient)[..., None]
