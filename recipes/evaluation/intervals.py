"""Intervals and tests of plain means, alone and paired."""

from collections.abc import Sequence

import numpy as np
from scipy import special

from recipes.evaluation.metrics import CONFIDENCE_LEVEL, wilson_interval


def mean_interval(values: np.ndarray, level: float = CONFIDENCE_LEVEL) -> list[float] | None:
    """Return Student's interval of the mean of independent values, `None` for fewer than two.

    Of a number that is a mean over images (negative log-likelihood, Brier score) this is the
    interval over draws of the images. Of the differences of two models on the same images it is
    the paired interval.

    Args:
        values: One value an image, shape `(images,)`.
        level: Coverage, between 0 and 1.

    Example:
        >>> [round(bound, 3) for bound in mean_interval(np.array([1.0, 2.0, 3.0]))]
        [-0.484, 4.484]
    """
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return None
    centre = values.mean()
    half = special.stdtrit(len(values) - 1, (1 + level) / 2)
    half *= values.std(ddof=1) / np.sqrt(len(values))
    return [float(centre - half), float(centre + half)]


def wilson(share: float | None, count: int) -> list[float] | None:
    """Return Wilson's interval of a share of `count` images, `None` where there is no image."""
    if share is None or not count:
        return None
    return list(wilson_interval(round(share * count), count))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p-values adjusted for being several: their family's error rate is kept.

    `None` stays, and does not count.

    Example:
        >>> holm([0.01, None, 0.04, 0.03])
        [0.03, None, 0.06, 0.06]

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    known = [index for index, value in enumerate(p_values) if value is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(known, key=lambda index: p_values[index])):
        largest = max(largest, min(1.0, (len(known) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
