"""Neuronal noise as one pass over the responses, for TensorFlow on a CPU.

TensorFlow's own normal draws take as long there as the convolutions of the whole
filter bank, and each elementwise operation is one more pass over a large map. Here XLA
makes one loop of generator, scaling, square root and addition.
"""

import numpy as np
import tensorflow as tf

from v1keras.layers.deviation import deviation

# Threefry-2x32 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
# 13 rounds are the fewest that pass all tests of BigCrush.
_ROUNDS = 13
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = 0x1BD11BDA

# 23 bits and half a step: every value is a float32 of its own, symmetric about 0 and
# never -1 or 1, whose normal quantiles are infinite.
_USED_BITS = 23

# sqrt(2) erfinv(u) / u as a polynomial in t = -1 - log(1 - u^2) / 7.625, which is in
# [-1, 1] for all these values: the least-squares Chebyshev expansion of degree 13.
# Its relative error is below 5e-7. `tf.math.erfinv` takes two polynomials, one of them
# with a square root, and half as much time again.
_HALF_RANGE = 7.625
_QUANTILE = (
    3.6692919, 1.9437424, -0.43906039, 0.16202373, -0.035132357, -0.03547701,
    0.054869927, -0.050639625, 0.060047959, -0.030546753, -0.042973743, 0.04353298,
    0.0070351003, -0.011871259,
)  # fmt: skip


@tf.function(jit_compile=True, autograph=False)
def add_noise(responses: tf.Tensor, seed: tf.Tensor, **constants) -> tf.Tensor:
    """Adds neuronal noise; see `NeuronalNoise` for the formula.

    Args:
        responses: float tensor of any shape. Computed in float32 whatever its type.
        seed: integer tensor (2,). The same one draws the same noise.
        **constants: those of `deviation`.

    Returns:
        Tensor of the shape and type of `responses`.
    """
    values = tf.cast(responses, tf.float32)
    noise = standard_normal(tf.shape(values), seed) * deviation(values, **constants)
    return tf.cast(values + noise, responses.dtype)


def standard_normal(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Standard normal numbers by inversion of 23 random bits, at most 5.3 in size.

    Args:
        shape: integer tensor. At most 2^31 numbers.
        seed: integer tensor (2,), the key of the generator.

    Returns:
        float32 tensor.
    """
    index = tf.range(tf.reduce_prod(shape))
    words, _ = threefry(seed, (index, tf.zeros_like(index)))
    bits = tf.bitwise.right_shift(words, np.uint32(32 - _USED_BITS))
    steps = tf.cast(tf.cast(bits, tf.int32), tf.float32) + 0.5
    uniform = steps * 2.0 ** (1 - _USED_BITS) - 1.0
    return tf.reshape(_normal_quantile(uniform), shape)


pattern = tf.function(standard_normal, jit_compile=True, autograph=False)
"""`standard_normal` in one pass."""


def _normal_quantile(uniform: tf.Tensor) -> tf.Tensor:
    """The standard normal numbers of numbers that are uniform on (-1, 1)."""
    log = tf.math.log((1.0 - uniform) * (1.0 + uniform))
    place = log * (-1.0 / _HALF_RANGE) - 1.0
    ratio = tf.zeros_like(place)
    for coefficient in reversed(_QUANTILE):
        ratio = ratio * place + coefficient
    return ratio * uniform


def threefry(
    key: tf.Tensor, counter: tuple[tf.Tensor, tf.Tensor], rounds: int = _ROUNDS
) -> tuple[tf.Tensor, tf.Tensor]:
    """Threefry-2x32, a generator of random words without a state.

    Args:
        key: integer tensor (2,).
        counter: pair of integer tensors of one shape.
        rounds: int. Defaults to `13`.

    Returns:
        Pair of uint32 tensors of that shape.
    """
    first, second = (tf.cast(word, tf.uint32) for word in tf.unstack(key))
    parity = tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(first, second), _PARITY)
    keys = (first, second, parity)
    x, y = (tf.cast(word, tf.uint32) for word in counter)
    x, y = x + first, y + second
    for number in range(rounds):
        x += y
        y = tf.bitwise.bitwise_xor(_rotate(y, _ROTATIONS[number % 8]), x)
        if number % 4 == 3:
            step = number // 4 + 1
            x += keys[step % 3]
            y += keys[(step + 1) % 3] + np.uint32(step)
    return x, y


def _rotate(words: tf.Tensor, bits: int) -> tf.Tensor:
    left = tf.bitwise.left_shift(words, np.uint32(bits))
    return tf.bitwise.bitwise_or(
        left, tf.bitwise.right_shift(words, np.uint32(32 - bits))
    )
