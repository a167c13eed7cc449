"""Class labels as rows of target probabilities."""

import tensorflow as tf

from augment import _validation


def label_targets(labels, *, classes=None, label_smoothing=0.0):
    """Turn labels into targets: one row of `classes` probabilities for each image.

    With one-hot (or already soft) rows `y` and smoothing `e` the targets are
    `(1 - e) * y + e / classes`, so rows that sum to 1 still do.

    Args:
        labels: Whole numbers in `[0, classes)` of shape `(batch,)` or `(batch, 1)`, any integer
            dtype; or rows of shape `(batch, classes)`, floating point or integer.
        classes: Number of classes; may be left out if `labels` are rows.
        label_smoothing: `e`, in `[0, 1)`.

    Returns:
        float32 tensor of shape `(batch, classes)`.

    Raises:
        ValueError: If the shape is another, `classes` is missing or does not match, or
            `label_smoothing` is out of range.
        tf.errors.InvalidArgumentError: If a whole number is outside `[0, classes)` (found when the
            batch is computed; not under XLA, which compiles no checks).

    Example:
        >>> label_targets([1, 0], classes=2, label_smoothing=0.5).numpy().tolist()
        [[0.25, 0.75], [0.75, 0.25]]

    Source:
        Szegedy et al., "Rethinking the Inception Architecture", 2015, section 7.
    """
    labels = tf.convert_to_tensor(labels)
    if classes is not None:
        classes = _validation.check_integer("classes", classes, 2)
    if labels.dtype.is_integer and labels.shape.rank == 2 and labels.shape[1] == 1:
        labels = tf.squeeze(labels, axis=1)
    if labels.dtype.is_integer and labels.shape.rank == 1:
        targets = _one_hot(labels, classes)
    elif (labels.dtype.is_integer or labels.dtype.is_floating) and labels.shape.rank == 2:
        targets = tf.cast(_check_rows(labels, classes), tf.float32)
    else:
        raise ValueError(
            "labels must be whole numbers of shape (batch,) or rows of shape (batch, classes), "
            f"received: {labels.dtype.name} of shape {labels.shape}"
        )
    return smooth_targets(targets, label_smoothing)


def smooth_targets(targets, label_smoothing):
    """Return `(1 - label_smoothing) * targets + label_smoothing / classes`.

    Args:
        targets: float32, shape `(batch, classes)`.
        label_smoothing: In `[0, 1)`.
    """
    label_smoothing = check_smoothing(label_smoothing)
    if label_smoothing == 0:
        return targets
    classes = tf.cast(tf.shape(targets)[1], tf.float32)
    return (1.0 - label_smoothing) * targets + label_smoothing / classes


def check_smoothing(label_smoothing):
    """Return `label_smoothing` as a float in `[0, 1)`, or raise `ValueError`."""
    label_smoothing = _validation.check_number("label_smoothing", label_smoothing, 0, 1)
    if label_smoothing == 1:
        raise ValueError("label_smoothing must be below 1, received: 1")
    return label_smoothing


def _one_hot(labels, classes):
    if classes is None:
        raise ValueError("classes must be given when labels are whole numbers")
    # Their own dtype may not hold the number of classes, nor be one that `tf.one_hot` takes.
    labels = tf.cast(labels, tf.int64)
    check_low = tf.debugging.assert_non_negative(labels, "labels must not be negative")
    check_high = tf.debugging.assert_less(
        labels, tf.cast(classes, labels.dtype), f"labels must be below classes, which is {classes}"
    )
    # In eager code the checks have run by now and are None.
    with tf.control_dependencies([check for check in (check_low, check_high) if check is not None]):
        return tf.one_hot(labels, classes, dtype=tf.float32)


def _check_rows(labels, classes):
    width = labels.shape[1]
    if width == 1 or (classes is not None and width not in (None, classes)):
        expected = "at least 2" if classes is None else classes
        raise ValueError(
            f"labels must have a column for each class, {expected}, received: shape {labels.shape}"
        )
    return labels
