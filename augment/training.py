"""The augmentation of a recipe: one function that a training pipeline maps over its batches."""

import numpy as np
import tensorflow as tf

from augment import _validation
from augment._labels import label_targets, smooth_targets
from augment._program import Program
from augment.crop import random_crop
from augment.erasing import cutout, random_erasing
from augment.flip import random_flip
from augment.mixing import Mix
from augment.policy_spec import policy_operation

FLIPS = {False: (), "horizontal": ("horizontal",), "both": ("horizontal", "vertical")}


def training_transform(
    *,
    classes,
    flip=False,
    crop_padding=0,
    crop_fill="constant",
    cutout_size=0,
    erase_probability=0.0,
    policy=None,
    mixup_alpha=0.0,
    cutmix_alpha=0.0,
    mix_probability=1.0,
    switch_probability=0.5,
    label_smoothing=0.0,
    class_weights=None,
    jit_compile="auto",
):
    """Return the function a training pipeline maps over its batches; by default all of it is off.

    The order is flip, crop, the policy, Cutout, random erasing, MixUp or CutMix.

    Args:
        classes: Number of classes, at least 2.
        flip: `False`, `"horizontal"` or `"both"`; chance one half for each.
        crop_padding: `padding` of `random_crop`; 0 is off.
        crop_fill: `fill` of `random_crop`.
        cutout_size: `size` of `cutout` (filled with 0); 0 is off.
        erase_probability: `probability` of `random_erasing` (filled with noise); 0 is off.
        policy: Text that `policy_spec.policy_operation` reads, such as `"randaugment(n=2, m=9)"`;
            `None` is off.
        mixup_alpha: `alpha` of `mixup`; 0 is off.
        cutmix_alpha: `alpha` of `cutmix`; 0 is off.
        mix_probability: Chance that an image is mixed, if one of the two is on.
        switch_probability: Chance of CutMix instead of MixUp, if both are on.
        label_smoothing: Targets are `(1 - label_smoothing) * one_hot + label_smoothing / classes`.
        class_weights: One non-negative weight a class, or `None`.
        jit_compile: As for `augment.Pipeline`.

    Returns:
        A function `transform(images, labels, seed, window=None)` for uint8 images of shape `(batch,
        height, width, channels)`, whole-number labels of shape `(batch,)`, two integers. It returns
        `(images, targets)`, or `(images, targets, weights)` with `class_weights`: images uint8,
        targets float32 `(batch, classes)`, weights float32 `(batch,)`, for each image the sum over
        classes of target times class weight. It is compiled once for every shape of batch; the same
        seed gives the same batch wherever it runs. Leaving an operation out changes nothing in what
        the others draw. Given the images from place `first` on of a batch of `total`, and
        `window=(first, total)`, it returns that part of what it would make of the batch, unless
        `transform.needs_whole_batches` says that images are mixed.

    Raises:
        ValueError: If an argument is out of range.

    Example:
        >>> transform = training_transform(classes=10, flip="horizontal", crop_padding=4)
        >>> batches = tf.data.Dataset.from_tensors((tf.zeros((8, 32, 32, 3), tf.uint8), [0] * 8))
        >>> batches = batches.repeat().enumerate()
        >>> batches = batches.map(
        ...     lambda step, batch: transform(*batch, tf.stack([0, tf.cast(step, tf.int32)])),
        ...     num_parallel_calls=tf.data.AUTOTUNE,
        ... )
        >>> [part.shape for part in batches.element_spec]
        [TensorShape([8, 32, 32, 3]), TensorShape([8, 10])]
    """
    classes = _validation.check_integer("classes", classes, 2)
    weights = _check_class_weights(class_weights, classes)
    mix = Mix(
        mixup_alpha,
        cutmix_alpha,
        switch_probability,
        mix_probability,
        classes,
        label_smoothing,
    )
    mixes = mix_probability > 0 and (mixup_alpha > 0 or cutmix_alpha > 0)
    program = Program(
        _image_operations(flip, crop_padding, crop_fill, policy, cutout_size, erase_probability),
        [mix] if mixes else [],
        jit_compile=jit_compile,
    )

    @tf.autograph.experimental.do_not_convert
    def transform(images, labels, seed, window=None):
        images, targets, _ = program(images, labels, None, seed, 1.0, window)
        if not mixes:
            targets = smooth_targets(label_targets(labels, classes=classes), label_smoothing)
        if weights is None:
            return images, targets
        return images, targets, tf.linalg.matvec(targets, weights)

    transform.needs_whole_batches = mixes
    return transform


def _image_operations(flip, crop_padding, crop_fill, policy, cutout_size, erase_probability):
    """Return those operations on images that are on, in order."""
    _validation.check_choice("flip", flip, tuple(FLIPS))
    axes = {axis: axis in FLIPS[flip] for axis in ("horizontal", "vertical")}
    # All are made, so that the arguments of those that are off are checked too.
    operations = (
        (flip, random_flip.operation(**axes)),
        (crop_padding, random_crop.operation(padding=crop_padding, fill=crop_fill)),
        (policy, policy and policy_operation(policy)),
        (cutout_size, cutout.operation(size=cutout_size)),
        (erase_probability, random_erasing.operation(probability=erase_probability)),
    )
    return [operation for is_on, operation in operations if is_on]


def _check_class_weights(class_weights, classes):
    """Return the weights as float32 of shape `(classes,)`, or `None`."""
    if class_weights is None:
        return None
    weights = np.asarray(class_weights, np.float32)
    if weights.shape != (classes,) or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"class_weights must be {classes} non-negative numbers, received: {class_weights!r}"
        )
    return weights
