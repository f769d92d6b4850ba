"""Members of an ensemble behind the V1 filters that they have in common."""

import inspect
from collections.abc import Sequence

import keras

from v1keras.layers import SharedVOneBlocks, VOneBlock, noise_layers
from v1keras.layers.shared_vone_blocks import common_cells, sharing_key


def share_front_ends(members: Sequence[keras.Model], images) -> list:
    """The members' logits, computing common V1 filters once.

    Each member draws noise of a stream of its own, whatever its seed.

    Members can share if `build_classifier` made them: images, one `Rescaling`, one
    `VOneBlock`, the rest. Others are called as they are. Weights and noise layers are
    the members' own; with noise off the logits are the members' to rounding.

    Args:
        members: sequence of `keras.Model` with different names and one output.
        images: Keras tensor, the input.

    Returns:
        List of Keras tensors, one for each member.
    """
    logits: list = [None] * len(members)
    for group in _groups(members):
        blocks = [_front_end(members[number])[1] for number in group]
        rescaling = _front_end(members[group[0]])[0]
        shared = SharedVOneBlocks(blocks, group, name=f"shared_v1_{group[0]}")
        outputs = shared(rescaling(images))
        for number, block, output in zip(group, blocks, outputs, strict=True):
            member = members[number]
            rest = keras.Model(block.output, member.outputs[0], name=member.name)
            logits[number] = rest(output)
    return [
        _with_stream(member, number)(images) if given is None else given
        for number, (member, given) in enumerate(zip(members, logits, strict=True))
    ]


def _with_stream(model: keras.Model, stream: int) -> keras.Model:
    """The same layers, called with noise of another stream."""
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
    (first_rescaling, first), (rescaling, block) = map(_front_end, (one, other))
    return (
        (first_rescaling.scale, first_rescaling.offset)
        == (rescaling.scale, rescaling.offset)
        and sharing_key(first) == sharing_key(block)
        and common_cells(first, block)
    )


def _front_end(member: keras.Model) -> tuple | None:
    """The `Rescaling` and the `VOneBlock` that a member begins with, or None."""
    layers = member.layers[1:3]
    if [type(layer) for layer in layers] != [keras.layers.Rescaling, VOneBlock]:
        return None
    return tuple(layers)
