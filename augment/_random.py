"""Random draws that are the same bits in eager code, in `tf.data` and under XLA.

Every number comes from the counter-based Philox generator as raw 32-bit integers, which all of
TensorFlow's devices and compilers agree on. Parameters (offsets, areas, mixing weights) are then
computed in float64, where the last-bit differences between compilers (fused multiply-add, other
`exp`) practically never reach the rounding to whole pixels. Only a few numbers per image are
drawn, so this costs nothing.
"""

import functools
import zlib

import numpy as np
import tensorflow as tf

# Draws from a Beta distribution take one of this many equally likely values.
_BETA_LEVELS = 2**14


def fold_seed(seed, number):
    """Return a seed that differs from `seed` for every `number`, without touching `seed` itself.

    `number` is exclusive-ored into the upper half of the second word, which seeds made of 32-bit
    numbers leave free; Philox then turns any two different seeds into unrelated streams.

    Args:
        seed: Integers of shape `(2,)`, any integer dtype.
        number: Python integer in `[0, 2**31)`, or a name, of which the CRC-32 is taken.

    Returns:
        int64 tensor of shape `(2,)`.

    Example:
        >>> fold_seed([1, 2], 0).numpy().tolist()
        [1, 2]
    """
    if isinstance(number, str):
        number = zlib.crc32(number.encode()) & 0x7FFFFFFF
    return tf.bitwise.bitwise_xor(check_seed(seed), tf.constant([0, number << 32], tf.int64))


def check_seed(seed):
    """Return `seed` as an int64 tensor of shape `(2,)`, or raise `ValueError`."""
    seed = tf.convert_to_tensor(seed)
    if not seed.dtype.is_integer or seed.shape.rank != 1 or seed.shape[0] not in (2, None):
        raise ValueError(
            "seed must be two integers, such as [seed, step], received: "
            f"dtype {seed.dtype.name}, shape {seed.shape}"
        )
    return tf.cast(seed, tf.int64)


def random_bits(seed, shape, name):
    """Draw uniform uint32 numbers.

    Args:
        seed: Integers of shape `(2,)`.
        shape: Shape of the result; the numbers of the first rows do not depend on how many rows
            follow, so an image gets the same draws in a full and in a shorter batch.
        name: What is drawn; other names give unrelated numbers for the same seed.
    """
    return tf.random.stateless_uniform(
        shape, fold_seed(seed, name), minval=None, maxval=None, dtype=tf.uint32, alg="philox"
    )


def random_uniform(seed, shape, name):
    """Draw float64 numbers from the 2**32 evenly spaced values in `[0, 1)`; see `random_bits`."""
    return tf.cast(random_bits(seed, shape, name), tf.float64) * 2.0**-32


def uniform_to_integer(uniform, limit):
    """Map numbers in `[0, 1)` to int32 in `[0, limit)`; `limit` may be a number or a tensor."""
    return tf.cast(tf.floor(uniform * tf.cast(limit, tf.float64)), tf.int32)


def uniform_to_beta(uniform, alpha):
    """Map numbers in `[0, 1)` to draws from Beta(alpha, alpha).

    By inversion: a table holds the quantiles at the middles of 2**14 equal steps, so the cumulative
    distribution of the draws is within 2**-15 of the true one. `tf.random.stateless_gamma`, the
    usual way to Beta, is a rejection loop that XLA does not compile.

    Args:
        uniform: float64 tensor in `[0, 1)`.
        alpha: Positive Python number.

    Returns:
        float64 tensor in `[0, 1]`, same shape.
    """
    table = tf.constant(beta_quantiles(float(alpha)))
    return tf.gather(table, uniform_to_integer(uniform, _BETA_LEVELS))


@functools.lru_cache(maxsize=32)
def beta_quantiles(alpha):
    """Return the float64 quantiles of Beta(alpha, alpha) that `uniform_to_beta` looks up."""
    # SciPy takes a noticeable time to import, and only these two operations need it.
    from scipy import special

    middles = (np.arange(_BETA_LEVELS // 2) + 0.5) / _BETA_LEVELS
    lower = special.betaincinv(alpha, alpha, middles)
    return np.concatenate([lower, 1.0 - lower[::-1]])


def noise_bytes(keys, count):
    """Return `count` pseudo-random bytes for every key, as uint8 of shape `keys.shape + (count,)`.

    Each byte is the top of MurmurHash3's 32-bit finaliser over a Weyl sequence that starts at the
    key (SplitMix32). It fuses into whatever uses the noise; a Philox draw of a whole batch of
    images would cost more than all the rest.

    Args:
        keys: uint32 tensor.
        count: Integer, or int32 scalar tensor.
    """
    shift = tf.bitwise.right_shift
    state = keys[..., None] + tf.cast(tf.range(count), tf.uint32) * np.uint32(0x9E3779B9)
    for distance, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = tf.bitwise.bitwise_xor(state, shift(state, np.uint32(distance)))
        state *= np.uint32(factor)
    state = tf.bitwise.bitwise_xor(state, shift(state, np.uint32(16)))
    return tf.cast(shift(state, np.uint32(24)), tf.uint8)
