"""Image data: embedded shapes, folders, TensorFlow Datasets, corrupted sets."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "augment": ["AffineAugmentation"],
        "augmentations": [
            "AUGMENTATIONS",
            "Augmentation",
            "SequentialAugmentation",
            "get_augmentation",
        ],
        "augmix": ["AugMixAugmentation"],
        "corrupted": ["CorruptedSet", "open_corrupted"],
        "datasets": ["load_dataset"],
        "mixing": ["Mixing"],
        "pipeline": [
            "augmented_view",
            "batch_sizes",
            "evaluation_batches",
            "steps_per_epoch",
            "training_batches",
        ],
        "prime": ["PrimeAugmentation"],
        "shapes": ["SHAPES", "draw_shapes"],
        "sheet": ["sample_sheet"],
        "splits": ["SPLITS", "VALIDATION_SOURCES", "ImageDataset", "Split"],
    },
)
