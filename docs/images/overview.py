"""Draws overview.png: `python docs/images/overview.py`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from v1keras.corruptions import corrupt
from v1keras.data import draw_shapes
from v1keras.studies import filter_sheet
from v1keras.v1 import V1_VARIANTS, get_variant

INK, SOFT, ACCENT = "#15191d", "#eef1f3", "#b5482a"
WIDTH, HEIGHT = 12.0, 4.4


def main() -> None:
    """Writes the picture beside this file."""
    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor="white")
    page = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, HEIGHT))
    page.axis("off")

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
            color="#5c646c",
        )  # fmt: skip
    _box(page, 8.55, 1.55, 1.25, 1.3, "ensemble\n\nmean of the\nlogits")
    _box(page, 10.45, 1.55, 1.25, 1.3, "student\n\none V1 front-end,\none CNN", ACCENT)
    for start, end in ((1.65, 2.25), (7.85, 8.5), (9.85, 10.4)):
        page.add_patch(
            FancyArrowPatch(
                (start, 2.2), (end, 2.2), arrowstyle="-|>", mutation_scale=14, color=INK
            )
        )
    page.text(5.03, 4.2, "eight V1 front-ends, a CNN behind each", ha="center", size=11)
    page.text(10.13, 1.35, "distillation", ha="center", va="top", size=9)
    figure.savefig(Path(__file__).with_name("overview.png"), dpi=110)


def _picture(figure: Figure, image: np.ndarray, left, bottom, width, height) -> None:
    box = (left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT)
    axes = figure.add_axes(box)
    axes.imshow(image)
    axes.axis("off")


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
