"""How well predicted probabilities match outcomes: calibration errors, scores, temperature.

Pure NumPy and SciPy in float64, with no TensorFlow. Throughout, `probabilities` has shape
`(images, classes)` with rows that sum to 1, `labels` are the true classes as integers of shape
`(images,)`, the prediction is the class of largest probability (the first one on a tie), and the
confidence is that probability.
"""

from dataclasses import dataclass

import numpy as np

from callbacks._arguments import whole
from callbacks._predictions import check_predictions
from callbacks.temperature import (
    TEMPERATURE_BOUNDS,
    TemperatureFit,
    fit_temperature,
    negative_log_likelihood_from_logits,
    softmax,
)

__all__ = [
    "PROBABILITY_FLOOR",
    "TEMPERATURE_BOUNDS",
    "NoiseFloor",
    "TemperatureFit",
    "adaptive_calibration_error",
    "brier_score",
    "check_predictions",
    "classwise_calibration_error",
    "ece_noise_floor",
    "expected_calibration_error",
    "fit_temperature",
    "maximum_calibration_error",
    "negative_log_likelihood",
    "negative_log_likelihood_from_logits",
    "reliability_bins",
    "softmax",
]

PROBABILITY_FLOOR = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class NoiseFloor:
    """The calibration error that chance alone gives a perfectly calibrated model.

    Attributes:
        mean: Its expected value.
        upper: Its 95 % quantile; a measured error up to here is not distinguishable from noise.
    """

    mean: float
    upper: float


def reliability_bins(probabilities, labels, bins=15):
    """Group images by confidence into equal-width bins: the data of a reliability diagram.

    Bin b of B holds the images with confidence in `(b / B, (b + 1) / B]`: closed on the right, so
    that a confidence of exactly 1 falls into the last bin.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        bins: Number of bins, at least 1.

    Returns:
        Dictionary of arrays of length `bins`: `lower` and `upper` edges, `count` (int64), and the
        mean `confidence` and `accuracy` of the images in the bin, NaN where it is empty.

    Raises:
        ValueError: If the probabilities, the labels or `bins` cannot be used.

    Example:
        >>> table = reliability_bins([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1], bins=2)
        >>> table["count"].tolist(), table["accuracy"].round(3).tolist()
        ([0, 3], [nan, 0.667])

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
    """
    confidence, correct = _top_label(probabilities, labels)
    count, mean_confidence, accuracy = _bin_means(confidence, correct, whole("bins", bins, 1))
    edges = np.linspace(0.0, 1.0, bins + 1)
    return {
        "lower": edges[:-1],
        "upper": edges[1:],
        "count": count,
        "confidence": mean_confidence,
        "accuracy": accuracy,
    }


def expected_calibration_error(probabilities, labels, bins=15):
    """Return the expected calibration error (ECE) of the predicted class.

    `sum_b n_b / N * |accuracy_b - confidence_b|` over equal-width bins closed on the right.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        bins: Number of bins, at least 1.

    Returns:
        Float in `[0, 1]`; 0 is perfect. It is biased upwards on few images: see
        `ece_noise_floor`.

    Raises:
        ValueError: If the probabilities, the labels or `bins` cannot be used.

    Example:
        >>> round(expected_calibration_error([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]), 4)
        0.3

    Source:
        Naeini et al., 2015; Guo et al., 2017, equation 5.
    """
    confidence, correct = _top_label(probabilities, labels)
    return _calibration_error(confidence, correct, whole("bins", bins, 1))


def maximum_calibration_error(probabilities, labels, bins=15):
    """Return the largest `|accuracy_b - confidence_b|` over the bins that hold an image (MCE).

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        bins: Number of equal-width bins, closed on the right, at least 1.

    Returns:
        Float in `[0, 1]`. A bin with a single image can decide it.

    Raises:
        ValueError: If the probabilities, the labels or `bins` cannot be used.

    Example:
        >>> round(maximum_calibration_error([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]), 4)
        0.6

    Source:
        Guo et al., 2017, equation 6.
    """
    confidence, correct = _top_label(probabilities, labels)
    _, mean_confidence, accuracy = _bin_means(confidence, correct, whole("bins", bins, 1))
    return float(np.nanmax(np.abs(accuracy - mean_confidence)))


def adaptive_calibration_error(probabilities, labels, bins=15):
    """Return the calibration error over bins that hold equally many images.

    Images are sorted by confidence (stable, so ties keep their order) and cut into `bins` groups
    whose sizes differ by at most one (`numpy.array_split`); each group is weighted by its size.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        bins: Number of groups, at least 1; groups left empty count nothing.

    Returns:
        Float in `[0, 1]`; 0 is perfect.

    Raises:
        ValueError: If the probabilities, the labels or `bins` cannot be used.

    Example:
        >>> p = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]]
        >>> round(adaptive_calibration_error(p, [0, 1, 1, 0], bins=2), 4)
        0.1

    Source:
        Nguyen and O'Connor, "Posterior calibration and exploratory analysis", 2015, with the
        weights of the expected calibration error; Nixon et al., 2019, weight all groups equally.
    """
    confidence, correct = _top_label(probabilities, labels)
    order = np.argsort(confidence, kind="stable")
    groups = np.array_split(order, whole("bins", bins, 1))
    gaps = [abs(correct[group].sum() - confidence[group].sum()) for group in groups]
    return float(sum(gaps) / len(order))


def classwise_calibration_error(probabilities, labels, bins=15):
    """Return the mean over classes of each class's own calibration error, one against the rest.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        bins: Number of equal-width bins, closed on the right, at least 1.

    Returns:
        Float in `[0, 1]`; 0 is perfect. It shrinks with the number of classes, since most images
        are surely not of most classes.

    Raises:
        ValueError: If the probabilities, the labels or `bins` cannot be used.

    Example:
        >>> round(classwise_calibration_error([[0.9, 0.1], [0.4, 0.6]], [0, 1], bins=2), 4)
        0.25

    Source:
        Kull et al., "Beyond temperature scaling", 2019, equation 2.
    """
    probabilities, labels = check_predictions(probabilities, labels)
    bins = whole("bins", bins, 1)
    errors = [
        _calibration_error(probabilities[:, index], labels == index, bins)
        for index in range(probabilities.shape[1])
    ]
    return float(np.mean(errors))


def brier_score(probabilities, labels):
    """Return the mean over images of `sum_k (p_k - y_k)^2`, with `y` the one-hot label.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.

    Returns:
        Float from 0 (sure and right) to 2 (sure and wrong).

    Raises:
        ValueError: If the probabilities or the labels cannot be used.

    Example:
        >>> round(brier_score([[0.9, 0.1], [0.4, 0.6]], [0, 1]), 4)
        0.17

    Source:
        Brier, "Verification of forecasts expressed in terms of probability", 1950, equation 2.
    """
    probabilities, labels = check_predictions(probabilities, labels)
    true = probabilities[np.arange(len(labels)), labels]
    # sum_k (p_k - y_k)^2 without making the one-hot matrix.
    others = np.square(probabilities).sum(axis=1) - true**2
    return float(np.mean(others + (1 - true) ** 2))


def negative_log_likelihood(probabilities, labels, floor=PROBABILITY_FLOOR):
    """Return the mean over images of `-ln p[label]`.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        floor: Probabilities of the true class below this count as this. The default is the
            float64 epsilon 2.2e-16, as in scikit-learn: no image costs more than 36.04 nats, so
            that one probability rounded to zero does not make the result infinite.

    Returns:
        Float, nats an image, 0 and up.

    Raises:
        ValueError: If the probabilities or the labels cannot be used.

    Example:
        >>> round(negative_log_likelihood([[0.5, 0.5], [0.25, 0.75]], [0, 1]), 4)
        0.4904
        >>> round(negative_log_likelihood([[1.0, 0.0]], [1]), 2)
        36.04
    """
    probabilities, labels = check_predictions(probabilities, labels)
    true = probabilities[np.arange(len(labels)), labels]
    return float(-np.mean(np.log(np.maximum(true, floor))))


def ece_noise_floor(probabilities, bins=15, repeats=200, seed=0):
    """Return the expected calibration error that chance gives a perfectly calibrated model.

    A calibration error over few images is above zero even for a perfect model. Here each image is
    declared correct with a probability equal to its confidence, which is what perfect calibration
    means, and the error of that is measured, `repeats` times (parametric bootstrap).

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        bins: Number of equal-width bins, closed on the right, at least 1.
        repeats: Number of simulated outcomes, at least 1.
        seed: Seed of the simulation.

    Returns:
        A `NoiseFloor` with the mean and the 95 % quantile.

    Raises:
        ValueError: If the probabilities, `bins` or `repeats` cannot be used.

    Example:
        >>> floor = ece_noise_floor([[0.8, 0.2]] * 1000)
        >>> 0.005 < floor.mean < 0.015 < floor.upper < 0.03
        True

    Source:
        Bröcker and Smith, "Increasing the reliability of reliability diagrams", 2007;
        Vaicenavicius et al., "Evaluating model calibration in classification", 2019.
    """
    probabilities = np.asarray(probabilities, np.float64)
    probabilities, _ = check_predictions(probabilities, np.zeros(len(probabilities), np.int64))
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, received: {repeats!r}")
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    bins = whole("bins", bins, 1)
    index = _bin_index(confidence, bins)
    expected = np.bincount(index, confidence, bins)
    generator = np.random.default_rng(seed)
    errors = np.empty(repeats)
    for repeat in range(repeats):
        correct = generator.random(len(confidence)) < confidence
        errors[repeat] = np.abs(np.bincount(index, correct, bins) - expected).sum()
    errors /= len(confidence)
    return NoiseFloor(mean=float(errors.mean()), upper=float(np.quantile(errors, 0.95)))


def _top_label(probabilities, labels):
    probabilities, labels = check_predictions(probabilities, labels)
    # Rounding may leave a confidence a hair above 1.
    confidence = np.minimum(probabilities.max(axis=1), 1.0)
    return confidence, probabilities.argmax(axis=1) == labels


def _bin_index(confidence, bins):
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.searchsorted(edges[1:-1], confidence, side="left")


def _bin_means(confidence, correct, bins):
    index = _bin_index(confidence, bins)
    count = np.bincount(index, minlength=bins)
    divisor = np.where(count, count, np.nan)
    return (
        count,
        np.bincount(index, confidence, bins) / divisor,
        np.bincount(index, correct, bins) / divisor,
    )


def _calibration_error(confidence, correct, bins):
    index = _bin_index(confidence, bins)
    gaps = np.bincount(index, correct, bins) - np.bincount(index, confidence, bins)
    return float(np.abs(gaps).sum() / len(confidence))
