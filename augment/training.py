"""Chains of operations, compiled, in the form that a training pipeline maps over its batches."""

import functools

import numpy as np
import tensorflow as tf

from augment import _random, _validation
from augment._labels import label_targets, smooth_targets
from augment._operation import compiled
from augment.crop import check_random_crop, random_crop
from augment.erasing import check_cutout, check_random_erasing, cutout, random_erasing
from augment.flip import random_flip
from augment.mixing import Mix, mixup_or_cutmix

FLIPS = {False: (), "horizontal": ("horizontal",), "both": ("horizontal", "vertical")}


def compile_augmentation(*steps, mix=None, jit_compile="auto"):
    """Chain operations into one function `transform(images, labels, seed)` compiled by XLA.

    All of `steps` become one XLA program and `mix` a second one: an operation that reads other
    images of the batch, such as MixUp, would make XLA compute each of these again for every image
    that reads it. Compiling takes about half a second in all, once for every shape of batch, so
    drop a shorter last batch while training. Where XLA cannot be had the same operations run as an
    ordinary graph, with the same result.

    Every operation draws numbers of its own from `seed`, so leaving one out changes nothing in the
    others. The second `functools.partial` of the same function gets `fold_seed(seed, 1)`, the third
    `fold_seed(seed, 2)`.

    Args:
        *steps: Functions `step(images, seed) -> images` with all else filled in, such as
            `functools.partial(random_crop, padding=4)`.
        mix: Function `mix(images, labels, seed) -> (images, targets)`, such as
            `functools.partial(mixup, alpha=0.2, classes=10)`, or `None` to keep the labels as they
            are. It gets `seed` itself. XLA compiles no check that whole-number labels are below
            `classes`: if that is not certain, give `transform` rows made by `label_targets`.
        jit_compile: Whether XLA compiles them: `True`, `False`, or `"auto"` to try first.

    Returns:
        A function `transform(images, labels, seed) -> (images, labels)`. `seed` is two integers.

    Raises:
        TypeError: If a step is no function.
        ValueError: If `jit_compile` is something else.

    Example:
        >>> transform = compile_augmentation(
        ...     functools.partial(random_flip, vertical=True),
        ...     functools.partial(cutout, size=8),
        ...     mix=functools.partial(mixup_or_cutmix, classes=10),
        ... )
        >>> images, targets = transform(tf.zeros((4, 32, 32, 3), tf.uint8), [1, 2, 3, 4], [0, 0])
        >>> targets.shape
        TensorShape([4, 10])
    """
    _validation.check_choice("jit_compile", jit_compile, (True, False, "auto"))
    for step in (*steps, *([] if mix is None else [mix])):
        if not callable(step):
            raise TypeError(f"steps must be functions of (images, seed), received: {step!r}")

    operations = [getattr(step, "func", step) for step in steps]
    repeats = [operations[:place].count(step) for place, step in enumerate(operations)]

    def chain(images, seed):
        for step, repeat in zip(steps, repeats, strict=True):
            images = step(images, _random.fold_seed(seed, repeat) if repeat else seed)
        return images

    compiled_chain = compiled(chain, jit_compile) if steps else None
    compiled_mix = None if mix is None else compiled(mix, jit_compile)

    @tf.autograph.experimental.do_not_convert
    def transform(images, labels, seed):
        images = _validation.check_images(images)
        seed = _random.check_seed(seed)
        if compiled_chain is not None:
            images = compiled_chain(images, seed)
        if compiled_mix is None:
            return images, labels
        return compiled_mix(images, tf.convert_to_tensor(labels), seed)

    return transform


def training_transform(
    *,
    classes,
    flip=False,
    crop_padding=0,
    crop_fill="constant",
    cutout_size=0,
    erase_probability=0.0,
    mixup_alpha=0.0,
    cutmix_alpha=0.0,
    mix_probability=1.0,
    switch_probability=0.5,
    label_smoothing=0.0,
    class_weights=None,
    jit_compile="auto",
):
    """Return the function a training pipeline maps over its batches; by default all of it is off.

    The order is flip, crop, Cutout, random erasing, MixUp or CutMix.

    Args:
        classes: Number of classes, at least 2.
        flip: `False`, `"horizontal"` or `"both"`; chance one half for each.
        crop_padding: `padding` of `random_crop`; 0 is off.
        crop_fill: `fill` of `random_crop`.
        cutout_size: `size` of `cutout` (filled with 0); 0 is off.
        erase_probability: `probability` of `random_erasing` (filled with noise); 0 is off.
        mixup_alpha: `alpha` of `mixup`; 0 is off.
        cutmix_alpha: `alpha` of `cutmix`; 0 is off.
        mix_probability: Chance that an image is mixed, if one of the two is on.
        switch_probability: Chance of CutMix instead of MixUp, if both are on.
        label_smoothing: Targets are `(1 - label_smoothing) * one_hot + label_smoothing / classes`.
        class_weights: One non-negative weight a class, or `None`.
        jit_compile: As for `compile_augmentation`.

    Returns:
        A function `transform(images, labels, seed)` for uint8 images of shape `(batch, height,
        width, channels)`, whole-number labels of shape `(batch,)` and two integers. It returns
        `(images, targets)`, or `(images, targets, weights)` with `class_weights`: images uint8,
        targets float32 `(batch, classes)`, weights float32 `(batch,)`, for each image the sum over
        classes of target times class weight. It is compiled as `compile_augmentation` says; the
        same seed gives the same batch wherever it runs.

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
    steps = _image_steps(flip, crop_padding, crop_fill, cutout_size, erase_probability)
    Mix(
        mixup_alpha, cutmix_alpha, switch_probability, mix_probability, classes, label_smoothing
    )
    mix = functools.partial(
        mixup_or_cutmix,
        mixup_alpha=mixup_alpha,
        cutmix_alpha=cutmix_alpha,
        switch_probability=switch_probability,
        probability=mix_probability,
    )
    mixes = mix_probability > 0 and (mixup_alpha > 0 or cutmix_alpha > 0)
    augmentation = compile_augmentation(*steps, mix=mix if mixes else None, jit_compile=jit_compile)

    @tf.autograph.experimental.do_not_convert
    def transform(images, labels, seed):
        # Outside XLA: it would drop the check that labels are below `classes`, and its fused
        # multiply-add would move smoothed targets by a last bit.
        targets = label_targets(labels, classes=classes)
        images, targets = augmentation(images, targets, seed)
        targets = smooth_targets(targets, label_smoothing)
        if weights is None:
            return images, targets
        return images, targets, tf.linalg.matvec(targets, weights)

    return transform


def _image_steps(flip, crop_padding, crop_fill, cutout_size, erase_probability):
    """Return the operations on images that are on, as functions of images and seed."""
    _validation.check_choice("flip", flip, tuple(FLIPS))
    check_random_crop(crop_padding, crop_fill)
    check_cutout(cutout_size)
    check_random_erasing(erase_probability)
    axes = {axis: axis in FLIPS[flip] for axis in ("horizontal", "vertical")}
    steps = (
        (flip, functools.partial(random_flip, **axes)),
        (crop_padding, functools.partial(random_crop, padding=crop_padding, fill=crop_fill)),
        (cutout_size, functools.partial(cutout, size=cutout_size)),
        (erase_probability, functools.partial(random_erasing, probability=erase_probability)),
    )
    return [step for strength, step in steps if strength]


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
