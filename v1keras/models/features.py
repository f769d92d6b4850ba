"""Models that give the output of inner layers beside their logits."""

from collections.abc import Sequence

import keras


def with_features(model: keras.Model, layers: Sequence[str]) -> keras.Model:
    """A model of the same layers that gives its features too.

    In an ensemble, a named layer is taken from every member that has it. Features of
    several layers are concatenated along their channels.

    Args:
        model: functional `keras.Model` with one output of logits.
        layers: sequence of str. Names of layers of the model or of models in it.

    Returns:
        `keras.Model` with the outputs `logits` and `features`, a dictionary. It shares
        its layers with `model`.

    Raises:
        ValueError: if there is no layer of one of the names, or their maps differ in
            size.

    Example:

    >>> model = v1keras.models.build_classifier("resnet18", num_classes=10, width=16)
    >>> both = v1keras.models.with_features(model, ["layer4_1_relu2"])
    >>> both.output["features"].shape
    (None, 4, 4, 128)
    """
    for name in layers:
        if name not in _names(model):
            raise ValueError(
                f"`layers` must name layers of {model.name} or of models in it. "
                f"Received: {name!r}"
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
            features.append(output)
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


def _is_model(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.Model)


def _names(model: keras.Model) -> set[str]:
    """The names of all layers of a model and of the models in it."""
    inner = (_names(layer) for layer in model.layers if _is_model(layer))
    return {layer.name for layer in model.layers}.union(*inner)
