# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["numpy", "tensorflow-cpu==2.19.*"]
# ///
"""An older TensorFlow, as in releases of TensorFlow Serving, loads what ours wrote."""

import sys

import numpy as np
import tensorflow as tf

FILES = ("float32.tflite", "int8.tflite")


def main(folder: str, images_file: str, answers_file: str) -> None:
    images = np.load(images_file)
    files = [tf.io.encode_png(image).numpy() for image in images]
    inputs = {
        "serving_default": images.astype(np.float32),
        "serve_uint8": images,
        "serve_bytes": np.array(files, object),
    }
    answers = {}
    # The loader of TensorFlow Serving.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        model = tf.compat.v1.saved_model.load(
            session, ["serve"], f"{folder}/saved_model"
        )
        for name, value in inputs.items():
            signature = model.signature_def[name]
            (given,) = signature.inputs.values()
            answers[f"saved_model {name}"] = session.run(
                signature.outputs["logits"].name, {given.name: value}
            )
    for name in FILES:
        interpreter = tf.lite.Interpreter(f"{folder}/{name}")
        run = interpreter.get_signature_runner("serving_default")
        answers[name] = run(images=images.astype(np.float32))["logits"]
    np.savez(answers_file, **answers)


main(*sys.argv[1:])
