"""Random draws that are the same bits in eager code, in `tf.data` and under XLA.

Every number is a function of the seed, the name of what is drawn, and its place, computed by the
generator Threefry-2x32 in whole numbers, on which all devices and compilers agree. TensorFlow's own
Philox would do as well, but XLA takes a fifth of a second to compile each draw, five times as long
as this, which adds up to most of the time a chain of operations takes to compile.

Parameters (offsets, areas, mixing weights) are then computed in float64, where the last-bit
differences between compilers (fused multiply-add, other `exp`) practically never reach the rounding
to whole pixels. Only a few numbers are drawn for an image, so this costs nothing.

Source:
    Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011.
"""

import functools
import zlib

import numpy as np
import tensorflow as tf

# Draws from a Beta distribution take one of this many equally likely values.
_BETA_LEVELS = 2**14

# Threefry-2x32: bits by which each of eight rounds rotates, and the key schedule's parity.
_ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
_PARITY = np.uint32(0x1BD11BDA)

# What the state of `noise_words` moves by from one word to the next: noise that goes on where that
# of a key left off after `count` bytes has the key `key + count * NOISE_STEP`.
NOISE_STEP = np.uint32(0x9E3779B9)


def check_seed(seed):
    """Return `seed` as an int64 tensor of shape `(2,)`, or raise `ValueError`."""
    seed = tf.convert_to_tensor(seed)
    if not seed.dtype.is_integer or seed.shape.rank != 1 or seed.shape[0] not in (2, None):
        raise ValueError(
            "seed must be two integers, such as [seed, step], received: "
            f"dtype {seed.dtype.name}, shape {seed.shape}"
        )
    return tf.cast(seed, tf.int64)


def fold_seed(seed, number):
    """Return a seed unrelated to `seed` and different for every `number`.

    Args:
        seed: Integers of shape `(2,)`, any integer dtype.
        number: Python integer in `[0, 2**32)`.

    Returns:
        int64 tensor of shape `(2,)`.

    Example:
        >>> fold_seed([0, 0], 0).numpy().tolist()
        [1797259609, 2579123966]
    """
    words = threefry(_key(seed), tf.constant([0], tf.uint32), np.uint32(number))
    return tf.cast(tf.concat(words, axis=0), tf.int64)


def random_bits(seed, shape, name):
    """Draw uniform uint32 numbers.

    Args:
        seed: Integers of shape `(2,)`.
        shape: Shape of the result; the numbers of the first rows do not depend on how many rows
            follow, so an image gets the same draws in a full and in a shorter batch.
        name: What is drawn; other names give unrelated numbers for the same seed.
    """
    places = tf.cast(tf.range(tf.reduce_prod(shape)), tf.uint32)
    bits, _ = threefry(_key(seed), places, np.uint32(zlib.crc32(name.encode())))
    return tf.reshape(bits, shape)


# A graph of its own, so that its two hundred small steps are traced once a process, and are one
# call in eager code; in other graphs it is inlined.
@tf.function(
    input_signature=[
        tf.TensorSpec([2], tf.uint32),
        tf.TensorSpec([None], tf.uint32),
        tf.TensorSpec([], tf.uint32),
    ],
    autograph=False,
)
def threefry(key, first, second):
    """Encrypt pairs of uint32 words with the 20 rounds of Threefry-2x32.

    Args:
        key: uint32 tensor of shape `(2,)`.
        first: uint32 tensor of shape `(count,)`, the first words.
        second: uint32 scalar, the second word of all pairs.

    Returns:
        Two uint32 tensors of shape `(count,)`.
    """
    keys = (key[0], key[1], tf.bitwise.bitwise_xor(tf.bitwise.bitwise_xor(key[0], key[1]), _PARITY))
    first, second = first + keys[0], tf.fill(tf.shape(first), second + keys[1])
    for turn in range(20):
        first += second
        second = tf.bitwise.bitwise_xor(_rotate_left(second, _ROTATIONS[turn % 8]), first)
        if turn % 4 == 3:
            injection = turn // 4 + 1
            first += keys[injection % 3]
            second += keys[(injection + 1) % 3] + np.uint32(injection)
    return first, second


def _rotate_left(words, bits):
    high = tf.bitwise.left_shift(words, np.uint32(bits))
    return tf.bitwise.bitwise_or(high, tf.bitwise.right_shift(words, np.uint32(32 - bits)))


def _key(seed):
    """Return uint32 `(2,)`: the seed itself if both of its numbers are in `[0, 2**32)`."""
    seed = check_seed(seed)
    low = tf.cast(tf.bitwise.bitwise_and(seed, 0xFFFFFFFF), tf.uint32)
    high = tf.cast(tf.bitwise.bitwise_and(tf.bitwise.right_shift(seed, 32), 0xFFFFFFFF), tf.uint32)
    return low + high * np.uint32(0x9E3779B9)


def random_uniform(seed, shape, name):
    """Draw float64 numbers from the 2**32 evenly spaced values in `[0, 1)`; see `random_bits`."""
    return tf.cast(random_bits(seed, shape, name), tf.float64) * 2.0**-32


def uniform_to_integer(uniform, limit):
    """Map numbers in `[0, 1)` to int32 in `[0, limit)`; `limit` may be a number or a tensor."""
    return tf.cast(tf.floor(uniform * tf.cast(limit, tf.float64)), tf.int32)


def uniform_to_beta(uniform, alpha, beta=None):
    """Map numbers in `[0, 1)` to draws from Beta(alpha, beta).

    By inversion: a table holds the quantiles at the middles of 2**14 equal steps, so the cumulative
    distribution of the draws is within 2**-15 of the true one. `tf.random.stateless_gamma`, the
    usual way to Beta, is a rejection loop that XLA does not compile.

    Args:
        uniform: float64 tensor in `[0, 1)`.
        alpha: Positive Python number.
        beta: Likewise; `None` is `alpha`.

    Returns:
        float64 tensor in `[0, 1]`, same shape.
    """
    table = tf.constant(beta_quantiles(float(alpha), beta))
    return tf.gather(table, uniform_to_integer(uniform, _BETA_LEVELS))


@functools.lru_cache(maxsize=32)
def beta_quantiles(alpha, beta=None):
    """Return the float64 quantiles of Beta(alpha, beta) that `uniform_to_beta` looks up."""
    beta = alpha if beta is None else beta
    # SciPy takes a noticeable time to import, and few operations need it.
    from scipy import special

    middles = (np.arange(_BETA_LEVELS // 2) + 0.5) / _BETA_LEVELS
    lower = special.betaincinv(alpha, beta, middles)
    upper = lower if alpha == beta else special.betaincinv(beta, alpha, middles)
    return np.concatenate([lower, 1.0 - upper[::-1]])


def noise_words(keys, count):
    """Return `count` pseudo-random uint32 words for every key, shape `keys.shape + (count,)`.

    Each is MurmurHash3's 32-bit finaliser of a Weyl sequence that starts at the key (SplitMix32).
    It takes a sixth of the steps of Threefry, which for whole images would cost more than all the
    rest.

    Args:
        keys: uint32 tensor.
        count: Integer, or int32 scalar tensor.
    """
    return noise_at(keys[..., None], tf.range(count))


def noise_at(keys, places):
    """Return the uint32 words that `noise_words` has at `places` (int32); both are broadcast."""
    shift = tf.bitwise.right_shift
    state = keys + tf.cast(places, tf.uint32) * NOISE_STEP
    for distance, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = tf.bitwise.bitwise_xor(state, shift(state, np.uint32(distance)))
        state *= np.uint32(factor)
    return tf.bitwise.bitwise_xor(state, shift(state, np.uint32(16)))


def noise_bytes(keys, count):
    """Return `count` pseudo-random bytes for every key: the highest of each of `noise_words`.

    Args:
        keys: uint32 tensor.
        count: Integer, or int32 scalar tensor.

    Returns:
        uint8 of shape `keys.shape + (count,)`.
    """
    return tf.cast(tf.bitwise.right_shift(noise_words(keys, count), np.uint32(24)), tf.uint8)
