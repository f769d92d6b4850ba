"""Seeds of initial weights."""

import numpy as np
import pytest

from v1keras.models import build_classifier

SIZES = {"num_classes": 3, "input_shape": (32, 32, 3), "width": 4, "stride": 8}


def weights(seed):
    return build_classifier("resnet18", "base", seed=seed, **SIZES).get_weights()


def test_any_whole_number_in_range_is_a_seed_of_its_own():
    for ours, expected in zip(weights(np.int64(7)), weights(7), strict=True):
        np.testing.assert_array_equal(ours, expected)
    drawn = [weights(seed)[0].ravel() for seed in (0, 2**29, 2**31, 2**32 - 1)]
    assert np.abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.2


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.5])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match=f"`seed` must be .*seed={seed}"):
        weights(seed)
