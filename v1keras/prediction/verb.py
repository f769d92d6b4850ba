"""The predictions of a command, as lines on the terminal or as a CSV file."""

from pathlib import Path

import keras

from v1keras.escaping import say
from v1keras.evaluation.tables import write_csv
from v1keras.files import require_writable
from v1keras.prediction.classifier import open_classifier
from v1keras.prediction.config import PredictConfig, parse_corruption
from v1keras.prediction.predictions import find_image_files, predict_batches
from v1keras.quiet import verbosity


def print_predictions(config: PredictConfig) -> None:
    """Classifies images and prints one line each, or writes `config.csv`.

    Args:
        config: `PredictConfig`.

    Raises:
        FileNotFoundError: if a run or an image is missing.
        ValueError: if a model or an image cannot be read.
    """
    if config.csv is not None:
        require_writable(Path(config.csv).parent, "csv")
    paths = find_image_files(config.images)
    classifier = open_classifier(
        config.run, noise=config.noise, seed=config.seed, calibrated=config.calibrated
    )
    batches = predict_batches(
        classifier,
        paths,
        corruption=config.corrupt and parse_corruption(config.corrupt),
        seed=config.seed,
        batch_size=config.batch_size,
    )
    if config.csv is None:
        for batch in batches:
            for path, best in zip(batch.paths, batch.top(config.top), strict=True):
                named = ", ".join(f"{label} {score:.3f}" for label, score in best)
                say(f"{path}: {named}")
        return
    bar = keras.utils.Progbar(len(paths), verbose=verbosity(), unit_name="image")
    rows = []
    for batch in batches:
        for path, best in zip(batch.paths, batch.top(config.top), strict=True):
            rows.append({"file": path})
            for place, (label, score) in enumerate(best, start=1):
                rows[-1] |= {f"label_{place}": label, f"probability_{place}": score}
        bar.update(len(rows))
    write_csv(config.csv, rows)
    say(f"{config.csv}: {len(rows)} images")
