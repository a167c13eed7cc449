"""Temperature scaling: one number, fitted on held-out images, that mends confidence."""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from callbacks._predictions import check_logits

TEMPERATURE_BOUNDS = (0.05, 20.0)


@dataclass(frozen=True)
class TemperatureFit:
    """A fitted temperature.

    Attributes:
        temperature: The positive number to divide logits by; above 1 the model was overconfident.
        nll_before: Negative log-likelihood at temperature 1, nats an image.
        nll_after: Negative log-likelihood at `temperature`, nats an image.
        at_bound: Whether the search ended at a bound: the images did not determine a temperature,
            as when each of them is classified correctly.
    """

    temperature: float
    nll_before: float
    nll_after: float
    at_bound: bool


def softmax(logits, temperature=1.0):
    """Return `softmax(logits / temperature)` over the last axis, in float64.

    Args:
        logits: Finite numbers, shape `(..., classes)`.
        temperature: Positive number.

    Returns:
        float64 array of the shape of `logits`; the last axis sums to 1.

    Raises:
        ValueError: If a logit is not finite or `temperature` is not a positive number.

    Example:
        >>> softmax([[0.0, 0.0], [0.0, 2.0]], temperature=2.0).round(3).tolist()
        [[0.5, 0.5], [0.269, 0.731]]

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 9.
    """
    logits = np.asarray(logits, np.float64)
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite, received NaN or infinity")
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be a positive number, received: {temperature!r}")
    return special.softmax(logits / temperature, axis=-1)


def negative_log_likelihood_from_logits(logits, labels, temperature=1.0):
    """Return the mean of `logsumexp(logits / T) - logits[label] / T`, exact without a floor.

    Args:
        logits: Finite numbers, shape `(images, classes)`.
        labels: True classes, integers, shape `(images,)`.
        temperature: The positive number T.

    Returns:
        Float, nats an image, 0 and up.

    Raises:
        ValueError: If the logits, the labels or the temperature cannot be used.

    Example:
        >>> round(negative_log_likelihood_from_logits([[0.0, 1000.0]], [0]), 1)
        1000.0
    """
    logits, labels = check_logits(logits, labels)
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be a positive number, received: {temperature!r}")
    margins = _margins(logits, labels) / temperature
    return float(np.mean(special.logsumexp(margins, axis=1)))


def fit_temperature(logits, labels, bounds=TEMPERATURE_BOUNDS):
    """Fit the temperature that makes held-out labels likeliest.

    Minimises the negative log-likelihood of `softmax(logits / T)` over log T between the bounds.
    In 1/T it is convex, with slope `mean(E_p[logit] - logit[label])`; the zero of that slope is
    found by Brent's method, which is exact to rounding where minimising the value itself would be
    exact to its square root. Dividing by T never changes the predicted class.

    Args:
        logits: Finite numbers, shape `(images, classes)`, of images not trained on.
        labels: True classes, integers, shape `(images,)`.
        bounds: Smallest and largest temperature.

    Returns:
        A `TemperatureFit`. Its `at_bound` is true where the likelihood still rises at a bound,
        as when every image is classified correctly (T towards 0) or when the largest logit says
        nothing about the class (T towards infinity). Logits that are equal in every row give 1.

    Raises:
        ValueError: If the logits, the labels or the bounds cannot be used.

    Example:
        >>> logits = [[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]]
        >>> fit = fit_temperature(logits, [0, 0, 1, 1])  # sure to 98 %, right in 75 %
        >>> round(fit.temperature, 3), fit.at_bound
        (3.641, False)

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.
    """
    logits, labels = check_logits(logits, labels)
    low, high = bounds
    if not 0 < low < high < np.inf:
        raise ValueError(f"bounds must be two rising positive numbers, received: {bounds!r}")
    margins = _margins(logits, labels)

    def slope(log_temperature):
        probabilities = special.softmax(margins * np.exp(-log_temperature), axis=1)
        return float(np.mean(np.sum(probabilities * margins, axis=1)))

    log_low, log_high = np.log(low), np.log(high)
    if not margins.any():
        temperature, at_bound = float(np.clip(1.0, low, high)), False
    elif slope(log_low) <= 0:
        # Still better at larger 1/T, or so saturated that the slope has underflowed to zero.
        temperature, at_bound = float(low), True
    elif slope(log_high) >= 0:
        temperature, at_bound = float(high), True
    else:
        root = optimize.brentq(slope, log_low, log_high, xtol=1e-13, rtol=1e-14)
        temperature, at_bound = float(np.exp(root)), False
    return TemperatureFit(
        temperature=temperature,
        nll_before=float(np.mean(special.logsumexp(margins, axis=1))),
        nll_after=float(np.mean(special.logsumexp(margins / temperature, axis=1))),
        at_bound=at_bound,
    )


def _margins(logits, labels):
    """Return each logit minus the true class's; the likelihood depends on nothing else."""
    return logits - logits[np.arange(len(labels)), labels][:, np.newaxis]
