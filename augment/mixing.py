"""Mix pairs of images and their labels: MixUp and CutMix.

Each image `i` of a batch of `n` is mixed with the image `(i + k) % n`, `k` drawn once a batch from
1 to `n - 1`: every image is the partner of exactly one other and never of itself, and batches that
are ordered by class are mixed across classes. A batch of one is returned unmixed.

Weights are multiples of 1/65536 and uint8 images are mixed in whole numbers, so a seed gives the
same pixels in eager code, in `tf.data` and under XLA.
"""

import math

import tensorflow as tf

from augment import _boxes, _random, _validation
from augment._labels import check_smoothing, label_targets, smooth_targets

# MixUp's weights are whole numbers of this part of 1: 255 * 2**16 still fits an int32.
_ONE = 2**16

MODES = ("element", "batch")


def mixup(
    images,
    labels,
    seed,
    *,
    alpha=0.2,
    classes=None,
    label_smoothing=0.0,
    probability=1.0,
    mode="element",
):
    """Blend each image, and its label, with another of the batch.

    `image = weight * image + (1 - weight) * partner`, the targets likewise with the same weight,
    which is drawn from Beta(alpha, alpha).

    Args:
        images: uint8, float16, bfloat16 or float32, shape `(batch, height, width, channels)`; any
            size may be unknown.
        labels: Whole numbers of shape `(batch,)`, or rows of shape `(batch, classes)`, one-hot or
            soft.
        seed: Two integers; the same seed gives the same result.
        alpha: Positive number: 0.2 mixes little, 1 gives any weight equal chance; 0 does not mix.
        classes: Number of classes; may be left out if `labels` are rows.
        label_smoothing: Share in `[0, 1)` of each target that is spread evenly over all classes:
            `(1 - label_smoothing) * target + label_smoothing / classes`.
        probability: Chance in `[0, 1]` of being mixed.
        mode: `"element"` draws weight and chance for each image, `"batch"` once for all of them.

    Returns:
        `(images, targets)`: images of the same shape and dtype, uint8 rounded to the nearest (half
        up); targets float32 of shape `(batch, classes)`, each row summing to 1 if it did before.

    Raises:
        ValueError: If an argument is out of shape or range.
        TypeError: If the dtype of `images` is another.

    Example:
        >>> images = tf.constant([0, 200], tf.uint8, shape=(2, 1, 1, 1))
        >>> mixed, targets = mixup(images, [0, 1], [0, 0], alpha=1.0, classes=2)
        >>> bool(tf.reduce_all(tf.abs(mixed[:, 0, 0, 0] / 200 - targets[:, 1]) < 0.003))
        True

    Source:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017; there one weight a batch
        and a random permutation.
    """
    return mixup_or_cutmix(
        images,
        labels,
        seed,
        mixup_alpha=alpha,
        cutmix_alpha=0.0,
        probability=probability,
        classes=classes,
        label_smoothing=label_smoothing,
        mode=mode,
    )


def cutmix(
    images,
    labels,
    seed,
    *,
    alpha=1.0,
    classes=None,
    label_smoothing=0.0,
    probability=1.0,
    mode="element",
):
    """Replace a rectangle of each image by that of another, and mix labels by the area.

    The rectangle has the sides `sqrt(1 - weight)` times the image's, rounded down, with weight
    drawn from Beta(alpha, alpha), and its centre on a random pixel. What reaches over the border is
    cut off, and the targets are mixed by the pixels that were in fact replaced.

    Args:
        images: uint8, float16, bfloat16 or float32, shape `(batch, height, width, channels)`; any
            size may be unknown.
        labels: As for `mixup`.
        seed: Two integers; the same seed gives the same result.
        alpha: Positive number; 1 gives any area equal chance (before the cutting off); 0 does not
            mix.
        classes: Number of classes; may be left out if `labels` are rows.
        label_smoothing: As for `mixup`.
        probability: Chance in `[0, 1]` of being mixed.
        mode: `"element"` draws rectangle and chance for each image, `"batch"` once for all.

    Returns:
        `(images, targets)` as `mixup` does.

    Raises:
        ValueError: If an argument is out of shape or range.
        TypeError: If the dtype of `images` is another.

    Example:
        >>> images = tf.constant([0] * 64 + [1] * 64, tf.uint8, shape=(2, 8, 8, 1))
        >>> mixed, targets = cutmix(images, [0, 1], [0, 0], classes=2)
        >>> shares = tf.reduce_mean(tf.cast(mixed, tf.float32), (1, 2, 3))
        >>> bool(tf.reduce_all(shares == targets[:, 1]))
        True

    Source:
        Yun et al., "CutMix", 2019, equations 1 to 3; there one rectangle a batch.
    """
    return mixup_or_cutmix(
        images,
        labels,
        seed,
        mixup_alpha=0.0,
        cutmix_alpha=alpha,
        probability=probability,
        classes=classes,
        label_smoothing=label_smoothing,
        mode=mode,
    )


def mixup_or_cutmix(
    images,
    labels,
    seed,
    *,
    mixup_alpha=0.2,
    cutmix_alpha=1.0,
    switch_probability=0.5,
    probability=1.0,
    classes=None,
    label_smoothing=0.0,
    mode="element",
):
    """Mix each image with another by MixUp or by CutMix.

    Args:
        images: uint8, float16, bfloat16 or float32, shape `(batch, height, width, channels)`; any
            size may be unknown.
        labels: As for `mixup`.
        seed: Two integers; the same seed gives the same result.
        mixup_alpha: `alpha` of `mixup`; 0 leaves CutMix alone.
        cutmix_alpha: `alpha` of `cutmix`; 0 leaves MixUp alone.
        switch_probability: Chance in `[0, 1]` of CutMix instead of MixUp, if neither is 0.
        probability: Chance in `[0, 1]` of being mixed at all.
        classes: Number of classes; may be left out if `labels` are rows.
        label_smoothing: As for `mixup`.
        mode: `"element"` draws all of it for each image, `"batch"` once for all of them.

    Returns:
        `(images, targets)` as `mixup` does.

    Raises:
        ValueError: If an argument is out of shape or range.
        TypeError: If the dtype of `images` is another.

    Example:
        >>> images = tf.zeros((4, 8, 8, 3), tf.uint8)
        >>> mixed, targets = mixup_or_cutmix(images, [0, 1, 2, 0], [0, 0], classes=3)
        >>> targets.shape
        TensorShape([4, 3])

    Source:
        Wightman et al., "ResNet strikes back", 2021, section 4, and timm's `Mixup`.
    """
    images = _validation.check_images(images)
    check_mixing(
        mixup_alpha, cutmix_alpha, switch_probability, probability, classes, label_smoothing, mode
    )
    seed = _random.check_seed(seed)
    targets = label_targets(labels, classes=classes)
    if not targets.shape[:1].is_compatible_with(images.shape[:1]):
        raise ValueError(
            "images and labels must be equally many, received: "
            f"{images.shape[0]} images, {targets.shape[0]} labels"
        )
    batch, height, width, _ = _validation.image_sizes(images)
    drawn = batch if mode == "element" else 1
    # Columns: mixed at all, which of the two, weight, row and column of the centre.
    uniform = _random.random_uniform(seed, (drawn, 5), "mixing")
    mixed = uniform[:, 0] < probability
    partners = _partners(seed, batch)
    originals, original_targets = images, targets
    if mixup_alpha:
        chosen = mixed & (uniform[:, 1] >= switch_probability) if cutmix_alpha else mixed
        images, targets = _apply_mixup(
            (originals, original_targets), partners, chosen, uniform[:, 2], mixup_alpha
        )
    if cutmix_alpha:
        chosen = mixed & (uniform[:, 1] < switch_probability) if mixup_alpha else mixed
        sides = tf.sqrt(1.0 - _random.uniform_to_beta(uniform[:, 2], cutmix_alpha))
        mask = _cutmix_mask(sides, uniform[:, 3:], chosen, height, width)
        replaced = tf.reduce_sum(tf.cast(mask, tf.int32), axis=(1, 2))
        images = tf.where(mask[..., None], tf.gather(originals, partners), images)
        mixed_targets = _blend_targets(original_targets, partners, replaced, height * width)
        targets = tf.where(chosen[:, None], mixed_targets, targets)
    return images, smooth_targets(targets, label_smoothing)


def check_mixing(
    mixup_alpha=0.2,
    cutmix_alpha=1.0,
    switch_probability=0.5,
    probability=1.0,
    classes=None,
    label_smoothing=0.0,
    mode="element",
):
    """Raise `ValueError` if an argument of `mixup_or_cutmix` is out of range."""
    _validation.check_number("mixup_alpha", mixup_alpha, 0, math.inf)
    _validation.check_number("cutmix_alpha", cutmix_alpha, 0, math.inf)
    _validation.check_number("switch_probability", switch_probability, 0, 1)
    _validation.check_number("probability", probability, 0, 1)
    if classes is not None:
        _validation.check_integer("classes", classes, 2)
    check_smoothing(label_smoothing)
    _validation.check_choice("mode", mode, MODES)


def _partners(seed, batch):
    """Return int32 `(batch,)`: the partner of each image, never itself if there is another."""
    uniform = _random.random_uniform(seed, (), "mixing/partners")
    shift = 1 + _random.uniform_to_integer(uniform, batch - 1)
    return (tf.range(batch) + shift) % batch


def _apply_mixup(inputs, partners, chosen, uniform, alpha):
    """Blend images and targets where `chosen`; the others keep the weight 1."""
    images, targets = inputs
    weights = tf.round(_random.uniform_to_beta(uniform, alpha) * _ONE)
    share = tf.where(chosen, _ONE - tf.cast(weights, tf.int32), 0)
    partner_images = tf.gather(images, partners)
    blended = _blend_images(images, partner_images, share[:, None, None, None])
    return blended, _blend_targets(targets, partners, share, _ONE)


def _blend_images(images, partner_images, share):
    """Return `images` with `share` of 65536 parts of them replaced by `partner_images`."""
    if images.dtype == tf.uint8:
        own = tf.cast(images, tf.int32) * (_ONE - share)
        total = own + tf.cast(partner_images, tf.int32) * share + _ONE // 2
        return tf.cast(tf.bitwise.right_shift(total, 16), tf.uint8)
    share = tf.cast(share, tf.float32) / _ONE
    own = tf.cast(images, tf.float32) * (1.0 - share)
    return tf.cast(own + tf.cast(partner_images, tf.float32) * share, images.dtype)


def _blend_targets(targets, partners, share, whole):
    """Return `targets` with `share / whole` of them replaced by their partners'."""
    # Divided in float64, since XLA multiplies by the rounded inverse of a constant.
    other = tf.cast(share, tf.float64) / tf.cast(whole, tf.float64)
    own, other = tf.cast(1.0 - other, tf.float32), tf.cast(other, tf.float32)
    return own[:, None] * targets + other[:, None] * tf.gather(targets, partners)


def _cutmix_mask(sides, centre, chosen, height, width):
    """Return a bool mask of the pixels to replace, none where not `chosen`.

    Args:
        sides: float64 `(batch,)`; sides of the boxes as a share of the image's.
        centre: float64 `(batch, 2)` in `[0, 1)`; place of the centre, vertical and horizontal.
        chosen: bool `(batch,)`.
        height: Rows of the image.
        width: Columns of the image.

    Returns:
        bool, shape `(batch, height, width)`.
    """
    box_height = _random.uniform_to_integer(sides, height)
    box_width = _random.uniform_to_integer(sides, width)
    top = _random.uniform_to_integer(centre[:, 0], height) - box_height // 2
    left = _random.uniform_to_integer(centre[:, 1], width) - box_width // 2
    bottom = tf.where(chosen, top + box_height, top)
    return _boxes.box_mask(top, left, bottom, left + box_width, height, width)
