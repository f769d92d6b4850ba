"""Image data: embedded shapes, folders, TensorFlow Datasets, corrupted sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "augment": ["AUGMENTATIONS", "AffineAugmentation", "get_augmentation"],
        "corrupted": ["CorruptedSet", "open_corrupted"],
        "datasets": ["SPLITS", "ImageDataset", "Split", "load_dataset"],
        "mixing": ["Mixing"],
        "pipeline": [
            "augmented_view",
            "evaluation_batches",
            "steps_per_epoch",
            "training_batches",
        ],
        "shapes": ["SHAPES", "draw_shapes"],
        "sheet": ["sample_sheet"],
    },
)
