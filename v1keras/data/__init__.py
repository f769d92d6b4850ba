"""Image data: embedded shapes, folders, TensorFlow Datasets, corrupted sets."""

from v1keras.data.shapes import SHAPES, draw_shapes

__all__ = ["SHAPES", "draw_shapes"]
