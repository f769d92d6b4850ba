"""Models that give the output of inner layers, beside their logits or without them."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras

_POOLINGS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
    None: None,
}


def with_features(model: keras.Model, layers: Sequence[str]) -> keras.Model:
    """A model of the same layers that gives its features too.

    In an ensemble, a named layer is taken from every member that has it. Features of
    several layers are concatenated along their channels.

    Args:
        model: functional or Sequential `keras.Model` with one output of logits.
        layers: sequence of str. Names of layers of the model or of models in it, inputs
            aside.

    Returns:
        `keras.Model` with the outputs `logits` and `features`, a dictionary. It shares
        its layers with `model`.

    Raises:
        ValueError: if `model` is subclassed or a Sequential without input, there is no
            layer of one of the names or no name, or their maps differ in size.

    Example:

    >>> model = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> both = v1keras.models.with_features(model, ["layer4_1_relu2"])
    >>> both.output["features"].shape
    (None, 4, 4, 128)
    """
    model = _functional(model)
    layers = _listed(layers)
    for name in layers:
        if name not in _names(model):
            raise ValueError(
                f"`layers` must name layers of {model.name} or of models in it, inputs "
                f"aside. Received: {name!r}"
            )
    features = []

    def call(layer, *args, **kwargs):
        within = _names(layer).intersection(layers) if _is_model(layer) else ()
        if within:
            outputs = with_features(layer, sorted(within))(*args)
            features.append(outputs["features"])
            return outputs["logits"]
        output = layer(*args, **kwargs)
        if layer.name in layers:
            # Shared V1 front-ends give a list, the maps of each member.
            features.extend(keras.tree.flatten(output))
        return output

    # The layers are called anew, not copied: nested models hide what is in them.
    replayed = keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )
    sizes = {tensor.shape[1:-1] for tensor in features}
    if len(sizes) > 1:
        raise ValueError(
            "Features that are concatenated must have maps of one size. Received: "
            f"{', '.join(map(str, sorted(sizes)))}"
        )
    if len(features) > 1:
        features = [keras.layers.Concatenate(dtype="float32")(features)]
    outputs = {"logits": replayed.output, "features": features[0]}
    return keras.Model(replayed.input, outputs, name=f"{model.name}_with_features")


def headless(model: keras.Model, pooling: str | None = "avg") -> keras.Model:
    """A classifier without its head, for transfer.

    Args:
        model: `keras.Model` that `build_classifier` made, trained or not.
        pooling: str or None. What becomes of the last map: `"avg"` or `"max"` over
            height and width; `None` gives the map. Defaults to `"avg"`, what the head
            saw.

    Returns:
        `keras.Model` with outputs of shape (batch, channels), or (batch, height, width,
        channels) if `pooling` is `None`. It shares its layers with `model`.

    Raises:
        ValueError: if `pooling` is unknown, or `model` is no such classifier.

    Example:

    >>> model = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> v1keras.models.headless(model).output_shape
    (None, 128)
    """
    if pooling not in list(_POOLINGS):  # a list: not all that is given can be hashed
        raise ValueError(
            f"`pooling` must be avg, max or None. Received: pooling={pooling!r}"
        )
    last = _stages(model)[-1].output
    if pooling is not None:
        last = _POOLINGS[pooling](data_format="channels_last", name="pool")(last)
    return keras.Model(model.input, last, name=f"{model.name}_headless")


def feature_maps(
    model: keras.Model, layers: Sequence[str] | None = None
) -> keras.Model:
    """A model that gives the maps of named layers, for scientists and for other heads.

    Args:
        model: `keras.Model` that `build_classifier` made, trained or not.
        layers: sequence of str or None. `"v1"`, the cells of the V1 front-end;
            `"layer1"` to `"layer4"`, the stages of the backbone; or names of layers.
            Defaults to all of the former that the model has.

    Returns:
        `keras.Model` whose output is a dictionary from these names to tensors, maps of
        shape (batch, height, width, channels). It shares its layers with `model`.

    Raises:
        ValueError: if `model` is no such classifier, it has no layer of one of the names,
            or there is no name.

    Example:

    >>> model = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> maps = v1keras.models.feature_maps(model, ["v1", "layer4"])
    >>> {name: tensor.shape for name, tensor in maps.output.items()}
    {'v1': (None, 32, 32, 512), 'layer4': (None, 4, 4, 128)}
    """
    parts = {f"layer{n}": layer for n, layer in enumerate(_stages(model), start=1)}
    by_name = {layer.name: layer for layer in model.layers}
    if "vone_block" in by_name:
        parts = {"v1": by_name["vone_block"], **parts}
    known = {**by_name, **parts}
    names = list(parts) if layers is None else _listed(layers)
    for name in names:
        if name not in known:
            raise ValueError(
                f"`layers` must be of {', '.join(parts)}, or name layers of "
                f"{model.name}. Received: {name!r}"
            )
    outputs = {name: known[name].output for name in names}
    return keras.Model(model.input, outputs, name=f"{model.name}_features")


def _stages(model: keras.Model) -> list[keras.layers.Layer]:
    """The last layer of each stage of the backbone."""
    last = {}
    is_model = _is_model(model)
    for layer in model.layers if is_model else ():
        stage, separator, _ = layer.name.partition("_")
        if separator and stage in ("layer1", "layer2", "layer3", "layer4"):
            last[stage] = layer
    if not last:
        raise ValueError(
            "`model` must be one that `build_classifier` made; a student or a member of "
            f"an ensemble is. Received: {model.name if is_model else repr(model)}"
        )
    return list(last.values())


def _functional(model: keras.Model) -> keras.Model:
    """The model, or that of the layers of a Sequential."""
    # Of others, Keras does not know how their layers are connected.
    if not (_is_model(model) and hasattr(model, "inputs")):
        raise ValueError(
            "`model` must be a functional model, or a Sequential that begins with a "
            f"`keras.Input`. Received: {model=}"
        )
    if isinstance(model, keras.Sequential):
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def _listed(layers: Any) -> list[str]:
    """Names of layers as a list; one name alone is none."""
    one = isinstance(layers, str) or not isinstance(layers, Iterable)
    names = [] if one else list(layers)
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(
            "`layers` must be a list of at least one name of a layer. Received: "
            f"{layers=}"
        )
    return names


def _is_model(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.Model)


def _names(model: keras.Model) -> set[str]:
    """The names of all layers of a model and of the models in it, inputs aside."""
    inner = (_names(layer) for layer in model.layers if _is_model(layer))
    inputs = keras.layers.InputLayer
    own = {layer.name for layer in model.layers if not isinstance(layer, inputs)}
    return own.union(*inner)
