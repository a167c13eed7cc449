"""Other ways to mend probabilities: a scale for each class, Platt, isotonic, another class prior.

Pure NumPy and SciPy in float64; isotonic calibration uses scikit-learn.
"""

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from callbacks._predictions import check_logits, check_predictions
from callbacks.temperature import negative_log_likelihood_from_logits


@dataclass(frozen=True)
class VectorFit:
    """A fitted scale and shift of each class's logit.

    Attributes:
        scale: Factors, float64 of shape `(classes,)`.
        shift: Summands, float64 of shape `(classes,)`, with mean 0 (a common one changes nothing).
        nll_before: Negative log-likelihood of the logits as they were, nats an image.
        nll_after: Negative log-likelihood after, nats an image.
    """

    scale: np.ndarray
    shift: np.ndarray
    nll_before: float
    nll_after: float

    def __call__(self, logits) -> np.ndarray:
        """Return the calibrated probabilities of logits of shape `(images, classes)`."""
        return special.softmax(np.asarray(logits, np.float64) * self.scale + self.shift, axis=-1)


def fit_vector_scaling(logits, labels, penalty=1e-6):
    """Fit a factor and a summand for each class's logit on held-out images.

    Minimises the negative log-likelihood of `softmax(w * z + b)`, which is convex in both, with a
    penalty of `penalty / 2 * (|w - 1|^2 + |b|^2)` that makes the answer unique. Unlike a
    temperature it can change the predicted class, and with few images it fits their noise.

    Args:
        logits: Finite numbers, shape `(images, classes)`, of images not trained on.
        labels: True classes, integers, shape `(images,)`.
        penalty: Weight of the pull towards changing nothing, positive.

    Returns:
        A `VectorFit`.

    Raises:
        ValueError: If the logits, the labels or the penalty cannot be used.

    Example:
        >>> fit = fit_vector_scaling([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]], [0, 0, 1, 1])
        >>> fit.nll_after < fit.nll_before
        True

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.
    """
    logits, labels = check_logits(logits, labels)
    if not penalty > 0:
        raise ValueError(f"penalty must be positive, received: {penalty!r}")
    images, classes = logits.shape
    true = np.eye(classes)[labels]

    def value_and_slope(parameters):
        scale, shift = parameters[:classes], parameters[classes:]
        scaled = logits * scale + shift
        log_probabilities = scaled - special.logsumexp(scaled, axis=1, keepdims=True)
        error = (np.exp(log_probabilities) - true) / images
        value = -np.sum(log_probabilities * true) / images
        value += penalty / 2 * (np.sum((scale - 1) ** 2) + np.sum(shift**2))
        slopes = np.sum(error * logits, axis=0) + penalty * (scale - 1), error.sum(axis=0)
        return value, np.concatenate([slopes[0], slopes[1] + penalty * shift])

    start = np.concatenate([np.ones(classes), np.zeros(classes)])
    found = optimize.minimize(
        value_and_slope, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000, "gtol": 1e-9}
    )
    scale, shift = found.x[:classes], found.x[classes:]
    shift = shift - shift.mean()
    return VectorFit(
        scale=scale,
        shift=shift,
        nll_before=negative_log_likelihood_from_logits(logits, labels),
        nll_after=negative_log_likelihood_from_logits(logits * scale + shift, labels),
    )


@dataclass(frozen=True)
class PlattFit:
    """Platt's sigmoid of each class against the rest.

    Attributes:
        slope: Float64 of shape `(classes,)`.
        intercept: Float64 of shape `(classes,)`.
    """

    slope: np.ndarray
    intercept: np.ndarray

    def __call__(self, probabilities) -> np.ndarray:
        """Return calibrated probabilities of the same shape, rows made to sum to 1."""
        odds = _log_odds(_check_rows(probabilities))
        return _normalized(special.expit(self.slope * odds + self.intercept))


def fit_platt(probabilities, labels):
    """Fit `sigmoid(a * log(p / (1 - p)) + b)` for each class against the rest.

    As Platt does, the targets are `(n+ + 1) / (n+ + 2)` and `1 / (n- + 2)` in place of 1 and 0.

    Args:
        probabilities: Of images not trained on, shape `(images, classes)`, rows sum to 1.
        labels: Their true classes, integers, shape `(images,)`.

    Returns:
        A `PlattFit`: call it on probabilities. It can change the predicted class.

    Raises:
        ValueError: If the arguments cannot be used, or a class has no image.

    Example:
        >>> calibrate = fit_platt([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.9, 0.1]], [0, 1, 1, 0])
        >>> round(float(calibrate([[0.9, 0.1]]).sum()), 6)
        1.0

    Source:
        Platt, "Probabilistic outputs for support vector machines", 1999; one class against the rest
        as in Zadrozny and Elkan, 2002.
    """
    probabilities, labels = _check_every_class(probabilities, labels)
    odds = _log_odds(probabilities)
    fits = [_sigmoid_fit(odds[:, place], labels == place) for place in range(odds.shape[1])]
    slopes, intercepts = zip(*fits, strict=True)
    return PlattFit(np.array(slopes), np.array(intercepts))


def _sigmoid_fit(scores, positive):
    count = positive.sum()
    targets = np.where(positive, (count + 1) / (count + 2), 1 / (len(positive) - count + 2))

    def value_and_slope(parameters):
        z = parameters[0] * scores + parameters[1]
        error = special.expit(z) - targets
        return np.sum(np.logaddexp(0, z) - targets * z), np.array([error @ scores, error.sum()])

    start = np.array([1.0, 0.0])
    options = {"maxiter": 1000, "gtol": 1e-10, "ftol": 1e-15}
    return optimize.minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options=options).x


class IsotonicFit:
    """A rising step function of each class's probability, rows made to sum to 1."""

    def __init__(self, regressions):
        self._regressions = regressions

    def __call__(self, probabilities) -> np.ndarray:
        """Return calibrated probabilities of the same shape."""
        columns = _check_rows(probabilities).T
        mended = [fit.predict(one) for fit, one in zip(self._regressions, columns, strict=True)]
        return _normalized(np.stack(mended, axis=1))


def fit_isotonic(probabilities, labels):
    """Fit a rising function of each class's probability, one class against the rest.

    Needs scikit-learn, and images by the hundred for each class: it can take any rising shape, the
    noise's too. It ties probabilities, so it can change the predicted class.

    Args:
        probabilities: Of images not trained on, shape `(images, classes)`, rows sum to 1.
        labels: Their true classes, integers, shape `(images,)`.

    Returns:
        An `IsotonicFit`: call it on probabilities. A row in which every class gets 0 becomes
        uniform.

    Raises:
        ValueError: If the arguments cannot be used, or a class has no image.
        ImportError: Without scikit-learn.

    Example:
        >>> calibrate = fit_isotonic([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6]], [0, 0, 1])
        >>> calibrate([[0.9, 0.1], [0.3, 0.7]]).tolist()
        [[1.0, 0.0], [0.0, 1.0]]

    Source:
        Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability
        estimates", 2002.
    """
    try:
        from sklearn.isotonic import IsotonicRegression
    except ImportError as error:
        raise ImportError("fit_isotonic needs scikit-learn: pip install scikit-learn") from error

    probabilities, labels = _check_every_class(probabilities, labels)
    return IsotonicFit(
        [
            IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(column, labels == place)
            for place, column in enumerate(probabilities.T)
        ]
    )


def _check_every_class(probabilities, labels):
    probabilities, labels = check_predictions(probabilities, labels)
    counts = np.bincount(labels, minlength=probabilities.shape[1])
    if not counts.all():
        raise ValueError(
            f"calibrating each class needs images of each, received none of class {counts.argmin()}"
        )
    return probabilities, labels


def _log_odds(probabilities):
    smallest = np.finfo(np.float64).eps
    return special.logit(np.clip(probabilities, smallest, 1 - smallest))


def _normalized(scores):
    """Make rows sum to 1; a row of zeros becomes uniform."""
    sums = scores.sum(axis=1, keepdims=True)
    uniform = np.full_like(scores, 1 / scores.shape[1])
    return np.divide(scores, sums, out=uniform, where=sums > 0)


def adjust_priors(probabilities, trained, new):
    """Return the probabilities that hold where classes are as frequent as `new` says.

    `p'(k | x) = p(k | x) * new_k / trained_k`, rows then made to sum to 1: right if images of one
    class look alike in both places and only the shares of the classes differ.

    Args:
        probabilities: Calibrated, shape `(images, classes)`, rows sum to 1.
        trained: Shares of the classes that the model was trained and calibrated on, positive,
            shape `(classes,)`; made to sum to 1.
        new: Shares where it is used, not negative, shape `(classes,)`; made to sum to 1.

    Returns:
        float64 of the same shape.

    Raises:
        ValueError: If an argument cannot be used, or `new` has no share for any class that an image
            can be of.

    Example:
        >>> adjust_priors([[0.5, 0.5]], [0.5, 0.5], [0.9, 0.1]).round(3).tolist()
        [[0.9, 0.1]]

    Source:
        Saerens et al., "Adjusting the outputs of a classifier to new a priori probabilities", 2002,
        equation 2.4.
    """
    probabilities = _check_rows(probabilities)
    classes = probabilities.shape[1]
    weights = _check_priors("new", new, classes) / _check_priors("trained", trained, classes, True)
    adjusted = probabilities * weights
    sums = adjusted.sum(axis=1, keepdims=True)
    if not sums.all():
        raise ValueError(
            "new must have a share for some class that each image can be of, received: "
            f"{np.asarray(new).tolist()!r}, which leaves none for image {sums.argmin()}"
        )
    return adjusted / sums


def estimate_priors(probabilities, trained, *, tolerance=1e-10, steps=10_000):
    """Estimate how frequent each class is among images without labels.

    Expectation maximisation: adjust the probabilities to the shares, take their means as the new
    shares, and so on until they stand still.

    Args:
        probabilities: Calibrated predictions of the images, shape `(images, classes)`.
        trained: Shares of the classes that the model was trained and calibrated on.
        tolerance: Largest change of a share at which it ends.
        steps: Most rounds.

    Returns:
        float64 shares of shape `(classes,)`, sum 1; `adjust_priors` takes them as `new`.

    Raises:
        ValueError: If an argument cannot be used.

    Example:
        >>> estimate_priors([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1]], [0.5, 0.5]).round(2).tolist()
        [1.0, 0.0]

    Source:
        Saerens et al., 2002, equations 2.9.
    """
    probabilities = _check_rows(probabilities)
    trained = _check_priors("trained", trained, probabilities.shape[1], True)
    shares = trained
    for _ in range(steps):
        newer = adjust_priors(probabilities, trained, shares).mean(axis=0)
        if np.abs(newer - shares).max() <= tolerance:
            return newer
        shares = newer
    return shares


def _check_rows(probabilities):
    probabilities = np.asarray(probabilities, np.float64)
    return check_predictions(probabilities, np.zeros(len(probabilities), np.int64))[0]


def _check_priors(name, shares, classes, positive=False):
    shares = np.asarray(shares, np.float64)
    low = shares <= 0 if positive else shares < 0
    if shares.shape != (classes,) or not shares.sum() > 0 or low.any():
        kind = "positive" if positive else "non-negative"
        raise ValueError(f"{name} must be {classes} {kind} shares, received: {shares.tolist()!r}")
    return shares / shares.sum()
