# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "openvino>=2025.0"]
# ///
"""OpenVINO reads the SavedModel and the LiteRT files as they are."""

import sys

import numpy as np
import openvino

FILES = ("saved_model", "float32.tflite", "int8.tflite")
# Else it computes in bfloat16 on processors that have units for it.
PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}


def main(folder: str, images_file: str, answers_file: str) -> None:
    images = np.load(images_file).astype(np.float32)
    answers = {}
    for name in FILES:
        model = openvino.Core().read_model(f"{folder}/{name}")
        outputs = openvino.compile_model(model, "CPU", PRECISION)(images)
        # It keeps no signatures of LiteRT files; their first output is the logits.
        answers[name] = outputs["logits" if name == "saved_model" else 0]
    np.savez(answers_file, **answers)


main(*sys.argv[1:])
