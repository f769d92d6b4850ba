"""Blocks that share filters answer as they do alone."""

import numpy as np
import pytest

from v1keras.layers import SharedVOneBlocks, VOneBlock
from v1keras.v1 import Variant, sample_gabors

IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32, 3)).astype("float32")
SETTINGS = {"image_size": 32, "stride": 4, "kernel_size": 9, "noise": "off"}
SHARING = ("standard", "no_noise", "low_noise", "only_simple", "only_complex")


def blocks(variants, **settings):
    return [VOneBlock(v, **{**SETTINGS, **settings}) for v in variants]


def assert_as_alone(shared, alone):
    for found, block in zip(shared(IMAGES), alone, strict=True):
        expected = np.asarray(block(IMAGES))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("order", ["color", "sampled"])
@pytest.mark.parametrize("variants", [SHARING, SHARING[::-1], ("sf_low", "sf_mid")])
def test_outputs_are_those_of_each_block(variants, order):
    alone = blocks(variants, channel_order=order)
    assert_as_alone(SharedVOneBlocks(alone), alone)


def test_any_split_of_the_same_cells():
    gabors = sample_gabors(12, seed=4)
    shuffled = np.random.default_rng(1).permutation(12)
    alone = [
        VOneBlock(simple_channels=n, complex_channels=12 - n, gabors=each, **SETTINGS)
        for n, each in ((12, gabors), (5, gabors), (0, gabors.select(shuffled)))
    ]
    alone += [
        VOneBlock(
            simple_channels=2,
            complex_channels=3,
            gabors=gabors.select(shuffled[:5]),
            channel_order="color",
            **SETTINGS,
        )
    ]
    assert_as_alone(SharedVOneBlocks(alone), alone)


def test_every_filter_is_there_once():
    shared = SharedVOneBlocks(blocks(SHARING))
    shared.build((None, 32, 32, 3))
    # 512 cells in both phases, where the five alone have 3 * 768 + 512 + 1024.
    assert shared.count_params() == 1024 * 9 * 9
    assert shared.trainable_weights == []


def test_each_block_has_its_own_noise():
    pair = blocks(["standard", "standard"], noise="stochastic")
    shared = SharedVOneBlocks(pair, streams=[0, 1])
    first, second = (np.asarray(each) for each in shared(IMAGES))
    quiet = np.asarray(blocks(["standard"])[0](IMAGES))
    noise = [(each - quiet).ravel() for each in (first, second)]
    assert min(np.std(each) for each in noise) > 0.5
    assert abs(np.corrcoef(*noise)[0, 1]) < 0.02


def test_as_many_streams_as_blocks():
    pair = blocks(["standard", "only_simple"])
    assert SharedVOneBlocks(pair).streams == [0, 0]
    assert SharedVOneBlocks(pair, np.array([2, 1])).streams == [2, 1]
    for streams in ([], [1], [0, 1, 2]):
        with pytest.raises(ValueError, match=r"streams=\[.*\] for 2 blocks"):
            SharedVOneBlocks(pair, streams)
    with pytest.raises(ValueError, match="`streams` must be an integer"):
        SharedVOneBlocks(pair, [0, 1.5])


@pytest.mark.parametrize(
    "given", [[], 3, VOneBlock(), VOneBlock().get_config(), [VOneBlock(), "standard"]]
)
def test_no_list_of_blocks(given):
    with pytest.raises(ValueError, match=r"list of at least one VOneBlock.*blocks="):
        SharedVOneBlocks(given)


def test_refusals():
    with pytest.raises(ValueError, match="one geometry"):
        SharedVOneBlocks([VOneBlock(stride=2), VOneBlock(stride=4)])
    two_colors = sample_gabors(4, seed=0)
    object.__setattr__(two_colors, "channel_q1", (two_colors.channel_q0 + 1) % 3)
    with pytest.raises(ValueError, match="None"):
        SharedVOneBlocks(
            [
                VOneBlock(
                    Variant(name="own", simple_channels=4, complex_channels=0),
                    gabors=two_colors,
                )
            ]
        )
