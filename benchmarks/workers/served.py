"""Calls of one runtime on the exported files in the current folder.

It prints what `timing` says. OpenVINO may be in another Python than the rest.
"""

import io
import os

import numpy as np
import timing


def pixels(batch_size: int, image_size: int) -> np.ndarray:
    """Images as a request holds them, float32 in 0..255."""
    generator = np.random.default_rng(0)
    shape = (batch_size, image_size, image_size, 3)
    return generator.integers(0, 256, shape).astype(np.float32)


def saved_model(batch_size: int, image_size: int):
    """The SavedModel, through the loader of TensorFlow Serving."""
    from export.loader import LoadedModel

    inputs = {"images": pixels(batch_size, image_size)}
    model = LoadedModel("saved_model")
    return lambda: model.call("serving_default", inputs)


def litert(file: str):
    """A LiteRT file, in its interpreter."""

    def case(batch_size: int, image_size: int):
        from ai_edge_litert.interpreter import Interpreter

        threads = len(os.sched_getaffinity(0))
        interpreter = Interpreter(model_path=file, num_threads=threads)
        run = interpreter.get_signature_runner("serving_default")
        images = pixels(batch_size, image_size)
        return lambda: run(images=images)

    return case


def openvino(**precision):
    """The SavedModel in OpenVINO, in the precision that it chooses or in another one."""

    def case(batch_size: int, image_size: int):
        import openvino as ov

        model = ov.Core().read_model("saved_model")
        images = pixels(batch_size, image_size)
        model.reshape(images.shape)
        compiled = ov.compile_model(model, "CPU", precision)
        return lambda: compiled(images)

    return case


def keras_predict(batch_size: int, image_size: int):
    """`predict` of the Keras model."""
    import keras

    import v1keras  # noqa: F401  # registers its layers

    model = keras.models.load_model("model.keras")
    images = pixels(batch_size, image_size)
    return lambda: model.predict(images, batch_size=batch_size, verbose=0)


def decoding(batch_size: int, image_size: int):
    """What `serve_bytes` does before the model, with photographs of 4000 x 3000."""
    import PIL.Image
    import tensorflow as tf

    from export.preprocessing import decode_batch

    # Detail of several sizes: neither flat nor pure noise, which JPEG codes slowly.
    generator = np.random.default_rng(0)
    photo = np.zeros((3000, 4000, 3))
    for size in (8, 64, 512):
        grid = generator.uniform(0, 85, (3 * size // 4, size, 3)).astype(np.uint8)
        photo += np.asarray(PIL.Image.fromarray(grid).resize((4000, 3000)))
    encoded = io.BytesIO()
    PIL.Image.fromarray(photo.astype(np.uint8)).save(encoded, "JPEG", quality=90)
    batch = tf.constant([encoded.getvalue()] * batch_size)
    decode = tf.function(lambda images: decode_batch(images, image_size))
    return lambda: decode(batch).numpy()


CASES = {
    "SavedModel": saved_model,
    "LiteRT float32": litert("float32.tflite"),
    "LiteRT int8": litert("int8.tflite"),
    "OpenVINO float32": openvino(INFERENCE_PRECISION_HINT="f32"),
    "OpenVINO, its default": openvino(),
    "Keras predict": keras_predict,
    "12-megapixel JPEG": decoding,
}

if __name__ == "__main__":
    # Every runtime has as many threads as the process has cores.
    timing.main(CASES, lambda threads: None)
