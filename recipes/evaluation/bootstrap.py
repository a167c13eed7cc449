"""Confidence intervals by resampling images: what other images of the same kind would have shown.

A resample draws as many images as there are, with replacement, so it is a number of times that each
image counts. All measures are computed for all resamples at once, as sums weighted by these counts.

Two kinds of interval are made here.

`percentile_interval`, for measures that are means or near to it (NLL, Brier score, balanced
accuracy, macro F1, AUROC, average precision): the quantiles of the resampled values. BCa, which
also corrects for skewness, was not worth its cost: percentile intervals of NLL and Brier score
already cover the truth as often as they should (measured, see `recipes.evaluation.evaluate`).

`inversion_interval`, for calibration errors. They are sums of absolute gaps, so noise only ever
adds to them: on few images the error measured is above the true one, and that of a resample, whose
images are noisier still, above the measured one. A percentile interval lies too high and can even
leave out the measured value. The interval here asks instead which true error would have given the
measured one.
"""

from collections.abc import Callable, Iterator

import numpy as np

# Counts of one chunk, as float64, take up to 64 MiB.
_CHUNK_VALUES = 2**23
_BISECTIONS = 30
_LARGEST_SCALE = 1024.0


def resample_counts(images: int, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield how often each image counts, chunk by chunk of the resamples.

    Args:
        images: Number of images, at least 1.
        resamples: Number of resamples, 0 or more.
        seed: The same seed gives the same resamples, for any model: comparisons are paired.

    Yields:
        uint8 arrays of shape `(images, k)`, each column summing to `images`; the k sum to
        `resamples`.

    Example:
        >>> [chunk.sum(axis=0).tolist() for chunk in resample_counts(5, 3)]
        [[5, 5, 5]]
    """
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK_VALUES // images)
    for start in range(0, resamples, step):
        rows = np.empty((min(step, resamples - start), images), np.uint8)
        for row in rows:
            drawn = generator.integers(0, images, images)
            row[:] = np.bincount(drawn, minlength=images)
        yield np.ascontiguousarray(rows.T)


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """Return the quantiles that hold the middle `level` of resampled values.

    Args:
        values: Shape `(resamples,)`; NaN, where a resample leaves a measure undefined, is left out.
        level: Coverage, between 0 and 1.

    Returns:
        `(low, high)`, or `None` if a quarter of the values or more are undefined, or there is none.

    Example:
        >>> percentile_interval(np.arange(101.0), 0.5)
        (25.0, 75.0)

    Source:
        Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    defined = values[~np.isnan(values)]
    if not len(defined) or len(defined) <= 0.75 * len(values):
        return None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def inversion_interval(
    observed: float,
    gaps: np.ndarray,
    resampled: np.ndarray,
    measure: Callable[[np.ndarray], np.ndarray],
    magnitude: float,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Return the true calibration errors that make the observed one likely, and the middle one.

    The resampled gaps less the observed ones are draws of the sampling noise. To gaps of the
    observed pattern, `s` times as large, the noise is added and the error of that measured. The
    interval holds `s * magnitude` for each `s` at which the observed error lies between the
    quantiles of what is measured; at `s = 0`, perfect calibration, this is the noise-floor test.

    Args:
        observed: The error measured on the images.
        gaps: What it is made of: a gap a bin, shape `(bins,)`.
        resampled: The gaps of each resample, shape `(bins, resamples)`.
        measure: From gaps `(bins, resamples)` to errors `(resamples,)`.
        magnitude: The error if `gaps` were the true gaps.
        level: Coverage, between 0 and 1.

    Returns:
        `(low, high, corrected)`; `corrected` is the true error under which one is as likely to
        measure more as less than the observed (median-unbiased). 0 if noise alone explains it.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> noise = generator.normal(0, 0.01, (5, 1000))  # Five bins, truly perfect: the mean
        >>> gaps = np.array([0.01, -0.01, 0.0, 0.01, -0.005])  # absolute gap is noise.
        >>> mean = lambda gaps: np.abs(gaps).mean(axis=0)
        >>> low, high, corrected = inversion_interval(
        ...     0.007, gaps, gaps[:, None] + noise, mean, 0.007
        ... )
        >>> low, corrected, 0.007 < high < 0.02
        (0.0, 0.0, True)

    Source:
        Carpenter, "Test inversion bootstrap confidence intervals", 1999, with the scale of the
        gaps as the parameter.
    """
    pattern = gaps[:, np.newaxis]

    def scale_at(share):
        """Return the scale at which `share` of the errors are at most the observed one."""

        def exceeds(scale):
            errors = measure(resampled + (scale - 1) * pattern)
            return np.quantile(errors, share) >= observed

        if exceeds(0.0):
            return 0.0
        high = 1.0
        while not exceeds(high) and high < _LARGEST_SCALE:
            high *= 2
        low = 0.0
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (low, middle) if exceeds(middle) else (middle, high)
        return high

    tail = (1 - level) / 2
    scales = scale_at(1 - tail), scale_at(tail), scale_at(0.5)
    low, high, corrected = (float(min(1.0, scale * magnitude)) for scale in scales)
    return low, high, corrected
