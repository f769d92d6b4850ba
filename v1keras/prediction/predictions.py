"""`predict`: image files in, labels and probabilities out."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from v1keras.corruptions import corrupt as corrupt_images
from v1keras.data.folders import counted, image_files
from v1keras.data.images import SUFFIXES, ImageFiles, read_ahead
from v1keras.prediction.classifier import Classifier, RunLike, open_classifier
from v1keras.prediction.config import parse_corruption


@dataclasses.dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier says about some images.

    Args:
        paths: tuple of str. The files, N of them.
        class_labels: tuple of str. The labels of all classes, in the order of the columns.
        probabilities: float32 array (N, classes).
    """

    paths: tuple[str, ...]
    class_labels: tuple[str, ...]
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable label of each image."""
        return tuple(
            self.class_labels[best] for best in self.probabilities.argmax(axis=1)
        )

    def top(self, k: int = 3) -> list[list[tuple[str, float]]]:
        """The best labels of each image with their probabilities, best first.

        Args:
            k: int. How many; fewer when there are fewer classes. Defaults to `3`.
        """
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :k]
        return [
            [(self.class_labels[index], float(row[index])) for index in best]
            for best, row in zip(order, self.probabilities, strict=True)
        ]


def predict(
    run: RunLike | Sequence[RunLike],
    images: str | os.PathLike | Sequence[str | os.PathLike],
    *,
    corrupt: str | None = None,
    noise: str | None = None,
    seed: int = 0,
    calibrated: bool = False,
    batch_size: int = 32,
) -> Predictions:
    """Classifies image files.

    Files are decoded in batches while the model works. Images are made to fit as in
    training and serving: the shorter side is scaled to the size of the model's input,
    or more if the model has a `crop_fraction` below 1, then the centre is cropped.

    Args:
        run: str, path or `Run`, or a sequence of them. A run; several, whose logits are
            averaged; or an exported model: the folder of its versions, one version, or
            a LiteRT file.
        images: str or path, or a sequence of them. Files, and folders with images at
            any depth, which are taken in the order of their names.
        corrupt: str or None. A corruption to apply first, such as `"fog:3"`. Defaults
            to `None`.
        noise: str or None. `"stochastic"`, `"off"` or `"fixed"`, for runs. Defaults to
            `None`: as saved, where answers of a model that was trained with noise
            differ a little from draw to draw.
        seed: int. Seed of the corruption and of a noise that is given. Defaults to `0`.
        calibrated: bool. Whether probabilities are those after division of the logits
            by the temperature of the run (`v1keras.evaluation.calibrate`), which is
            fitted on its held-out images when it is first asked for. Defaults to
            `False`.
        batch_size: int. Images that the model is shown at once. Defaults to `32`.

    Returns:
        `Predictions`.

    Raises:
        FileNotFoundError: if a run or an image is missing.
        ValueError: if a model or an image cannot be read, a folder holds no images, or
            an argument is out of range.

    Example:

    >>> images, _ = v1keras.data.draw_shapes(1, image_size=80, seed=0)
    >>> keras.utils.save_img("cat.png", images[0])
    >>> predictions = v1keras.predict("runs/student", "cat.png", noise="off")
    >>> predictions.probabilities.shape
    (1, 12)
    >>> predictions.labels[0] == predictions.top(3)[0][0][0]
    True
    """
    paths = find_image_files(images)
    corruption = None if corrupt is None else parse_corruption(corrupt)
    classifier = open_classifier(run, noise=noise, seed=seed, calibrated=calibrated)
    batches = predict_batches(
        classifier, paths, corruption=corruption, seed=seed, batch_size=batch_size
    )
    probabilities = np.concatenate([batch.probabilities for batch in batches])
    return Predictions(tuple(paths), classifier.labels, probabilities)


def predict_batches(
    classifier: Classifier,
    paths: Sequence[str],
    *,
    corruption: tuple[str, int] | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> Iterator[Predictions]:
    """`predict` as a stream: what is held in memory is two batches.

    Args:
        classifier: `Classifier`. From `open_classifier`.
        paths: sequence of str. Image files.
        corruption: tuple of a name and a severity, or None. Defaults to `None`.
        seed: int. Seed of the corruption. Defaults to `0`.
        batch_size: int. Defaults to `32`.

    Yields:
        `Predictions` of the next images.

    Raises:
        ValueError: if an image cannot be read, or `batch_size` is below 1.
    """
    if batch_size < 1:
        raise ValueError(
            f"`batch_size` must be at least 1. Received: batch_size={batch_size}"
        )
    files = ImageFiles(paths, classifier.image_size, classifier.crop_fraction)
    starts = range(0, len(files), batch_size)
    start = 0
    for pixels in read_ahead(files[each : each + batch_size] for each in starts):
        end = start + len(pixels)
        if corruption is not None:
            index = range(start, end)
            pixels = corrupt_images(pixels, *corruption, seed=seed, index=index)
        shown = tuple(paths[start:end])
        yield Predictions(shown, classifier.labels, classifier.answer(pixels))
        start = end


def find_image_files(
    images: str | os.PathLike | Sequence[str | os.PathLike],
) -> list[str]:
    """The image files that paths of files and folders stand for.

    Args:
        images: str or path, or a sequence of them. Of a folder, what ends like an
            image at any depth, links followed, without hidden files and folders.

    Raises:
        OSError: if a path does not exist or a folder cannot be read.
        ValueError: if a folder holds no images, links lead to a folder twice, or there
            are no paths.
    """
    given = [images] if isinstance(images, str | os.PathLike) else list(images)
    if not given:
        raise ValueError("`images` must name at least one image. Received: images=[]")
    paths = []
    for path in map(Path, given):
        if path.is_file():
            paths.append(str(path))
        elif path.is_dir():
            found, others = image_files(path, {})
            if not found:
                only = f", only {counted(others)}" if others else ""
                raise ValueError(
                    f"`images` must hold images (*{', *'.join(SUFFIXES)}). "
                    f"Received: no image in {path}{only}"
                )
            paths += found
        else:
            raise FileNotFoundError(
                f"`images` must be files or folders that exist. Received: images={path}"
            )
    return paths
