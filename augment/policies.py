"""Policies: several operations, which ones and how strong drawn for each image.

An operation's argument is drawn outside the loop over the images, in float64; inside it a switch
picks the operation. Where an operation has a sign (a direction, or weaker and stronger), that is
drawn for each image too. uint8 images are rounded after each operation, as in the published codes,
which work on 8-bit images.
"""

import math

import tensorflow as tf

from augment import _random, _validation, geometry, policy_notes, policy_tables
from augment._operation import Operation, operation
from augment.policy_steps import BLUR_RADIUS, StepTable, check_operations

# Steps of the magnitude scales: the last one is the strongest.
BINS = 31
_LARGEST = {"torchvision": BINS - 1, "timm": 10}

# Weights of AugMix are whole numbers of this part of 1: 255 * 2**16 still fits an int32.
_ONE = 2**16

# The orders in which three things can be done.
_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@operation
def rand_augment(
    *,
    n=2,
    m=9,
    std=0.0,
    increasing=False,
    operations=None,
    table="torchvision",
    step_probability=1.0,
    interpolation="nearest",
    fill="constant",
    value=0,
):
    """Apply `n` operations to each image, drawn with equal chances, all of magnitude `m`.

    Args:
        n: Operations an image, at least 1; one may be drawn more than once.
        m: Magnitude, from 0 to 30 in the table `"torchvision"`, to 10 in `"timm"`.
        std: Standard deviation of the magnitude, drawn for each image and operation from a normal
            distribution about `m` and kept on the scale.
        increasing: Only with `table="timm"`: `"inc1"` there. Without it posterize and solarize are
            the stronger the lower the magnitude, and the four that enhance (brightness, contrast,
            saturation, sharpness) change nothing at 5.
        operations: Names of the operations to draw from, or `None` for all of the table.
        table: `"torchvision"` for the 14 operations of the paper in 31 steps, `"timm"` for the 15
            of timm; see `augment/policy_tables.py`. Magnitude 9 is 0.3 of the largest in the one
            and 0.9 in the other, which follows the code published with the paper.
        step_probability: Chance in `[0, 1]` that a drawn operation is applied; timm has 0.5.
        interpolation: `"nearest"` as in torchvision, or `"bilinear"`.
        fill: What comes in from outside the image: `"constant"` for `value`, `"nearest"` or
            `"reflect"`.
        value: Number in `[0, 255]`, or a tuple of one for each channel.

    Example:
        >>> images = tf.fill((2, 8, 8, 3), tf.constant(200, tf.uint8))
        >>> rand_augment(images, [0, 0], n=1, m=30, operations=("posterize",))[0, 0, 0].numpy()
        array([192, 192, 192], dtype=uint8)

    Source:
        Cubuk et al., "RandAugment: Practical automated data augmentation with a reduced search
        space", 2019; the ranges of torchvision or timm. Solarize starts at 256 as in the paper,
        where torchvision starts at 255 and turns white black at magnitude 0.
    """
    _validation.check_integer("n", n, 1)
    _validation.check_choice("table", table, tuple(_LARGEST))
    _validation.check_choice("increasing", increasing, (True, False))
    if increasing and table != "timm":
        raise ValueError(
            f"increasing must be False unless table is 'timm', received: {increasing!r} with "
            f"table={table!r}"
        )
    largest = _LARGEST[table]
    m = _validation.check_number("m", m, 0, largest)
    std = _validation.check_number("std", std, 0, math.inf)
    _validation.check_number("step_probability", step_probability, 0, 1)
    steps = _step_table(
        rand_augment_table(table, increasing), operations, interpolation, fill, value
    )

    def sample(draw):
        numbers = draw.integer("operation", 0, len(steps.names), shape=(n,))
        magnitudes = tf.fill(tf.shape(numbers), tf.constant(m, tf.float64))
        if std:
            magnitudes += std * draw.normal("magnitude", shape=(n,))
        shares = tf.clip_by_value(magnitudes / largest, 0.0, 1.0)
        return steps.draw(draw, numbers, shares, step_probability)

    spread = f" (deviation {std:g})" if std else ""
    notes = (
        f"{n} of these at magnitude {m:g}{spread} of {largest}, each with chance "
        f"{step_probability:g}:",
        *policy_notes.list_operations(steps.magnitudes, m / largest, m / largest),
    )
    return Operation(sample, steps.apply_all, notes=notes)


def rand_augment_table(table, increasing):
    """Return the magnitudes that `rand_augment` draws from."""
    if table == "torchvision":
        return policy_tables.TORCHVISION
    return policy_tables.TIMM_INCREASING if increasing else policy_tables.TIMM


@operation
def trivial_augment_wide(
    *, operations=None, bins=BINS, interpolation="nearest", fill="constant", value=0
):
    """Apply one operation to each image, with a magnitude drawn for it.

    Operation, magnitude and sign each have equal chances. There is nothing to tune.

    Args:
        operations: Names of the operations to draw from, or `None` for the 14 of the paper.
        bins: Magnitudes, evenly spaced from none to the largest, at least 2.
        interpolation: As for `rand_augment`.
        fill: As for `rand_augment`.
        value: As for `rand_augment`.

    Example:
        >>> images = tf.zeros((2, 8, 8, 3), tf.uint8)
        >>> trivial_augment_wide(images, [0, 0]).shape
        TensorShape([2, 8, 8, 3])

    Source:
        Müller and Hutter, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation",
        2021, with the wide ranges, as in torchvision: the four operations that enhance are 0.01 to
        1.99 times, with a sign.
    """
    bins = _validation.check_integer("bins", bins, 2)
    steps = _step_table(policy_tables.WIDE, operations, interpolation, fill, value)

    def sample(draw):
        numbers = draw.integer("operation", 0, len(steps.names), shape=(1,))
        magnitudes = draw.integer("magnitude", 0, bins, shape=(1,))
        return steps.draw(draw, numbers, tf.cast(magnitudes, tf.float64) / (bins - 1))

    notes = policy_notes.list_operations(steps.magnitudes, 0, 1)
    return Operation(sample, steps.apply_all, notes=("one of these:", *notes))


@operation
def auto_augment(*, table="imagenet", interpolation="nearest", fill="constant", value=0):
    """Apply one of 25 learned pairs of operations to each image.

    Each operation of a pair has a chance and a magnitude of its own.

    Args:
        table: `"cifar10"`, `"imagenet"` or `"svhn"`: the data set the pairs were found on.
        interpolation: As for `rand_augment`.
        fill: As for `rand_augment`.
        value: As for `rand_augment`; the paper has 128.

    Example:
        >>> images = tf.zeros((2, 8, 8, 3), tf.uint8)
        >>> auto_augment(images, [0, 0], table="cifar10").shape
        TensorShape([2, 8, 8, 3])

    Source:
        Cubuk et al., "AutoAugment: Learning Augmentation Policies from Data", 2018, appendix. As in
        torchvision, shifts are shares of the image's sides, where the paper's code has up to 10
        pixels of 32, posterize keeps the fewer bits the higher the magnitude, and the four that
        enhance go either way.
    """
    _validation.check_choice("table", table, tuple(policy_tables.SUB_POLICIES))
    policies = policy_tables.SUB_POLICIES[table]
    used = {name for pair in policies for name, _, _ in pair}
    operations = [name for name in policy_tables.AUTO_AUGMENT if name in used]
    steps = _step_table(policy_tables.AUTO_AUGMENT, operations, interpolation, fill, value)
    numbers_of = [[steps.names.index(name) for name, _, _ in pair] for pair in policies]
    chances_of = [[chance for _, chance, _ in pair] for pair in policies]
    shares_of = [[magnitude / 9 for _, _, magnitude in pair] for pair in policies]

    def sample(draw):
        chosen = draw.integer("policy", 0, len(policies))
        chances, shares = (
            tf.gather(tf.constant(entries, tf.float64), chosen)
            for entries in (chances_of, shares_of)
        )
        return steps.draw(draw, tf.gather(numbers_of, chosen), shares, chances)

    notes = policy_notes.list_policies(policies, steps.magnitudes)
    return Operation(sample, steps.apply_all, notes=("one of these, with chances:", *notes))


@operation
def aug_mix(
    *,
    severity=3,
    width=3,
    depth=-1,
    alpha=1.0,
    operations=None,
    interpolation="bilinear",
    fill="constant",
    value=0,
):
    """Mix each image with several versions of it, each changed by a chain of operations.

    `result = (1 - m) * image + m * (w1 * version1 + w2 * version2 + ...)` with `m` from
    Beta(alpha, alpha) and the weights `w` from a Dirichlet distribution of the same parameter.

    Args:
        severity: Largest magnitude, in `[0.1, 10]`; each is drawn evenly from 0.1 up to it.
        width: Number of versions, at least 1.
        depth: Operations in each chain; -1 draws 1, 2 or 3 for each.
        alpha: Positive number: the smaller, the more one version or the image itself prevails.
        operations: Names of the operations to draw from, or `None` for the nine of the paper; the
            code published with it has four more, brightness, contrast, saturation and sharpness,
            for use where ImageNet-C is not what one tests on.
        interpolation: `"bilinear"` as in the published code, or `"nearest"`.
        fill: As for `rand_augment`.
        value: As for `rand_augment`.

    Example:
        >>> images = tf.zeros((2, 8, 8, 3), tf.uint8)
        >>> aug_mix(images, [0, 0], width=2).shape
        TensorShape([2, 8, 8, 3])

    Source:
        Hendrycks et al., "AugMix: A Simple Data Processing Method to Improve Robustness and
        Uncertainty", 2020, algorithm 1 and the published code. Its loss, the Jensen-Shannon
        divergence between three versions of an image, is no part of it. The weights of uint8 images
        are rounded to parts of 65536.
    """
    severity = _validation.check_number("severity", severity, 0.1, 10)
    width = _validation.check_integer("width", width, 1)
    if depth != -1:
        _validation.check_integer("depth (or -1)", depth, 1)
    alpha = _validation.check_number("alpha", alpha, 0, math.inf, open_low=True)
    allowed = policy_tables.AUG_MIX_ALL
    operations = tuple(policy_tables.AUG_MIX) if operations is None else operations
    steps = _step_table(allowed, operations, interpolation, fill, value)
    longest = 3 if depth == -1 else depth

    def sample(draw):
        shape = (width, longest)
        numbers = draw.integer("operation", 0, len(steps.names), shape=shape)
        shares = draw.uniform("magnitude", 0.1, severity, shape=shape) / 10.0
        if depth == -1:
            lengths = draw.integer("depth", 1, 4, shape=(width,))
        else:
            lengths = tf.fill((draw.batch, width), depth)
        weights = dirichlet(draw, "weights", alpha, width)
        kept = _random.uniform_to_beta(draw.uniform("kept"), alpha)[:, None]
        weights = tf.cast(tf.round(kept * weights * _ONE), tf.int32)
        return {"lengths": lengths, "weights": weights, **steps.draw(draw, numbers, shares)}

    def apply(image, lengths, weights, **drawn):
        def version(place, mixed):
            chain = {name: rows[place] for name, rows in drawn.items()}
            changed = steps.apply_all(image, count=lengths[place], **chain)
            return place + 1, mixed + _weighted(changed, weights[place])

        mixed = _weighted(image, _ONE - tf.reduce_sum(weights))
        _, mixed = tf.while_loop(lambda place, _: place < width, version, (0, mixed))
        if image.dtype == tf.uint8:
            return tf.cast(tf.bitwise.right_shift(mixed + _ONE // 2, 16), tf.uint8)
        return mixed

    lengths = "1 to 3" if depth == -1 else str(depth)
    notes = (
        f"the image mixed with {width} chains of {lengths} of these:",
        *policy_notes.list_operations(steps.magnitudes, 0.01, severity / 10),
    )
    return Operation(sample, apply, notes=notes)


def dirichlet(draw, label, alpha, count):
    """Draw weights that add up to 1, with the same Dirichlet parameter `alpha` for each of them.

    Each weight takes a share of what the ones before it left, drawn from Beta(alpha, alpha times
    the number of weights after it).

    Returns:
        float64, shape `(batch, count)`.
    """
    unit = draw.uniform(label, shape=(count,))
    left, weights = tf.ones_like(unit[:, 0]), []
    for place in range(count - 1):
        share = _random.uniform_to_beta(unit[:, place], alpha, alpha * (count - 1 - place))
        weights.append(left * share)
        left *= 1.0 - share
    return tf.stack([*weights, left], axis=1)


def _weighted(image, weight):
    """Return `weight` of 65536 parts of an image: int32 times 65536 for uint8, else float32."""
    if image.dtype == tf.uint8:
        return tf.cast(image, tf.int32) * weight
    return image * (tf.cast(weight, tf.float32) / _ONE)


@operation
def three_augment(*, jitter=0.3, sigma=(0.1, 2.0), threshold=128):
    """Turn each image grey, solarize or blur it, one of the three, then jitter its colours.

    Args:
        jitter: Brightness, contrast and saturation are each multiplied by a factor in
            `[max(0, 1 - jitter), 1 + jitter]`, in an order drawn for each image; 0 leaves them.
        sigma: Lowest and highest standard deviation of the blur in pixels, in `[0, 2]`.
        threshold: Values from here upwards are inverted when solarizing, in `[0, 256]`.

    Example:
        >>> images = tf.zeros((2, 8, 8, 3), tf.uint8)
        >>> three_augment(images, [0, 0]).shape
        TensorShape([2, 8, 8, 3])

    Source:
        Touvron et al., "DeiT III: Revenge of the ViT", 2022, section 3.2 and the published code,
        which blurs with PIL's approximation by three box filters; this is a true Gaussian. Flip and
        crop come before it.
    """
    factors = _validation.check_factor("jitter", jitter)
    sigma = _validation.check_interval("sigma", sigma, 0, BLUR_RADIUS / 3)
    _validation.check_number("threshold", threshold, 0, 256)
    steps = StepTable(dict.fromkeys(("gray", "solarize", "blur", *_JITTERED)), warp={})
    branches = [steps.kernels.index(name) for name in steps.names]

    def sample(draw):
        chosen = draw.integer("operation", 0, 3)
        done = draw.chance("done", draw.strength)
        thresholds = tf.where(chosen == 1, tf.cast(threshold, tf.float64), 0.0)
        argument = tf.where(chosen == 2, draw.uniform("sigma", *sigma), thresholds)
        order = tf.gather(_ORDERS, draw.integer("order", 0, len(_ORDERS)))
        jitters = draw.uniform("jitter", *factors, neutral=1.0, shape=(3,))
        first = tf.where(done, tf.gather(branches, chosen), 0)
        return {
            "branch": tf.concat([first[:, None], tf.gather(branches[3:], order)], axis=1),
            "argument": tf.concat([argument[:, None], jitters], axis=1),
        }

    def apply(image, branch, argument):
        unused = tf.zeros((branch.shape[0], 3, 3), tf.float32)
        count = None if factors != (1.0, 1.0) else tf.constant(1)
        return steps.apply_all(image, branch, argument, unused, count)

    notes = (
        "one of these:",
        "gray",
        f"solarize {threshold:g} and above inverted",
        f"blur {sigma[0]:g} to {sigma[1]:g} pixels",
        "then in any order:",
        *(f"{name} times {factors[0]:g} to {factors[1]:g}" for name in _JITTERED),
    )
    return Operation(sample, apply, notes=notes)


_JITTERED = ("brightness", "contrast", "saturation")


def _step_table(table, operations, interpolation, fill, value):
    """Check the arguments that the policies share and return their `StepTable`."""
    warp = dict(geometry.check_warp(interpolation, fill, value))
    return StepTable(check_operations(operations, table), warp)
