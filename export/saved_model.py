"""A Keras classifier as a SavedModel with signatures."""

import os
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from export.diagnosis import Diagnoser
from export.predictor import Predictor
from export.preprocessing import decode_batch
from export.requests import IMAGE_KEY, INPUT_NAMES, OPTIONAL_INPUT_NAMES
from v1keras.escaping import format_labels

TOP_K = 5
LABELS_FILE = "labels.txt"


class SignedClassifier(tf.Module):
    """A classifier with the functions that a server calls.

    Every signature gives the best labels of each image, best first: `classes`, strings
    (B, k), with their probabilities `scores`, float32 (B, k). All but `serve_labels`
    give `logits` and `probabilities` as well, both float32 (B, classes).

    Args:
        model: keras.Model. Takes float32 pixels 0..255 (B, S, S, 3), gives logits.
        labels: sequence of str. One label a class.
        labels_path: str or path. The file with the same labels, one a line, that
            the SavedModel carries as an asset.
        top_k: int. How many labels an answer names; fewer when there are fewer
            classes. Defaults to `5`.
        image_key: str. The feature of `tf.Example`s that holds the image. Defaults to
            `"image"`.
        crop_fraction: float. See `v1keras.data.images.fit_image`. Defaults to `1.0`.
        diagnoser: `Diagnoser` or None. What the signature `diagnose` computes. Defaults
            to no such signature.
    """

    def __init__(
        self,
        model: keras.Model,
        labels: Sequence[str],
        labels_path: str | os.PathLike,
        top_k: int = TOP_K,
        image_key: str = IMAGE_KEY,
        crop_fraction: float = 1.0,
        diagnoser: Diagnoser | None = None,
    ) -> None:
        super().__init__(name="signed_classifier")
        self.predictor = Predictor(model)
        if self.predictor.num_classes != len(labels):
            raise ValueError(
                "`labels` must hold one label for each of the model's outputs. Received: "
                f"{len(labels)} labels, model.output_shape={model.output_shape}"
            )
        if top_k < 1:
            raise ValueError(f"`top_k` must be at least 1. Received: top_k={top_k}")
        self.top_k = min(top_k, len(labels))
        self.labels_asset = tf.saved_model.Asset(os.fspath(labels_path))
        self._labels = tf.constant(list(labels))
        self._image_key = image_key
        self._crop_fraction = crop_fraction
        self.diagnoser = diagnoser

    def signatures(self) -> dict[str, tf.types.experimental.GenericFunction]:
        """The functions to be saved, by the names that requests use."""
        size = self.predictor.image_size
        pixels, strings = (None, size, size, 3), (None,)
        inputs = {
            "serving_default": (self.classify, pixels, tf.float32),
            "serve_uint8": (self.classify_uint8, pixels, tf.uint8),
            "serve_bytes": (self.classify_bytes, strings, tf.string),
            "serve_labels": (self.name_bytes, strings, tf.string),
            "serve_examples": (self.classify_examples, strings, tf.string),
        }
        if self.diagnoser is not None:
            inputs["diagnose"] = (self.diagnose_bytes, strings, tf.string)
        input_names = INPUT_NAMES | OPTIONAL_INPUT_NAMES
        return {
            name: tf.function(
                function,
                input_signature=[tf.TensorSpec(shape, dtype, input_names[name])],
                autograph=False,
            )
            for name, (function, shape, dtype) in inputs.items()
        }

    def classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """The answer to pixels, float32 (B, S, S, 3) in 0..255."""
        return self._named(self.predictor.predict(images))

    def _named(self, outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Outputs with the best labels and their probabilities."""
        scores, indices = tf.math.top_k(outputs["probabilities"], self.top_k)
        return {
            **outputs,
            "classes": tf.gather(self._labels, indices),
            "scores": scores,
        }

    def classify_uint8(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """The answer to pixels, uint8 (B, S, S, 3): requests of a quarter the size."""
        return self.classify(tf.cast(images, tf.float32))

    def classify_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The answer to encoded JPEG or PNG images of any size, strings (B,)."""
        size = self.predictor.image_size
        return self.classify(decode_batch(image_bytes, size, self._crop_fraction))

    def diagnose_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The answer to encoded images, with how far it can be trusted."""
        size = self.predictor.image_size
        images = decode_batch(image_bytes, size, self._crop_fraction)
        return self._named(self.diagnoser.diagnose(images))

    def name_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """The best labels of encoded images: a short answer, however many classes."""
        answer = self.classify_bytes(image_bytes)
        return {name: answer[name] for name in ("classes", "scores")}

    def classify_examples(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """The answer to serialized `tf.Example`s with an encoded image, (B,)."""
        feature = {self._image_key: tf.io.FixedLenFeature((), tf.string)}
        features = tf.io.parse_example(examples, feature)
        return self.classify_bytes(features[self._image_key])


def write_saved_model(
    model: keras.Model,
    labels: Sequence[str],
    folder: str | os.PathLike,
    *,
    top_k: int = TOP_K,
    image_key: str = IMAGE_KEY,
    crop_fraction: float = 1.0,
    diagnoser: Diagnoser | None = None,
) -> None:
    """Writes a SavedModel with the signatures of `SignedClassifier`.

    Args:
        model: keras.Model. Takes float32 pixels 0..255 (B, S, S, 3), gives logits.
        labels: sequence of str. One label a class.
        folder: str or path. Where to. `labels.txt` is written there as well as in
            `assets/`.
        top_k: int. How many labels an answer names. Defaults to `5`.
        image_key: str. The feature of `tf.Example`s that holds the image. Defaults to
            `"image"`.
        crop_fraction: float. See `v1keras.data.images.fit_image`. Defaults to `1.0`.
        diagnoser: `Diagnoser` or None. Defaults to no signature `diagnose`.
    """
    labels_path = Path(folder) / LABELS_FILE
    write_labels(labels, labels_path)
    signed = SignedClassifier(
        model, labels, labels_path, top_k, image_key, crop_fraction, diagnoser
    )
    tf.saved_model.save(signed, os.fspath(folder), signatures=signed.signatures())


def write_labels(labels: Sequence[str], path: str | os.PathLike) -> None:
    """Writes labels, one a line, in the order of the model's outputs.

    Args:
        labels: sequence of str.
        path: str or path. The file; its folder is made if need be.

    Raises:
        ValueError: if they are not labels; see `v1keras.escaping.format_labels`.
    """
    text = format_labels(labels)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
