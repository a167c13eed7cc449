"""Random numbers for the images of a batch, drawn by name."""

import tensorflow as tf

from augment import _random

# A place inside each of the 2**32 steps of a draw. At their ends or middles, times a whole number,
# a value is often half-way between two float32 numbers, where the last bit of float64 decides what
# it is rounded to, and XLA's fused multiply-add moves that bit.
_INSIDE_STEP = 0.6180339887 * 2.0**-32


class Draw:
    """What an operation draws from, one number or row for each image.

    The numbers depend on the seed, the operation's name and the label they are drawn under, and on
    nothing else: not on the other draws, nor on how many images follow in the batch.

    Attributes:
        batch: Number of images, an integer or an int32 scalar.
        height: Rows of an image, likewise.
        width: Columns of an image, likewise.
        channels: Channels of an image, likewise.
        strength: float64 scalar in `[0, 1]`; `uniform` shrinks its range by it where it is told
            the neutral value.
    """

    def __init__(self, name, seed, sizes, strength=1.0):
        self._name = name
        self._seed = seed
        self.batch, self.height, self.width, self.channels = sizes
        self.strength = tf.cast(strength, tf.float64)

    def _named(self, label):
        return f"{self._name}/{label}" if label else self._name

    def uniform(self, label, low=0.0, high=1.0, *, neutral=None, shape=()):
        """Draw numbers uniform in `[low, high)`.

        Args:
            label: What is drawn; other labels give unrelated numbers.
            low: Number, or float64 tensor of shape `(batch, *shape)`.
            high: Likewise.
            neutral: Value that changes nothing: the draws are moved towards it, to
                `neutral + strength * (draw - neutral)`.
            shape: Shape of what is drawn for one image.

        Returns:
            float64, shape `(batch, *shape)`.
        """
        unit = _random.random_uniform(self._seed, (self.batch, *shape), self._named(label))
        value = low + (high - low) * (unit + _INSIDE_STEP)
        return value if neutral is None else neutral + self.strength * (value - neutral)

    def integer(self, label, low, high, *, shape=()):
        """Draw whole numbers from `low` up to, not including, `high`: int32 `(batch, *shape)`."""
        unit = _random.random_uniform(self._seed, (self.batch, *shape), self._named(label))
        return low + _random.uniform_to_integer(unit, high - low)

    def chance(self, label, probability, *, shape=()):
        """Draw bool `(batch, *shape)`, true with `probability` (a number or float64 tensor)."""
        unit = _random.random_uniform(self._seed, (self.batch, *shape), self._named(label))
        return unit < probability

    def normal(self, label, *, shape=()):
        """Draw float64 `(batch, *shape)` from the normal distribution (mean 0, deviation 1)."""
        bits = _random.random_bits(self._seed, (self.batch, *shape), self._named(label))
        # The middles of 2**32 equal steps, so that neither end is infinite.
        return tf.math.ndtri((tf.cast(bits, tf.float64) + 0.5) * 2.0**-32)

    def keys(self, label):
        """Draw uint32 `(batch,)`, keys for `_random.noise_bytes`."""
        return _random.random_bits(self._seed, (self.batch,), self._named(label))
