"""How well the probability of a class ranks its images: AUROC and average precision.

Both are computed for many weightings of the images at once, since a bootstrap resample is nothing
but a number of times that each image counts. Pure NumPy.
"""

import numpy as np


def area_under_roc(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the area under the receiver operating characteristic (AUROC).

    The chance that an image of the class scores higher than one of another class, a tie counted
    half.

    Args:
        scores: Shape `(images,)`; higher says the class more.
        positive: Whether the image is of the class, booleans of shape `(images,)`.

    Returns:
        From 0 to 1, 0.5 for a ranking that knows nothing; `None` where one side has no image.

    Example:
        >>> area_under_roc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
        0.875

    Source:
        Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982.
    """
    return _number(rank_weighted(scores, positive, _ones(scores))[0][0])


def average_precision(scores: np.ndarray, positive: np.ndarray) -> float | None:
    """Return the average precision: the area under the precision-recall curve, as steps.

    `sum_k (recall_k - recall_(k-1)) precision_k` over the distinct scores from high to low.

    Args:
        scores: Shape `(images,)`; higher says the class more.
        positive: Whether the image is of the class, booleans of shape `(images,)`.

    Returns:
        From 0 to 1; a ranking that knows nothing gets the share of the class. `None` where the
        class, or the rest, has no image.

    Example:
        >>> round(average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True])), 4)
        0.8333

    Source:
        Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4;
        not interpolated, as in scikit-learn.
    """
    return _number(rank_weighted(scores, positive, _ones(scores))[1][0])


def rank_weighted(
    scores: np.ndarray, positive: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return AUROC and average precision for several weightings of the images.

    Args:
        scores: Shape `(images,)`.
        positive: Booleans of shape `(images,)`.
        counts: How often each image counts, integers of shape `(images, weightings)`.

    Returns:
        Two float64 arrays of shape `(weightings,)`, NaN where one side has no image.
    """
    order = np.argsort(-scores, kind="stable")
    truth = positive[order]
    if not truth.any() or truth.all():
        nothing = np.full(counts.shape[1], np.nan)
        return nothing, nothing
    starts, ends = _tied_groups(scores[order], truth)
    # Images between two groups that hold positives matter through their number alone.
    edges = np.unique(np.concatenate([[0], starts, ends[ends < len(order)]]))
    pieces = np.add.reduceat(counts[order], edges, axis=0, dtype=np.int32)
    above = np.concatenate([np.zeros((1, counts.shape[1]), np.int64), np.cumsum(pieces, axis=0)])
    before = above[np.searchsorted(edges, starts)]
    through = above[np.searchsorted(edges, ends)]
    firsts = np.searchsorted(np.flatnonzero(truth), starts)
    inside = np.add.reduceat(counts[order[truth]], firsts, axis=0, dtype=np.int64)
    found = np.cumsum(inside, axis=0)
    positives, negatives = found[-1], above[-1] - found[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        passed = (before - found + inside + through - found) / 2
        area = (inside * (negatives - passed)).sum(axis=0) / (positives * negatives)
        # An empty group in this weighting adds nothing, not 0/0.
        precision = found / np.maximum(through, 1)
        average = (inside * precision).sum(axis=0) / positives
    average[negatives == 0] = np.nan
    return area, average


def _tied_groups(ordered, truth):
    """Return starts and ends of the runs of equal scores that hold a positive."""
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], len(ordered))
    holds = np.add.reduceat(truth.astype(np.int64), starts) > 0
    return starts[holds], ends[holds]


def _ones(scores):
    return np.ones((len(scores), 1), np.uint8)


def _number(value):
    return None if np.isnan(value) else float(value)
