"""The order in which batches come, and the `tf.data` pipeline that makes them.

Every batch is a function of the seed, the epoch and the step alone. No state runs along, so the
order does not depend on how many threads work, and a run can start at any epoch.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.errors import DataError

if TYPE_CHECKING:
    import tensorflow as tf

Transform = Callable[[Any, Any, Any], Any]
# Keeps the random stream of the order apart from the one that transforms draw from.
_ORDER_STREAM = 0x5EED


def make_pipeline(
    gather: Callable[["tf.Tensor"], "tf.Tensor"],
    labels: np.ndarray,
    batch_size: int,
    *,
    shuffle: bool,
    seed: int,
    epochs: int | None,
    first_epoch: int,
    drop_remainder: bool,
    sampling: str,
    transform: Transform | None,
    part: tuple[int, int] = (0, 1),
) -> "tf.data.Dataset":
    """Return batches of images and labels; see `Split.pipeline`.

    Args:
        gather: Indices int32 `(b,)` to images uint8 `(b, height, width, channels)`, of TensorFlow.
        labels: int64 `(n,)`.
        batch_size: As for `Split.pipeline`; so are the others.
    """
    import tensorflow as tf

    steps = _check_arguments(
        len(labels), batch_size, seed, epochs, first_epoch, drop_remainder, sampling
    )
    if sampling == "balanced":
        draw = _balanced(labels, batch_size, seed, steps)
    else:
        draw = _natural(len(labels), batch_size, seed, steps, shuffle)
    # The steps of all epochs are counted in 32 bits.
    last = np.iinfo(np.int32).max // max(steps, 1) if epochs is None else epochs
    dataset = tf.data.Dataset.range(first_epoch, max(last, first_epoch), output_type=tf.int32)
    dataset = dataset.flat_map(draw).enumerate(start=first_epoch * steps)
    static = batch_size if drop_remainder or len(labels) % batch_size == 0 else None
    make_batch = _batch_maker(gather, labels, static, seed, transform)
    if part != (0, 1):
        _check_part(part, static)
        make_batch = _part_maker(gather, labels, static, seed, transform, part)
    dataset = dataset.map(make_batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    count = tf.data.INFINITE_CARDINALITY
    if epochs is not None:
        count = steps * max(epochs - first_epoch, 0)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return dataset.prefetch(tf.data.AUTOTUNE)


def make_fit_pipeline(
    gather: Callable[["tf.Tensor"], "tf.Tensor"], labels: np.ndarray, batch_size: int, seed: int
) -> "tf.data.Dataset":
    """Return shuffled batches for `model.fit`, which goes through one dataset epoch by epoch.

    Each pass is in another order, and two datasets with the same seed go through the same orders.

    Args:
        gather: As for `make_pipeline`; so are the others.
    """
    import tensorflow as tf

    steps = _check_arguments(len(labels), batch_size, seed, 1, 0, False, "natural")
    draw = _natural(len(labels), batch_size, seed, steps, shuffle=True)
    # The one thing of tf.data that differs from pass to pass and yet is seeded.
    passes = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).take(1)
    dataset = passes.flat_map(lambda number: draw(tf.cast(number % 2**31, tf.int32)))
    static = batch_size if len(labels) % batch_size == 0 else None
    dataset = dataset.enumerate().map(
        _batch_maker(gather, labels, static, seed, None),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(steps))
    return dataset.prefetch(tf.data.AUTOTUNE)


def _batch_maker(gather, labels: np.ndarray, static: int | None, seed: int, transform):
    """Return a function from a step and indices to an element of the pipeline."""
    import tensorflow as tf

    with tf.device("CPU:0"):
        all_labels = tf.constant(labels.astype(np.int32))

    def make_batch(step, indices):
        indices.set_shape([static])
        images, batch_labels = gather(indices), tf.gather(all_labels, indices)
        if transform is None:
            return images, batch_labels
        return transform(images, batch_labels, tf.stack([seed, tf.cast(step, tf.int32)]))

    return make_batch


def _part_maker(gather, labels, batch_size: int, seed: int, transform, part: tuple[int, int]):
    """Return a function from a step and the indices of a batch to one part of its element."""
    import tensorflow as tf

    number, parts = part
    size = batch_size // parts
    first = number * size

    if transform is not None and getattr(transform, "needs_whole_batches", True):
        # Mixed images come from all over the batch: all of it is made, and the rest thrown away.
        make_all = _batch_maker(gather, labels, batch_size, seed, transform)

        def cut_part(step, indices):
            whole = make_all(step, indices)
            return tf.nest.map_structure(lambda tensor: tensor[first : first + size], whole)

        return cut_part

    def transform_part(images, batch_labels, stream):
        return transform(images, batch_labels, stream, window=(first, batch_size))

    make_own = _batch_maker(gather, labels, size, seed, transform and transform_part)

    def make_part(step, indices):
        return make_own(step, indices[first : first + size])

    return make_part


def _natural(count: int, batch_size: int, seed: int, steps: int, shuffle: bool):
    """Return a function from an epoch to its batches of indices: each image once."""
    import tensorflow as tf

    def draw(epoch):
        order = tf.range(count)
        if shuffle:
            stream = tf.stack([seed ^ _ORDER_STREAM, epoch])
            order = tf.random.experimental.stateless_shuffle(order, seed=stream)
        return tf.data.Dataset.range(steps, output_type=tf.int32).map(
            lambda step: order[step * batch_size : (step + 1) * batch_size]
        )

    return draw


def _balanced(labels: np.ndarray, batch_size: int, seed: int, steps: int):
    """Return a function from an epoch to batches of indices: a class, then an image of it."""
    import tensorflow as tf

    counts = np.bincount(labels)
    present = np.flatnonzero(counts)
    with tf.device("CPU:0"):
        by_class = tf.constant(np.argsort(labels, kind="stable").astype(np.int32))
        starts = tf.constant((np.cumsum(counts) - counts)[present].astype(np.int32))
        sizes = tf.constant(counts[present].astype(np.float64))

    def draw(epoch):
        def pick(step):
            size = tf.minimum(batch_size, len(labels) - step * batch_size)
            stream = tf.stack([seed ^ _ORDER_STREAM, epoch * steps + step])
            drawn = tf.random.stateless_uniform([2, size], stream, dtype=tf.float64)
            chosen = tf.cast(drawn[0] * len(present), tf.int32)
            within = tf.cast(drawn[1] * tf.gather(sizes, chosen), tf.int32)
            return tf.gather(by_class, tf.gather(starts, chosen) + within)

        return tf.data.Dataset.range(steps, output_type=tf.int32).map(pick)

    return draw


def _check_part(part: tuple[int, int], batch_size: int | None) -> None:
    number, parts = part
    if batch_size is None:
        raise DataError("part needs batches of one size: add drop_remainder=True")
    if not 0 <= number < parts:
        raise DataError(f"part must be (number, parts) with number below parts, received: {part!r}")
    if batch_size % parts:
        raise DataError(f"batch_size {batch_size} cannot be divided into {parts} equal parts")


def _check_arguments(count, batch_size, seed, epochs, first_epoch, drop_remainder, sampling) -> int:
    """Check what a user gave; return the number of batches an epoch."""
    if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
        raise DataError(f"batch_size must be a positive whole number, received: {batch_size!r}")
    if not 0 <= seed < 2**31:
        raise DataError(f"seed must be from 0 to 2**31 - 1, received: {seed!r}")
    if (epochs is not None and epochs < 0) or first_epoch < 0:
        raise DataError(
            f"epochs and first_epoch must not be negative, received: {epochs!r}, {first_epoch!r}"
        )
    if sampling not in ("natural", "balanced"):
        raise DataError(f"sampling must be 'natural' or 'balanced', received: {sampling!r}")
    if drop_remainder and 0 < count < batch_size:
        raise DataError(
            f"batch_size {batch_size} is larger than the {count} images: with drop_remainder there "
            "would be no batch"
        )
    return count // batch_size if drop_remainder else -(-count // batch_size)
