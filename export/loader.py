"""A SavedModel as TensorFlow Serving loads it."""

import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf


class LoadedModel:
    """The signatures of a SavedModel, loaded by TensorFlow's session loader.

    Args:
        folder: str or path. Holds the SavedModel.

    Attributes:
        signatures: dict from name to `SignatureDef`.

    Raises:
        OSError: if there is none.
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=graph)
        with graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(
                self._session, ["serve"], os.fspath(folder)
            )
        self.signatures = dict(loaded.signature_def)

    def call(
        self, signature: str, inputs: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """All outputs of a signature.

        Args:
            signature: str. A key of `signatures`.
            inputs: dict from the name of an input to its array.

        Returns:
            Dict from the name of an output to its array.

        Raises:
            ValueError: if an array does not fit to its input.
            tf.errors.OpError: if the model cannot compute it.
        """
        definition = self.signatures[signature]
        outputs = {key: info.name for key, info in definition.outputs.items()}
        feeds = {definition.inputs[key].name: value for key, value in inputs.items()}
        return self._session.run(outputs, feeds)
