# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy", "onnxruntime>=1.20", "tensorflow-cpu>=2.20", "tf2onnx>=1.17"]
# ///
"""tf2onnx converts the SavedModel and the LiteRT file; ONNX Runtime answers."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime

SOURCES = {
    "saved_model": ("--saved-model", "--signature_def=serving_default", "--tag=serve"),
    "float32.tflite": ("--tflite",),
}


def main(folder: str, images_file: str, answers_file: str) -> None:
    images = np.load(images_file).astype(np.float32)
    answers = {}
    for name, (flag, *more) in SOURCES.items():
        target = Path(answers_file).with_name(f"{name}.onnx")
        convert = [sys.executable, "-m", "tf2onnx.convert", flag, f"{folder}/{name}"]
        subprocess.run([*convert, *more, f"--output={target}"], check=True)
        session = onnxruntime.InferenceSession(target)
        outputs = session.get_outputs()
        # It keeps no signatures of LiteRT files; their first output is the logits.
        names = [output.name for output in outputs]
        logits = "logits" if "logits" in names else names[0]
        (answers[name],) = session.run([logits], {session.get_inputs()[0].name: images})
    np.savez(answers_file, **answers)


main(*sys.argv[1:])
