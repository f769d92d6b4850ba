"""TensorFlow's stateless random numbers on a CPU or GPU, in NumPy.

Batches that NumPy makes thereby have the order and the augmentation of those of
`tf.data`. The generator is Philox 4x32 with ten rounds (Salmon et al. 2011, "Parallel
random numbers: as easy as 1, 2, 3"); TensorFlow derives its key and its counter from a
seed by one more block of it.
"""

import numpy as np

Seed = tuple[int, int]

_ROUNDS = 10
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint32)
# TensorFlow's `GenerateKey`, in stateless_random_ops.cc.
_SEED_KEY = np.array([0x3EC8F720, 0x02461E29], np.uint32)
_BITS = 32


def philox(counters: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Blocks of four random words.

    Args:
        counters: uint32 array (..., 4).
        key: uint32 array (2,).

    Returns:
        uint32 array (..., 4).
    """
    words = np.moveaxis(counters.astype(np.uint32), -1, 0)
    for _ in range(_ROUNDS):
        products = [
            factor * word.astype(np.uint64)
            for factor, word in zip(_MULTIPLIERS, words[::2], strict=True)
        ]
        (high0, low0), (high1, low1) = (
            ((p >> np.uint64(_BITS)).astype(np.uint32), p.astype(np.uint32))
            for p in products
        )
        words = np.stack(
            [high1 ^ words[1] ^ key[0], low1, high0 ^ words[3] ^ key[1], low0]
        )
        key = key + _WEYL  # modulo 2**32
    return np.moveaxis(words, 0, -1)


def random_bits(seed: Seed, count: int) -> np.ndarray:
    """The first `count` random words of a seed: uint32 (count,)."""
    words = np.array(seed, np.int64).view(np.uint32)
    mixed = philox(words, _SEED_KEY)
    counters = np.zeros((-(-count // 4), 4), np.uint32)
    counters[:, 0] = np.arange(len(counters))
    counters[:, 2:] = mixed[2:]
    return philox(counters, mixed[:2]).ravel()[:count]


def uniform(seed: Seed, shape: tuple[int, ...]) -> np.ndarray:
    """`tf.random.stateless_uniform`: float32 on [0, 1).

    Args:
        seed: pair of int.
        shape: tuple of int.
    """
    # The bits of a float32 in [1, 2).
    bits = random_bits(seed, int(np.prod(shape))) & np.uint32(0x7FFFFF)
    ones = bits | np.uint32(0x3F800000)
    return ones.view(np.float32).reshape(shape) - np.float32(1)


def fold_in(seed: Seed, number: int) -> Seed:
    """`tf.random.experimental.stateless_fold_in`: a seed of its own for each number."""
    return int(random_bits(seed, 2).view(np.int64)[0]), number


def shuffled(count: int, seed: Seed) -> np.ndarray:
    """`tf.random.experimental.stateless_shuffle` of 0..count - 1: int64 (count,)."""
    places = np.arange(count, 1, -1)
    moves = (random_bits(seed, len(places)) % places).tolist()
    order = list(range(count))
    for place, move in enumerate(moves):
        order[place], order[place + move] = order[place + move], order[place]
    return np.array(order, np.int64)
