"""Repeated augmentation: each image several times in a batch, each time augmented anew."""

import tensorflow as tf

from augment import _validation


def repeated_augmentation(dataset, times=3):
    """Put each image of a batch into it `times` times, in as many batches as before.

    Copies lie side by side; an augmentation mapped afterwards draws anew for each of them. Batches
    and an epoch keep their size, so that an epoch shows only one in `times` of the images, `times`
    times each: a batch is taken, each image of it is written down `times` times in a row, and what
    results is cut into `times` batches. Shuffle before batching, anew for each epoch, so that in
    the long run all images are seen alike often. A batch size that `times` divides keeps all copies
    of an image in one batch.

    Args:
        dataset: Shuffled and batched `tf.data.Dataset`, not augmented yet. Elements are tensors or
            structures of them; each tensor's first axis is the batch's.
        times: How often each image is in a batch, at least 1; 1 changes nothing.

    Returns:
        `tf.data.Dataset` with elements of the same structure. An infinite dataset stays so.

    Raises:
        ValueError: If `times` is out of range, elements are no batches, or it is unknown how many
            elements there are.
        TypeError: If `dataset` is none.

    Example:
        >>> dataset = tf.data.Dataset.range(8).batch(4)
        >>> [batch.numpy().tolist() for batch in repeated_augmentation(dataset, times=2)]
        [[0, 0, 1, 1], [2, 2, 3, 3]]

    Source:
        Hoffer et al., "Augment Your Batch: Improving Generalization Through Instance Repetition",
        2020, and Berman et al., "MultiGrain", 2019, section 3.3. There a batch grows by the copies,
        or they are drawn over the whole epoch; size and length are kept as by timm's
        `RepeatAugSampler`, which repeats each image of the shuffled list `times` times in a row and
        ends the epoch early, but hands the copies to different workers where there are several.
    """
    times = _validation.check_integer("times", times, 1)
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            f"dataset must be a tf.data.Dataset of batches, received: {type(dataset).__name__}"
        )
    for spec in tf.nest.flatten(dataset.element_spec):
        if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank:
            raise ValueError(f"dataset must hold batches of tensors, received: {spec}")
    batches = int(dataset.cardinality())
    if batches == tf.data.UNKNOWN_CARDINALITY:
        raise ValueError(
            "dataset must have a known number of batches, so that an epoch keeps its length: say "
            "it with tf.data.experimental.assert_cardinality, received: unknown"
        )
    if batches >= 0:
        dataset = dataset.take(-(-batches // times))

    # A tuple, but no named one, is handed to the function entry by entry.
    unpacked = type(dataset.element_spec) is tuple

    def repeated(*element):
        element = element if unpacked else element[0]
        copies = tf.nest.map_structure(copied, element)
        return tf.data.Dataset.from_tensor_slices(copies)

    def copied(tensor):
        """Return the copies as `times` batches of the size there was."""
        batch, *rest = tensor.shape
        size = tf.shape(tensor)
        copies = tf.reshape(tf.repeat(tensor, times, axis=0), tf.concat([[times], size], axis=0))
        return tf.ensure_shape(copies, (times, batch, *rest))

    dataset = dataset.flat_map(repeated)
    if batches < 0:
        return dataset.apply(tf.data.experimental.assert_cardinality(batches))
    return dataset.take(batches).apply(tf.data.experimental.assert_cardinality(batches))
