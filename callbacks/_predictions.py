"""Checks shared by everything that judges predictions against labels."""

import numpy as np

ROW_SUM_TOLERANCE = 1e-3


def check_predictions(probabilities, labels):
    """Return probabilities as float64 and labels as int64 once they are known to be usable.

    Args:
        probabilities: Shape `(images, classes)`, at least one image and two classes, values in
            `[0, 1]`, rows that sum to 1 within 0.001.
        labels: Integers in `[0, classes)`, shape `(images,)`.

    Returns:
        The pair `(probabilities, labels)`, float64 and int64.

    Raises:
        ValueError: If anything above does not hold; the message says what was expected.

    Example:
        >>> check_predictions([[1.5, -0.5]], [0])
        Traceback (most recent call last):
        ValueError: probabilities must lie in [0, 1], received values from -0.5 to 1.5: are \
these logits? softmax() turns them into probabilities
    """
    probabilities = np.asarray(probabilities, np.float64)
    check_scores(probabilities, "probabilities")
    lowest, highest = probabilities.min(), probabilities.max()
    if lowest < 0 or highest > 1 + ROW_SUM_TOLERANCE:
        raise ValueError(
            f"probabilities must lie in [0, 1], received values from {lowest:g} to {highest:g}: "
            "are these logits? softmax() turns them into probabilities"
        )
    sums = probabilities.sum(axis=1)
    worst = int(np.abs(sums - 1).argmax())
    if abs(sums[worst] - 1) > ROW_SUM_TOLERANCE:
        raise ValueError(
            f"each row of probabilities must sum to 1 within {ROW_SUM_TOLERANCE:g}, "
            f"received row {worst} with sum {sums[worst]:g}"
        )
    return probabilities, check_labels(labels, probabilities.shape)


def check_shape(shape, name):
    """Raise unless a shape is (images, classes), with at least one image and two classes."""
    if len(shape) != 2 or shape[0] < 1 or shape[1] < 2:
        raise ValueError(
            f"{name} must have shape (images, classes) with at least one image and two classes, "
            f"received shape {shape}"
        )


def check_scores(scores, name):
    """Raise unless `scores` has shape (images, classes) and is finite."""
    check_shape(scores.shape, name)
    bad = ~np.isfinite(scores).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name} must be finite, received NaN or infinity in {int(bad.sum())} of "
            f"{len(bad)} rows, the first of them row {int(bad.argmax())}"
        )


def check_indices(labels, shape=None):
    """Return labels as an array; raise unless they are one integer an image, of this shape."""
    labels = np.asarray(labels)
    fits = labels.ndim == 1 if shape is None else labels.shape == shape
    if not fits or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers of shape {shape or '(images,)'}, one class index an image, "
            f"received {labels.dtype} of shape {labels.shape}"
        )
    return labels


def check_labels(labels, shape):
    """Return labels as int64; raise unless they fit scores of this shape."""
    labels = check_indices(labels, shape[:1])
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or highest >= shape[1]:
        raise ValueError(f"labels must lie in 0 to {shape[1] - 1}, received {lowest} to {highest}")
    return labels.astype(np.int64)


def check_logits(logits, labels):
    """Return logits as float64 and labels as int64; raise unless they can be used."""
    logits = np.asarray(logits, np.float64)
    check_scores(logits, "logits")
    return logits, check_labels(labels, logits.shape)
