"""What is exported: one run, or several as an ensemble."""

import dataclasses
from collections.abc import Sequence

import keras

import v1keras
from v1keras.models import build_ensemble
from v1keras.training import Run, check_same_classes


@dataclasses.dataclass(frozen=True)
class Source:
    """A classifier to be exported, with what is known about it.

    Args:
        model: keras.Model. Takes float32 pixels 0..255, gives logits.
        members: tuple of keras.Model. Those that it averages; of one run, itself.
        class_names: tuple of str. Identifiers of the classes, by output.
        labels: tuple of str. What answers call the classes; no two are equal.
        image_size: int. Height and width of the images, in pixels.
        crop_fraction: float. The share of an image's shorter side that they show.
        runs: tuple of `Run`. Where it comes from.
    """

    model: keras.Model
    members: tuple[keras.Model, ...]
    class_names: tuple[str, ...]
    labels: tuple[str, ...]
    image_size: int
    crop_fraction: float
    runs: tuple[Run, ...]


def open_source(
    paths: Sequence[str], *, noise: str = "off", noise_seed: int = 0
) -> Source:
    """Opens runs for export.

    Args:
        paths: sequence of str. Run directories; several are averaged.
        noise: str. `"off"`, `"fixed"` or `"stochastic"`. Defaults to `"off"`.
        noise_seed: int. Seed of the noise. Defaults to `0`.

    Returns:
        A `Source`.

    Raises:
        FileNotFoundError: if a folder is not a run.
        ValueError: if the runs do not have the same classes and image size, the
            configuration of one is incomplete, one is still being trained, or its model
            is not what its configuration says.
    """
    runs = [Run.open(path) for path in paths]
    check_same_classes(runs)
    for run in runs:
        if not run.is_finished:
            raise ValueError(f"the training of {run.path} is not finished")
    models = [_load_model(run) for run in runs]
    model = models[0] if len(models) == 1 else build_ensemble(models)
    v1keras.set_noise(model, noise, seed=noise_seed)
    first = runs[0]
    return Source(
        model=model,
        members=tuple(models),
        class_names=first.class_names,
        labels=first.labels,
        image_size=first.image_size,
        crop_fraction=first.crop_fraction,
        runs=tuple(runs),
    )


def _load_model(run: Run) -> keras.Model:
    """The model of a run, if it takes the images and has the classes of the run."""
    model = in_float32(run.load_model())
    size, classes = run.image_size, len(run.class_names)
    # Of a dictionary with one tensor Keras tells the shape of the tensor.
    is_tensor = keras.utils.is_keras_tensor(model.output)
    shapes = model.input_shape[1:], model.output_shape[1:]
    if not is_tensor or shapes != ((size, size, 3), (classes,)):
        raise ValueError(
            f"the model of {run.path} must take {size} x {size} RGB images and have "
            f"{classes} outputs in one tensor, as its config.json says. Received: "
            f"input_shape={model.input_shape}, output_shape={model.output_shape}"
            + ("" if is_tensor else f" in a {type(model.output).__name__}")
        )
    return model


def in_float32(model: keras.Model) -> keras.Model:
    """A model whose layers compute in float32 from now on.

    LiteRT has no 16-bit floats of a mixed policy, and not every server computes with
    them; weights are float32 under all policies.
    """
    for layer in model._flatten_layers(include_self=False, recursive=True):
        layer.dtype_policy = "float32"
    return model
