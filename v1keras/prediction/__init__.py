"""Labels and probabilities for images, from runs or from what was exported."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "classifier": ["Classifier", "open_classifier"],
        "config": ["PredictConfig"],
        "predictions": [
            "Predictions",
            "find_image_files",
            "predict",
            "predict_batches",
        ],
        "verb": ["print_predictions"],
    },
)
