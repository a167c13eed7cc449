"""Add noise to images.

Noise is drawn for every value by hashing its place with a key of the image, which costs a few
instructions: see `_random.noise_words`. All functions of one image take any number of channels.
"""

import tensorflow as tf

from augment import _random, _validation
from augment._barrier import materialize
from augment._operation import Operation, each_pixel, operation

# What makes a sum of four bytes normal: coefficients of z, z**3, z**5, z**7, where z is the sum
# less its mean in units of 256. Fitted to the quantiles of the normal distribution by least
# squares, weighted by the chance of each sum, with the second, fourth and sixth moment held.
_TO_NORMAL = (1.65968965, 0.08606767, -0.03264346, 0.01528946)

# Mean from which Poisson numbers come from a formula for their quantiles. Below it more than
# `_MOST_OF_FEW` come with a chance of 1.4e-6; from the twelfth on, XLA's code is six times slower.
_MANY = 2.0
_MOST_OF_FEW = 11


def add_gaussian_noise(image, deviation, key):
    """Add normal noise, a number of its own for every value.

    Args:
        image: float32 in `[0, 255]`, `(height, width, channels)`; or a batch of them.
        deviation: Scalar, standard deviation in levels; for a batch `(batch, 1, 1, 1)`.
        key: uint32 scalar; other keys give unrelated noise. For a batch `(batch, 1, 1, 1)`.

    Returns:
        float32 of the same shape, clipped to `[0, 255]`.
    """
    normal = _normal(_words(image, key))
    return tf.clip_by_value(image + tf.cast(deviation, tf.float32) * normal, 0.0, 255.0)


def add_shot_noise(image, coarseness, key):
    """Draw each value from the Poisson distribution, as a sensor that counts photons does.

    A value `v` becomes `255 * coarseness**2 * n`, where `n` is drawn with the mean
    `v / (255 * coarseness**2)`.

    Args:
        image: float32 in `[0, 255]`, `(height, width, channels)`.
        coarseness: Scalar, deviation of the noise at the value 255 in units of it: the inverse
            square root of the mean number of photons there. 0 changes nothing.
        key: uint32 scalar; other keys give unrelated noise.

    Returns:
        float32 of the same shape, clipped to `[0, 255]`.
    """
    level = 255.0 * tf.square(tf.cast(coarseness, tf.float32))
    mean = image / tf.maximum(level, 1e-4)
    # As a difference, so that it vanishes with the coarseness.
    return tf.clip_by_value(image + level * (_poisson(mean, _words(image, key)) - mean), 0.0, 255.0)


def add_salt_and_pepper_noise(image, share, salt, key):
    """Make pixels white or black in all channels.

    Args:
        image: uint8 or float32 in `[0, 255]`, `(height, width, channels)`.
        share: Scalar in `[0, 1]`, chance that a pixel is changed.
        salt: Scalar in `[0, 1]`, chance that a changed pixel is white.
        key: uint32 scalar; other keys change other pixels.

    Returns:
        Same shape and dtype.
    """
    # The word of a pixel is computed for each of its channels: quicker than to spread it over them.
    pixels = tf.range(tf.size(image)) // tf.shape(image)[2]
    words = tf.reshape(_random.noise_at(key, pixels), tf.shape(image))
    places = tf.cast(_shifted(words, 8), tf.int32)
    share = tf.cast(share, tf.float32) * 2.0**24
    changed = places < tf.cast(tf.round(share), tf.int32)
    white = places < tf.cast(tf.round(share * tf.cast(salt, tf.float32)), tf.int32)
    noise = tf.where(white, tf.constant(255, image.dtype), tf.constant(0, image.dtype))
    return tf.where(changed, noise, image)


def _words(image, key):
    """Return the `noise_words` of an image, or of each of a batch, in its shape."""
    # Drawn in one line, and not row by row, which takes twice as long.
    count = tf.reduce_prod(tf.shape(image)[-3:])
    keys = tf.reshape(key, tf.shape(image)[:-3])
    return tf.reshape(_random.noise_words(keys, count), tf.shape(image))


def _shifted(words, bits):
    return tf.bitwise.right_shift(words, tf.constant(bits, tf.uint32))


def _normal(words):
    """Turn random uint32 words into numbers of the normal distribution, float32.

    The four bytes are added, the first of them counted 257/256 times so that the sum takes many
    values instead of 1021; it is nearly normal already, and a polynomial bends it into shape. The
    cumulative distribution is right to 0.0006, the second, fourth and sixth moment to 0.0001; the
    farthest values are 4.9 deviations from the mean.
    """
    low_bytes = tf.constant(0x00FF00FF, tf.uint32)
    pairs = tf.bitwise.bitwise_and(words, low_bytes)
    pairs += tf.bitwise.bitwise_and(_shifted(words, 8), low_bytes)
    total = tf.bitwise.bitwise_and(pairs + _shifted(pairs, 16), tf.constant(1023, tf.uint32))
    first = tf.bitwise.bitwise_and(words, tf.constant(255, tf.uint32))
    total = tf.cast(total * 256 + first, tf.int32)
    centred = tf.cast(total, tf.float32) * 2.0**-16 - (510.0 + 127.5 / 256.0) / 256.0
    square = tf.square(centred)
    factor = tf.constant(_TO_NORMAL[-1], tf.float32)
    for coefficient in _TO_NORMAL[-2::-1]:
        factor = factor * square + coefficient
    return centred * factor


def _poisson(mean, words):
    """Turn random uint32 words into Poisson numbers, float32 (whole).

    Below a mean of 2 by inversion: exact. From there on by an expansion of the quantile function in
    powers of the mean's inverse root. Its mean and variance are right to 0.2%, and half the sum of
    all differences to the true distribution is at most 0.007.

    Source:
        Giles, "Algorithm 955: Approximation of the Inverse Poisson Cumulative Distribution
        Function", 2016, equation for Q_N2.
    """
    # A kernel of its own: fused with the other formula, neither would be vectorised.
    few = materialize(_few(mean, words), tf.reshape(mean, [-1])[0])
    return tf.where(mean < _MANY, few, _many(mean, words))


def _few(mean, words):
    """Count how many values of the cumulative distribution a uniform number exceeds."""
    places = tf.cast(_shifted(words, 8), tf.int32)
    uniform = (tf.cast(places, tf.float32) + 0.5) * 2.0**-24
    mean = tf.minimum(mean, _MANY)
    chance = tf.exp(-mean)
    upto, count = chance, tf.zeros_like(mean)
    for number in range(1, _MOST_OF_FEW + 1):
        count = tf.where(uniform > upto, float(number), count)
        # What is added keeps it out of the subnormal numbers, which are slow.
        chance = chance * (mean * (1.0 / number)) + 1e-30
        upto += chance
    return count


def _many(mean, words):
    mean = tf.maximum(mean, _MANY)
    normal, inverse = _normal(words), tf.math.rsqrt(mean)
    square = tf.square(normal)
    # The terms with the root to the powers 1, 0, -1 and -2.
    quantile = mean + mean * inverse * normal
    quantile += 1.0 / 3.0 + square * (1.0 / 6.0)
    quantile -= inverse * normal * (1.0 / 36.0 + square * (1.0 / 72.0))
    quantile += inverse * inverse * (-8.0 / 405.0 + square * (7.0 / 810.0 + square * (1.0 / 270.0)))
    return tf.maximum(tf.floor(quantile), 0.0)


@operation
def random_gaussian_noise(*, deviation=(0.0, 25.0)):
    """Add normal noise to each image, of a deviation of its own and independent in every value.

    Args:
        deviation: Lowest and highest standard deviation in levels of `[0, 255]`, at least 0; or one
            number for all images.

    Example:
        >>> images = tf.fill((1, 64, 64, 3), tf.constant(100, tf.uint8))
        >>> noisy = tf.cast(random_gaussian_noise(images, [0, 0], deviation=10), tf.float32)
        >>> 9.5 < tf.math.reduce_std(noisy) < 10.5
        <tf.Tensor: shape=(), dtype=bool, numpy=True>
    """
    low, high = _validation.check_spread("deviation", deviation, _validation.check_number, 0, 255)

    def sample(draw):
        return {
            "deviation": draw.uniform("deviation", low, high, neutral=0.0),
            "key": draw.keys("noise"),
        }

    over_batch = each_pixel(add_gaussian_noise, tf.float32)
    return Operation(
        sample, add_gaussian_noise, over_batch, kind="color", neutral={"deviation": 0.0}
    )


@operation
def random_shot_noise(*, photons=(10.0, 100.0)):
    """Replace each value by a count of photons: Poisson noise, stronger in bright places.

    Args:
        photons: Lowest and highest mean number of photons that make up the value 255, at least 1;
            or one number for all images. The inverse of its square root, which is the noise
            relative to that value, is drawn uniformly.

    Example:
        >>> images = tf.fill((1, 2, 2, 1), tf.constant(0, tf.uint8))
        >>> random_shot_noise(images, [0, 0])[0, 0, 0].numpy().tolist()
        [0]

    Source:
        Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
        Perturbations", 2019: 60, 25, 12, 5 and 3 photons.
    """
    low, high = _validation.check_spread("photons", photons, _validation.check_number, 1, 1e6)

    def sample(draw):
        coarseness = draw.uniform("coarseness", high**-0.5, low**-0.5, neutral=0.0)
        return {"coarseness": coarseness, "key": draw.keys("noise")}

    return Operation(sample, add_shot_noise, kind="color")


@operation
def random_salt_and_pepper_noise(*, share=(0.0, 0.05), salt=0.5):
    """Make a share of the pixels of each image white or black, in all channels.

    Args:
        share: Lowest and highest chance in `[0, 1]` that a pixel is changed, drawn for each image;
            or one number for all images.
        salt: Chance in `[0, 1]` that a changed pixel is white instead of black.

    Example:
        >>> images = tf.fill((1, 2, 2, 1), tf.constant(100, tf.uint8))
        >>> noisy = random_salt_and_pepper_noise(images, [0, 0], share=1, salt=1)
        >>> noisy[0, 0, 0].numpy().tolist()
        [255]
    """
    low, high = _validation.check_spread("share", share, _validation.check_number, 0, 1)
    salt = _validation.check_number("salt", salt, 0, 1)

    def sample(draw):
        return {
            "share": draw.uniform("share", low, high, neutral=0.0),
            "key": draw.keys("noise"),
        }

    def apply(image, share, key):
        return add_salt_and_pepper_noise(image, share, salt, key)

    return Operation(sample, apply)
