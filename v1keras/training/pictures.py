"""What TensorBoard shows beside figures: training images and receptive fields."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from v1keras.training.run import Run
from v1keras.v1 import filter_sheet

_IMAGES = 16


class Pictures(keras.callbacks.Callback):
    """Writes some training images and the Gabor filters into event files, once.

    Args:
        folder: path of the event files.
        run: `Run` that is trained.
        training: function that returns the batches of training, from their beginning.
            The first 16 images are shown, as the model sees them.
    """

    def __init__(self, folder: Path, run: Run, training: Callable[[], tf.data.Dataset]):
        super().__init__()
        self.folder = folder
        self.run = run
        self.training = training

    def on_epoch_begin(self, epoch, logs=None):
        if epoch > 0:
            return
        images = np.asarray(next(iter(self.training()))[0][:_IMAGES])
        shown = np.clip(np.round(images), 0, 255).astype(np.uint8)
        with tf.summary.create_file_writer(str(self.folder)).as_default(step=0):
            tf.summary.image("training images", shown, max_outputs=_IMAGES)
            if self.run.v1 is not None:
                names = ("variant", "image_size", "visual_degrees", "kernel_size")
                sheet = filter_sheet(**{name: self.run.v1[name] for name in names})
                tf.summary.image("Gabor filters", sheet[np.newaxis])
