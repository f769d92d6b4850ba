"""Members of an ensemble behind the V1 filters that they have in common."""

import inspect
from collections.abc import Sequence

import keras

from v1keras.layers import (
    ContrastNormalization,
    LightAdaptation,
    SharedVOneBlocks,
    SubcorticalBlock,
    VOneBlock,
    noise_layers,
)
from v1keras.layers.shared_vone_blocks import common_cells, sharing_key

_STAGES = (
    keras.layers.Rescaling,
    LightAdaptation,
    SubcorticalBlock,
    ContrastNormalization,
)
_NO_SETTINGS = ("name", "trainable", "noise", "seed")


def share_front_ends(members: Sequence[keras.Model], images) -> list:
    """The members' logits, computing common V1 filters once.

    Each member draws noise of a stream of its own, whatever its seed.

    Members can share if `build_classifier` made them: images, one `Rescaling`, stages
    before V1 that are equal and draw no noise, one `VOneBlock`, the rest. Others are
    called as they are. Weights and noise layers are the members' own; with noise off the
    logits are the members' to rounding.

    Args:
        members: sequence of `keras.Model` with different names and one output.
        images: Keras tensor, the input.

    Returns:
        List of Keras tensors, one for each member.
    """
    logits: list = [None] * len(members)
    for group in _groups(members):
        blocks = [_front_end(members[number])[1] for number in group]
        # A model of their own: several groups may have stages of one name.
        first = members[group[0]]
        before = keras.Model(first.input, blocks[0].input, name=f"before_v1_{group[0]}")
        shared = SharedVOneBlocks(blocks, group, name=f"shared_v1_{group[0]}")
        outputs = shared(before(images))
        for number, block, output in zip(group, blocks, outputs, strict=True):
            member = members[number]
            rest = keras.Model(block.output, member.outputs[0], name=member.name)
            logits[number] = rest(output)
    for number, member in enumerate(members):
        if logits[number] is None:
            # The output may stand alone in a list or dictionary.
            answer = _with_stream(member, number)(images)
            (logits[number],) = keras.tree.flatten(answer)
    return logits


def carried_weights(members: Sequence[keras.Model]) -> list[list]:
    """The weights that each member has to itself in what `share_front_ends` makes.

    Args:
        members: sequence of `keras.Model` with one input and one output.

    Returns:
        List of lists of variables, one for each member. Those of V1 filters that are
        shared are none of them; those of stages before V1 are the first sharer's.
    """
    carried = [member.weights for member in members]
    for group in _groups(members):
        for number in group:
            stages, block = _front_end(members[number])
            front = [block] if number == group[0] else [*stages, block]
            shared = {id(weight) for layer in front for weight in layer.weights}
            carried[number] = [w for w in carried[number] if id(w) not in shared]
    return carried


def _with_stream(model: keras.Model, stream: int) -> keras.Model:
    """The same layers, called with noise of another stream."""
    # A subclassed model within a member has no inputs that Keras knows.
    if not (stream and noise_layers(model) and hasattr(model, "inputs")):
        return model

    def call(layer, *args, **kwargs):
        if isinstance(layer, keras.Model):
            layer = _with_stream(layer, stream)
        elif "stream" in inspect.signature(layer.call).parameters:
            kwargs["stream"] = kwargs.get("stream", 0) + stream
        return layer(*args, **kwargs)

    if isinstance(model, keras.Sequential):  # `call_function` is for functional ones
        model = keras.Model(model.inputs, model.outputs[0], name=model.name)
    return keras.models.clone_model(
        model, clone_function=lambda layer: layer, call_function=call
    )


def _groups(members: Sequence[keras.Model]) -> list[list[int]]:
    """Numbers of members that share filters, in groups of at least two."""
    groups: list[list[int]] = []
    for number, member in enumerate(members):
        front = _front_end(member)
        if front is None or sharing_key(front[1]) is None:
            continue
        related = [g for g in groups if any(_related(members[n], member) for n in g)]
        groups = [g for g in groups if g not in related]
        groups.append([n for g in related for n in g] + [number])
    return [group for group in groups if len(group) > 1]


def _related(one: keras.Model, other: keras.Model) -> bool:
    (first_stages, first), (stages, block) = map(_front_end, (one, other))
    return (
        list(map(_settings, first_stages)) == list(map(_settings, stages))
        and sharing_key(first) == sharing_key(block)
        and common_cells(first, block)
    )


def _settings(stage: keras.layers.Layer) -> tuple:
    """What decides the output of a layer without weights and noise."""
    config = stage.get_config()
    # Noise is off: neither its seed nor its mode matters.
    return type(stage), {k: v for k, v in config.items() if k not in _NO_SETTINGS}


def _front_end(member: keras.Model) -> tuple | None:
    """The stages that a member begins with and its `VOneBlock`, or None."""
    stages = []
    for layer in member.layers[1:]:
        if type(layer) is VOneBlock and stages:
            return (stages, layer) if _is_chain(member, [*stages, layer]) else None
        if type(layer) not in _STAGES or any(n.noise_gain for n in noise_layers(layer)):
            return None
        stages.append(layer)
    return None


def _is_chain(member: keras.Model, layers: Sequence[keras.layers.Layer]) -> bool:
    """Whether the images pass these layers one after the other and go nowhere else."""
    tensor = member.inputs[0]
    for layer in layers:
        # Not only layers: padding is an operation. A Sequential does not tell.
        seen_by = [
            operation
            for operation in getattr(member, "operations", ())
            if any(each is tensor for each in keras.tree.flatten(operation.input))
        ]
        if seen_by != [layer]:
            return False
        tensor = layer.output
    return True
