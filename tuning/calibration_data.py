"""Which training images calibrate a quantized file."""

import numpy as np


def calibration_indices(labels: np.ndarray, count: int) -> np.ndarray:
    """Choose training images, the classes in turn, seeded.

    Args:
        labels: Classes of the training images, integers of shape `(n,)`.
        count: How many to choose; all, if there are no more.

    Returns:
        Ascending indices, as many of each class as of any other where there are enough.

    Example:
        >>> labels = np.array([0] * 90 + [1] * 9 + [2])
        >>> np.bincount(labels[calibration_indices(labels, 21)])
        array([11,  9,  1])
    """
    labels = np.asarray(labels)
    order = np.random.default_rng(0).permutation(len(labels))
    # Rank of each image among those of its class: sorting by it deals the classes out in turn.
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        ranks[members] = np.arange(len(members))
    dealt = order[np.argsort(ranks[order], kind="stable")]
    return np.sort(dealt[:count])
