"""Draws overview.png: `python docs/images/overview.py`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Rectangle

from v1keras.corruptions import corrupt
from v1keras.data import draw_shapes
from v1keras.v1 import V1_VARIANTS, filter_sheet, get_variant

INK, FAINT, SOFT, ACCENT = "#15191d", "#4d555d", "#ffffff", "#b5482a"
# A light sheet with nothing around it, so that dark pages show it as a card.
SHEET = "#eceff1"
WIDTH, HEIGHT = 14.2, 4.4


def main() -> None:
    """Writes the picture beside this file."""
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="none")
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    page.axis("off")
    page.add_patch(
        FancyBboxPatch(
            (0.15, 0.15), WIDTH - 0.3, HEIGHT - 0.3, boxstyle="round,pad=0.12",
            facecolor=SHEET, edgecolor="none",
        )
    )  # fmt: skip

    images, _ = draw_shapes(6, image_size=64, seed=4)
    shown = [
        (images[1], "clean"),
        (corrupt(images[1:2], "gaussian_noise", 3, seed=0)[0], "noise"),
        (corrupt(images[1:2], "fog", 4, seed=0)[0], "fog"),
    ]
    for row, (image, name) in enumerate(shown):
        _picture(figure, image, 0.55, 2.95 - 1.2 * row, 1.0, 1.0)
        page.text(0.48, 3.45 - 1.2 * row, name, ha="right", va="center", rotation=90)

    for index, name in enumerate(V1_VARIANTS):
        variant = get_variant(name)
        sheet = filter_sheet(
            variant, image_size=64, visual_degrees=2.0, kernel_size=25, scale=2
        )
        left = 2.35 + 1.4 * (index % 4)
        bottom = 2.45 - 1.85 * (index // 4)
        # Two by two filters are enough to tell the variants apart.
        _picture(figure, sheet[:106, :106], left, bottom, 1.15, 1.15)
        page.text(left + 0.575, bottom + 1.22, name, ha="center", va="bottom")
        noise = f"noise × {variant.noise_gain:g}" if variant.noise_gain else "no noise"
        page.text(
            left + 0.575, bottom - 0.06, noise, ha="center", va="top", size=8,
            color=FAINT,
        )  # fmt: skip
    _box(page, 8.5, 1.55, 1.25, 1.3, "ensemble\n\nmean of the\nlogits")
    _box(page, 10.35, 1.55, 1.25, 1.3, "student\n\none V1 front-end,\none CNN", ACCENT)
    _server(page, 12.75, 2.75)
    page.text(13.05, 2.62, "server\nSavedModel", ha="center", va="top", size=9)
    _phone(page, 12.86, 1.0)
    page.text(13.05, 0.87, "phone\nLiteRT", ha="center", va="top", size=9)
    arrows = (
        ((1.65, 2.2), (2.25, 2.2)),
        ((7.85, 2.2), (8.42, 2.2)),
        ((9.83, 2.2), (10.27, 2.2)),
        ((11.68, 2.45), (12.62, 3.05)),
        ((11.68, 1.95), (12.72, 1.35)),
    )
    for start, end in arrows:
        page.add_patch(
            FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color=INK)
        )
    page.text(
        5.03, 4.08, "eight V1 front-ends, a CNN behind each", ha="center", size=11
    )
    page.text(10.05, 1.35, "distillation", ha="center", va="top", size=9)
    page.text(12.1, 1.35, "export", ha="center", va="top", size=9)
    figure.savefig(Path(__file__).with_name("overview.png"), dpi=110)


def _picture(figure: Figure, image: np.ndarray, left, bottom, width, height) -> None:
    box = (left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT)
    axes = figure.add_axes(box)
    axes.imshow(image)
    axes.axis("off")


def _server(page, left, bottom) -> None:
    """Three units of a rack, with a lamp each."""
    for unit in range(3):
        y = bottom + 0.24 * unit
        page.add_patch(
            FancyBboxPatch(
                (left, y), 0.6, 0.16, boxstyle="round,pad=0.02",
                facecolor=SOFT, edgecolor=INK, linewidth=1.4,
            )
        )  # fmt: skip
        page.add_patch(Circle((left + 0.1, y + 0.08), 0.03, color=ACCENT))


def _phone(page, left, bottom) -> None:
    page.add_patch(
        FancyBboxPatch(
            (left, bottom), 0.38, 0.72, boxstyle="round,pad=0.05",
            facecolor=INK, edgecolor=INK,
        )
    )  # fmt: skip
    page.add_patch(Rectangle((left, bottom + 0.08), 0.38, 0.6, color=SOFT))
    page.add_patch(Circle((left + 0.19, bottom + 0.01), 0.025, color=SOFT))


def _box(page, left, bottom, width, height, text, edge=INK) -> None:
    page.add_patch(
        FancyBboxPatch(
            (left, bottom), width, height, boxstyle="round,pad=0.03",
            facecolor=SOFT, edgecolor=edge, linewidth=1.4,
        )
    )  # fmt: skip
    x, y = left + width / 2, bottom + height / 2
    page.text(x, y, text, ha="center", va="center", size=9)


if __name__ == "__main__":
    main()
