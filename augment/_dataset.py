"""Numbering and checking the batches of a `tf.data.Dataset`."""

import tensorflow as tf

from augment import _elements, _validation

# Where it is unknown how many batches a pass has, the next one counts on from a multiple of this.
_LONGEST_PASS = 2**32


def map_numbered(dataset, function, num_parallel_calls):
    """Map `function(number, batch)` over a dataset, in order.

    Args:
        dataset: `tf.data.Dataset`.
        function: Of a batch's number, an int64 scalar, and the batch. Batches are counted from 0,
            over all passes over the result: a second pass goes on where the first ended. If it is
            unknown how many batches a pass has, or there is no end, pass `p` counts from
            `p * 2**32`.
        num_parallel_calls: As for `tf.data.Dataset.map`.

    Returns:
        `tf.data.Dataset` of as many elements as `dataset` has.
    """
    batches = int(dataset.cardinality())
    length = batches if batches >= 0 else _LONGEST_PASS
    with tf.device("CPU:0"):
        passes = tf.Variable(0, dtype=tf.int64, trainable=False)

    def numbers(_):
        first = (passes.assign_add(1) - 1) * length
        return tf.data.Dataset.range(first, tf.int64.max)

    # Only the counter is made anew by a function: the dataset itself stays as tf.data knows it.
    numbers = tf.data.Dataset.from_tensors(0).flat_map(numbers)
    numbers = numbers.apply(
        tf.data.experimental.assert_cardinality(tf.data.experimental.INFINITE_CARDINALITY)
    )

    pairs = tf.data.Dataset.zip((numbers, dataset))
    return pairs.map(
        tf.autograph.experimental.do_not_convert(function),
        num_parallel_calls=num_parallel_calls,
        deterministic=True,
    )


def element_spec(dataset):
    """Return the structure of a dataset's elements, or raise `TypeError` if it is none."""
    if not isinstance(dataset, tf.data.Dataset):
        raise TypeError(
            f"dataset must be a tf.data.Dataset of batches, received: {type(dataset).__name__}"
        )
    return dataset.element_spec


def check_spec(spec, program, name):
    """Raise if batches cannot be augmented: found before anything runs.

    Args:
        spec: Structure of a dataset's elements.
        program: `Program` that is to work on them.
        name: What to call it in a message.

    Raises:
        ValueError: If rank, size, labels or weights are not what is needed.
        TypeError: If images are ragged or of another dtype.
    """
    element = _elements.take_apart(spec)
    _check_images(element.images)
    if not program.mixes:
        return
    _elements.check_labels(element, name)
    weights = element.weights
    if weights is not None and (
        weights.shape.rank not in (1, 2) or (weights.shape.rank == 2 and weights.shape[1] != 1)
    ):
        raise ValueError(
            f"weights must have the shape (batch,) to be mixed, received: {weights.shape}"
        )


def _check_images(images):
    if isinstance(images, tf.RaggedTensorSpec):
        raise TypeError("images must be one size: resize them before batching, received: ragged")
    if not isinstance(images, tf.TensorSpec):
        raise TypeError(f"images must be a tensor, received: {type(images).__name__}")
    _validation.check_kind(images)
    if None in images.shape[1:]:
        raise ValueError(
            "images must be of known height, width and channels: resize them before batching "
            f"(or say set_shape), received: {images.shape}"
        )


def checked_values(images, value_range, needed):
    """Return images; when the result is computed, raise if they are clearly in another range.

    Args:
        images: Tensor of shape `(batch, height, width, channels)`.
        value_range: Lowest and highest value stated for float images.
        needed: bool scalar, whether to look.
    """
    if images.dtype == tf.uint8:
        return images
    low, high = value_range

    def looks_right():
        values = tf.cast(images, tf.float32)
        slack = 1e-2 * (high - low)
        least, most = tf.reduce_min(values), tf.reduce_max(values)
        right = (least >= low - slack) & (most <= high + slack)
        # Black images are of any range; those up to 1 are hardly meant to be up to 255.
        return right & ((most > 1.0) | (most <= 0.0)) if (low, high) == (0.0, 255.0) else right

    right = tf.cond(needed, looks_right, lambda: True)
    message = (
        f"images must be in [{low:g}, {high:g}]: if they are in another range, such as [0, 1], say "
        "value_range=(0, 1)"
    )
    with tf.control_dependencies([tf.debugging.Assert(right, [message])]):
        return tf.identity(images)
