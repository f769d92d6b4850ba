"""An ensemble: one functional model that averages its members."""

from collections.abc import Iterable, Sequence

import keras

from v1keras.layers import MeanLogits
from v1keras.models.sharing import carried_weights, share_front_ends


def build_ensemble(
    members: Sequence[keras.Model],
    *,
    average: str = "logits",
    weights: Sequence[float] | None = None,
    probabilities: bool = False,
    member_outputs: bool = False,
    name: str = "ensemble",
) -> keras.Model:
    """Builds one functional model that averages its members.

    Members may differ in everything but their input and classes. V1 filters that
    members have in common are computed once. The members' own layers and weights are
    used, not copied, and stay as they are: what `set_noise` does to a member holds in
    the ensemble too. No two members draw the same noise, whatever their seeds (a
    subclassed model within a member must have a seed of its own).

    Args:
        members: sequence of `keras.Model`. Classifiers with one image input and one
            output of logits, of equal shapes, that share no weights but those of a
            common V1.
        average: str. `"logits"` or `"probabilities"`; see `MeanLogits`. Defaults to
            `"logits"`.
        weights: sequence of float or None. The weight of each member; they are divided
            by their sum. Defaults to equal weights.
        probabilities: bool. Whether to give, instead of logits, a dictionary of
            `logits` and the (weighted) mean of the members' `probabilities`. Defaults
            to `False`.
        member_outputs: bool. Whether to give a dictionary with `logits` and the logits
            of each member under its name; a name that is taken gets a number. Defaults
            to `False`.
        name: str. The name of the model. Defaults to `"ensemble"`.

    Returns:
        `keras.Model`.

    Raises:
        ValueError: if there is no member, one of them does not have one input and one
            output, two of them share weights or differ in input or number of classes
            (the message names them), or `weights` are unusable.

    Example:

    >>> members = [
    ...     v1keras.models.build_classifier("resnet18", v, num_classes=10, width=16)
    ...     for v in ("sf_low", "sf_high")
    ... ]
    >>> ensemble = v1keras.models.build_ensemble(members)
    >>> ensemble.output_shape
    (None, 10)
    """
    members = _models(members)
    first = members[0]
    for member in members[1:]:
        for what in ("input_shape", "output_shape"):
            if getattr(member, what) != getattr(first, what):
                raise ValueError(
                    f"All members must have the same {what.replace('_', ' ')}. "
                    f"Received: {first.name} with {getattr(first, what)}, "
                    f"{member.name} with {getattr(member, what)}"
                )
    _check_weights(members)

    members = _uniquely_named(members)
    inputs = keras.Input(first.input_shape[1:], name="images")
    logits = share_front_ends(members, inputs)
    mean = MeanLogits(average, weights, name="logits")(logits)
    outputs = {"logits": mean}
    if probabilities:
        layer = MeanLogits("probabilities", weights, name="log_probabilities")
        softmax = keras.layers.Softmax(dtype="float32", name="probabilities")
        outputs["probabilities"] = softmax(layer(logits))
    if member_outputs:
        names = (member.name for member in members)
        outputs |= dict(zip(names, logits, strict=True))
    return keras.Model(inputs, outputs if len(outputs) > 1 else mean, name=name)


def _models(members: Sequence[keras.Model]) -> list[keras.Model]:
    """The members, each a model with one input and one output."""
    models = list(members) if isinstance(members, Iterable) else []
    if not models or not all(isinstance(model, keras.Model) for model in models):
        raise ValueError(
            f"`members` must be a list of at least one model. Received: {members=}"
        )
    for number, model in enumerate(models):
        # Subclassed models have none that Keras knows.
        inputs, outputs = (
            len(getattr(model, ends, ())) for ends in ("inputs", "outputs")
        )
        if (inputs, outputs) != (1, 1):
            raise ValueError(
                "Members must be functional or Sequential models with one input and "
                f"one output. Received: {_place(models, number)}, a "
                f"{type(model).__name__} with {inputs} inputs and {outputs} outputs. "
                "With `images = keras.Input((height, width, 3))`, "
                "`keras.Model(images, model(images))` makes a member of a subclassed "
                "model or a Sequential without input, "
                '`keras.Model(images, model(images)["logits"])` of one with more outputs'
            )
    return models


def _check_weights(members: list[keras.Model]) -> None:
    """Refuses members of which Keras would save a file that it cannot load."""
    first = {}
    for number, weights in enumerate(carried_weights(members)):
        for weight in weights:
            other = first.setdefault(id(weight), number)
            if other != number:
                raise ValueError(
                    "Members must not share weights: Keras could not load the file of "
                    f"the ensemble. Received: {_place(members, other)} and "
                    f"{_place(members, number)}, which share {weight.path}. Give one of "
                    "them its own: `copy = keras.models.clone_model(model)`, then "
                    "`copy.set_weights(model.get_weights())`"
                )


def _place(members: list[keras.Model], number: int) -> str:
    return f"members[{number}] ({members[number].name})"


def _uniquely_named(members: list[keras.Model]) -> list[keras.Model]:
    """Members as they are, or within a model of another name where names clash."""
    # Names of other outputs and layers of the ensemble.
    taken = {"images", "logits", "probabilities", "log_probabilities"}
    unique = []
    for member in members:
        name, count = member.name, 1
        while name in taken:
            count += 1
            name = f"{member.name}_{count}"
        taken.add(name)
        if name != member.name:
            # The same layers in a model of another name.
            member = keras.Model(member.inputs, member.outputs[0], name=name)
        unique.append(member)
    return unique
