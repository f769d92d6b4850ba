# /// script
# requires-python = ">=3.11"
# dependencies = ["mediapipe>=0.10.30", "numpy"]
# ///
"""MediaPipe Tasks takes pixels, names and outputs from the metadata of a LiteRT file."""

import sys
import zipfile

import mediapipe
import numpy as np
from mediapipe.tasks.python import BaseOptions, vision

FILE = "one_output.tflite"


def main(folder: str, images_file: str, answers_file: str) -> None:
    images = np.load(images_file)
    with zipfile.ZipFile(f"{folder}/{FILE}") as archive:
        labels = archive.read("labels.txt").decode().splitlines()
    options = vision.ImageClassifierOptions(
        base_options=BaseOptions(model_asset_path=f"{folder}/{FILE}"), max_results=-1
    )
    logits = np.full((len(images), len(labels)), np.nan, np.float32)
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for row, pixels in zip(logits, images, strict=True):
            image = mediapipe.Image(
                image_format=mediapipe.ImageFormat.SRGB,
                data=np.ascontiguousarray(pixels),
            )
            (head,) = classifier.classify(image).classifications
            for category in head.categories:
                assert category.category_name == labels[category.index]
                row[category.index] = category.score
    np.savez(answers_file, **{FILE: logits})


main(*sys.argv[1:])
