"""Image data: embedded shapes, folders, TensorFlow Datasets, corrupted sets."""

from v1keras.data.augment import AUGMENTATIONS, AffineAugmentation, get_augmentation
from v1keras.data.corrupted import CorruptedSet, open_corrupted
from v1keras.data.datasets import SPLITS, ImageDataset, Split, load_dataset
from v1keras.data.mixing import Mixing
from v1keras.data.pipeline import augmented_view, pipeline, steps_per_epoch
from v1keras.data.shapes import SHAPES, draw_shapes
from v1keras.data.sheet import sample_sheet

__all__ = [
    "AUGMENTATIONS",
    "SHAPES",
    "SPLITS",
    "AffineAugmentation",
    "CorruptedSet",
    "ImageDataset",
    "Mixing",
    "Split",
    "augmented_view",
    "draw_shapes",
    "get_augmentation",
    "load_dataset",
    "open_corrupted",
    "pipeline",
    "sample_sheet",
    "steps_per_epoch",
]
