"""Several models of V1 that share the convolutions that they have in common."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import chain

import keras
import numpy as np

from v1keras.layers.gabor_filter_bank import GaborFilterBank
from v1keras.layers.vone_block import VOneBlock, order_of, respond
from v1keras.scalars import as_integer
from v1keras.v1 import GaborParameters


@keras.saving.register_keras_serializable(package="v1keras")
class SharedVOneBlocks(keras.layers.Layer):
    """The outputs of several `VOneBlock`s from one filter bank.

    Variants of V1 differ in which cells they have and in their noise, but often look at
    the image through the same Gabor filters: five of the eight variants of Baidya et
    al. 2021 do. Here every filter is applied once, cells that several blocks have are
    computed once, and each block adds its own noise. The outputs are those of the
    blocks to rounding.

    Args:
        blocks: sequence of `VOneBlock` or of their configurations. All of one
            `sharing_key`. A block's own noise layer is used, not copied.
        streams: sequence of int or None. The stream of each block's noise, one for each
            block; see `NeuronalNoise`. By default `0` for all.
        **kwargs: the arguments of every `keras.layers.Layer`.

    Call arguments:
        images: tensor (batch, height, width, 3), floats, RGB in [-1, 1].
        stream: int. Added to `streams`. Defaults to `0`.

    Output shape:
        A list with the shape that each block gives.

    Raises:
        ValueError: if there is no block, they cannot share, or have not as many streams.

    Example:

    >>> blocks = [v1keras.layers.VOneBlock(v) for v in ("standard", "only_simple")]
    >>> shared = v1keras.layers.SharedVOneBlocks(blocks)
    >>> [tuple(each.shape) for each in shared(np.zeros((1, 64, 64, 3)))]
    [(1, 32, 32, 512), (1, 32, 32, 512)]
    """

    def __init__(
        self,
        blocks: Sequence[VOneBlock | dict],
        streams: Sequence[int] | None = None,
        **kwargs,
    ):
        blocks = _blocks(blocks)
        if any(
            sharing_key(block) != sharing_key(blocks[0]) or sharing_key(block) is None
            for block in blocks
        ):
            raise ValueError(
                "`blocks` must be VOneBlocks of one geometry, gain and precision. "
                f"Received: {[sharing_key(block) for block in blocks]}"
            )
        streams = [0] * len(blocks) if streams is None else list(streams)
        if len(streams) != len(blocks):
            raise ValueError(
                "`streams` must hold one number for each block, or be None for 0. "
                f"Received: streams={streams} for {len(blocks)} blocks"
            )
        self.streams = [as_integer(stream, "streams") for stream in streams]
        first = blocks[0]
        super().__init__(**{"trainable": False, "dtype": first.dtype_policy, **kwargs})
        self._configs = [block.get_config() for block in blocks]
        atoms = _atoms(blocks)
        self.bank = GaborFilterBank(
            _join([atom.filters for atom in atoms]),
            image_size=first.image_size,
            visual_degrees=first.visual_degrees,
            kernel_size=first.kernel_size,
            stride=first.stride,
            gain=first.k_exc,
            input_channels=first.variant.input_channels,
            balanced=first.variant.balanced,
            dtype=self.dtype_policy,
            name="gabor_filter_bank",
        )
        self._phases = _phases(atoms)
        self.noises = [block.neuronal_noise for block in blocks]
        self._recipes = [_recipe(block, atoms) for block in blocks]

    def build(self, input_shape):
        self.bank.build(input_shape)
        self.input_spec = self.bank.input_spec
        for noise, shape in zip(
            self.noises, self.compute_output_shape(input_shape), strict=True
        ):
            noise.build(shape)

    def call(self, images, stream: int = 0):
        responses = iter(self.bank.responses_of(images, [*chain(*self._phases)]))
        parts = [tuple(next(responses) for _ in phases) for phases in self._phases]
        outputs, known = [], {}
        for recipe, noise, own in zip(
            self._recipes, self.noises, self.streams, strict=True
        ):
            if recipe not in known:
                known[recipe] = respond(
                    [parts[atom][0] for atom in recipe.simple],
                    [parts[atom] for atom in recipe.complex],
                    recipe.order,
                    energy_gain=1 / math.sqrt(2.0),
                )
            outputs.append(noise(known[recipe], stream=stream + own))
        return outputs

    def compute_output_shape(self, input_shape):
        shape = self.bank.compute_output_shape(input_shape)[:-1]
        return [(*shape, recipe.channels) for recipe in self._recipes]

    def get_config(self):
        blocks = [
            {**config, "noise": noise.noise, "seed": noise.seed}
            for config, noise in zip(self._configs, self.noises, strict=True)
        ]
        return {**super().get_config(), "blocks": blocks, "streams": self.streams}


def sharing_key(block: VOneBlock) -> tuple | None:
    """What blocks must have in common to share filters; None if they never can.

    A block cannot share if it has two equal cells, cells whose quadrature pair looks at
    another colour, or responses that depend on others (push-pull, normalisation).
    """
    variant = block.variant
    if variant.push_pull or variant.divisive_normalization != "none":
        return None
    parameters = block.parameters
    cells = _cells(parameters)
    if len(set(cells)) < len(cells) or not np.array_equal(
        parameters.channel_q0, parameters.channel_q1
    ):
        return None
    geometry = (block.image_size, block.visual_degrees, block.kernel_size, block.stride)
    filters = (block.k_exc, variant.balanced, variant.input_channels)
    return (*geometry, *filters, block.dtype_policy.name)


def common_cells(one: VOneBlock, other: VOneBlock) -> bool:
    """Whether two blocks have a cell in common."""
    return bool(set(_cells(one.parameters)) & set(_cells(other.parameters)))


def _blocks(given: Sequence[VOneBlock | dict]) -> list[VOneBlock]:
    blocks = list(given) if isinstance(given, Iterable) else []
    if not blocks or not all(isinstance(block, VOneBlock | dict) for block in blocks):
        raise ValueError(
            "`blocks` must be a list of at least one VOneBlock or configuration of one. "
            f"Received: blocks={given}"
        )
    return [
        VOneBlock.from_config(block) if isinstance(block, dict) else block
        for block in blocks
    ]


@dataclasses.dataclass(frozen=True)
class _Atom:
    """Cells of one colour that occur in the same parts of the same blocks."""

    color: int
    cells: tuple[tuple[float, ...], ...]
    parameters: GaborParameters
    in_pairs: bool

    @property
    def filters(self) -> GaborParameters:
        if not self.in_pairs:
            return self.parameters
        return self.parameters.append(self.parameters.quadrature())


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """How a block is put together: numbers of atoms, and the order of its channels."""

    simple: tuple[int, ...]
    complex: tuple[int, ...]
    order: tuple[int, ...] | None
    channels: int


def _cells(parameters: GaborParameters) -> list[tuple[float, ...]]:
    """Each cell as the tuple of its parameters, which tells it from others."""
    fields = (getattr(parameters, f.name) for f in dataclasses.fields(parameters))
    return list(zip(*(field.tolist() for field in fields), strict=True))


def _atoms(blocks: Sequence[VOneBlock]) -> list[_Atom]:
    """Cuts the cells of all blocks into the largest pieces that are used as one."""
    uses: dict[tuple[float, ...], set] = {}
    owner = {}
    for number, block in enumerate(blocks):
        for index, cell in enumerate(_cells(block.parameters)):
            is_complex = index >= block.variant.simple_channels
            uses.setdefault(cell, set()).add((number, is_complex))
            owner.setdefault(cell, (block.parameters, index))
    groups: dict[tuple, list] = {}
    for cell, used in uses.items():
        parameters, index = owner[cell]
        color = int(parameters.channel_q0[index])
        groups.setdefault((color, frozenset(used)), []).append(cell)
    # Stable: within a colour in the order in which the cells were first met.
    atoms = []
    for (color, used), cells in sorted(groups.items(), key=lambda item: item[0][0]):
        rows = [owner[cell] for cell in cells]
        parameters = _join([p.select(np.array([index])) for p, index in rows])
        in_pairs = any(is_complex for _, is_complex in used)
        atoms.append(_Atom(color, tuple(cells), parameters, in_pairs))
    return atoms


def _join(parameters: Sequence[GaborParameters]) -> GaborParameters:
    joined = parameters[0]
    for more in parameters[1:]:
        joined = joined.append(more)
    return joined


def _phases(atoms: Sequence[_Atom]) -> list[list[tuple[int, int, int]]]:
    """For each atom and phase, where the bank has its filters: colour, begin, end."""
    ends = dict.fromkeys((atom.color for atom in atoms), 0)
    phases = []
    for atom in atoms:
        phases.append([])
        for _ in range(2 if atom.in_pairs else 1):
            begin, end = ends[atom.color], ends[atom.color] + len(atom.cells)
            phases[-1].append((atom.color, begin, end))
            ends[atom.color] = end
    return phases


def _recipe(block: VOneBlock, atoms: Sequence[_Atom]) -> _Recipe:
    cells = _cells(block.parameters)
    first_complex = block.variant.simple_channels
    parts, given = [], []
    for is_complex, wanted in (
        (False, set(cells[:first_complex])),
        (True, set(cells[first_complex:])),
    ):
        chosen = [n for n, atom in enumerate(atoms) if atom.cells[0] in wanted]
        parts.append(tuple(chosen))
        given += [(cell, is_complex) for n in chosen for cell in atoms[n].cells]
    wanted = [(cells[n], bool(n >= first_complex)) for n in block.cell_of_channel]
    order = order_of(given, wanted)
    return _Recipe(*parts, None if order is None else tuple(order), len(cells))
