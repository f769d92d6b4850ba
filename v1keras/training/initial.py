"""Weights that a training begins with, from another run or a checkpoint."""

from pathlib import Path

import keras

from v1keras.files import file_fingerprint
from v1keras.layers import VOneBlock
from v1keras.layers.vone_block import order_of
from v1keras.models import read_published
from v1keras.models.weights import (
    HEAD,
    assign_weights,
    learned_layers,
    weights_of_model,
)
from v1keras.training.run import Run, load_model_file

# Learns anew wherever cells or classes are others.
_BOTTLENECK = "bottleneck"


def freeze_backbone(model: keras.Model) -> None:
    """Keeps all that is learned but the bottleneck behind V1 and the head as it is."""
    for layer in _backbone(model):
        layer.trainable = False


def take_weights(
    model: keras.Model, source: str, class_names: tuple[str, ...], *, frozen: bool
) -> str:
    """Gives a classifier the weights of another one, wherever they mean the same.

    Layers are matched by name and shape. The head is taken only if the classes are not
    known to be others, the bottleneck only if the cells before it are the same, whatever
    their order.

    Args:
        model: `keras.Model` that `build_classifier` made.
        source: str. A run directory, a `.keras` file, or a checkpoint that
            `v1keras.models.read_published` knows.
        class_names: tuple of str. The classes of `model`.
        frozen: bool. Whether the backbone will not be trained, so that it must be taken
            as a whole.

    Returns:
        str. One line on what was taken.

    Raises:
        FileNotFoundError: if there is no such run or file.
        ValueError: if it cannot be read, or too little fits.
    """
    other, other_classes = _open(source)
    weights = weights_of_model(other)
    if other_classes not in (None, class_names):
        weights.pop(HEAD, None)
    if _BOTTLENECK in weights:
        rows = _rows_of_bottleneck(other, model)
        if rows is None:
            del weights[_BOTTLENECK]
        else:
            kernel = weights[_BOTTLENECK]["kernel"]
            weights[_BOTTLENECK] = {"kernel": kernel[:, :, rows]}
    done = assign_weights(model, weights)
    lacking = [layer.name for layer in _backbone(model) if layer.name not in done.taken]
    if not done.taken or (frozen and lacking):
        what = (
            "fit all layers of a backbone that is frozen" if frozen else "fit a layer"
        )
        raise ValueError(
            f"`init` must {what}. Received: init={source}, a {other.name}, of which "
            f"{len(done.taken)} layers fit {model.name}, and not "
            f"{', '.join(lacking[:3])}"
        )
    return f"Weights of {source}: {done.summary()}"


def initial_run(source: str) -> Run | None:
    """The run that `init` names, `None` if it is a file."""
    return Run.open(source) if Path(source).is_dir() else None


def initial_fingerprint(source: str) -> str:
    """What tells the weights that `init` names from others, by content.

    Raises:
        FileNotFoundError: if they are gone.
    """
    run = initial_run(source)
    return file_fingerprint(run.find_model() if run is not None else source)


def initial_changes(run: Run) -> list[str]:
    """Compares the weights that a run has begun with and those that are there now.

    Args:
        run: `Run`. Its weights are no longer needed, and may be gone.

    Returns:
        list of str. What the run has, in words; empty if they are the same or gone.
    """
    before, source = run.config.get("init"), run.settings["init"]
    if before is None or not Path(source).exists():
        return []
    if initial_fingerprint(source) == before:
        return []
    return [f"begun with other weights than {source} now has"]


def _backbone(model: keras.Model) -> list[keras.layers.Layer]:
    return [
        layer
        for layer in learned_layers(model)
        if layer.name not in (_BOTTLENECK, HEAD)
    ]


def _open(source: str) -> tuple[keras.Model, tuple[str, ...] | None]:
    """The model, and its classes where they are known."""
    run = initial_run(source)
    if run is not None:
        return run.load_model(), run.class_names
    if Path(source).suffix != ".keras":
        return read_published(source).build(), None
    if not Path(source).is_file():
        raise FileNotFoundError(f"`init` must exist. Received: init={source}")
    return load_model_file(Path(source), "set `init` to a copy that is whole"), None


def _rows_of_bottleneck(other: keras.Model, model: keras.Model):
    """Where the cells of `model` are among those of `other`; `None` if elsewhere."""
    blocks = [
        layer
        for m in (other, model)
        for layer in m.layers
        if isinstance(layer, VOneBlock)
    ]
    if len(blocks) != 2 or blocks[0].parameters != blocks[1].parameters:
        return None
    theirs, ours = (block.cell_of_channel for block in blocks)
    order = order_of(theirs, ours)
    return slice(None) if order is None else order
