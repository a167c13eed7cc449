"""A measured number with its confidence interval, and which interval each measure gets."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from recipes.evaluation.bootstrap import inversion_interval, percentile_interval
from recipes.evaluation.metrics import CONFIDENCE_LEVEL, wilson_interval
from recipes.evaluation.resampling import Resampled, debiased_square

# The gaps in `Resampled` that each calibration error is made of.
_GAPS = {
    "ece": "gap",
    "mce": "gap",
    "adaptive_ece": "adaptive_gap",
    "classwise_ece": "classwise_gap",
    "debiased_ece": "mass_gap",
}
CALIBRATION_ERRORS = tuple(_GAPS)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number measured on images, and what it may be on all images of the kind.

    Attributes:
        value: The number as measured, or `None` where it is undefined.
        low, high: 95 % confidence interval, or `None` where none could be made.
        n: Images that it was measured on.
        method: `"wilson"` (proportions, and F1 through the proportion it is a function of),
            `"percentile"` or `"inversion"` (bootstrap; see `recipes.evaluation.bootstrap`),
            `"recovery"` (a difference, from the intervals of two), `"bonett-price"` (a difference
            of accuracies on the same images), or `None` without an interval.
        corrected: Of calibration errors alone: the value with the upward bias of noise taken out.

    Example:
        >>> estimate = Estimate(0.9, 0.8256, 0.9448, 100, "wilson")
        >>> float(estimate), str(estimate)
        (0.9, '0.9000 (0.8256 to 0.9448, n = 100)')
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    method: str | None = None
    corrected: float | None = None

    def __float__(self):
        return float("nan") if self.value is None else self.value

    def __str__(self):
        value = "undefined" if self.value is None else f"{self.value:.4f}"
        span = "" if self.low is None else f"{self.low:.4f} to {self.high:.4f}, "
        return f"{value} ({span}n = {self.n:,})"

    @property
    def interval(self) -> tuple[float, float] | None:
        """The two bounds, or `None`."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def interval_dict(self) -> dict[str, Any]:
        """Return all but the value, ready for JSON."""
        plain = dataclasses.asdict(self)
        del plain["value"]
        if self.corrected is None:
            del plain["corrected"]
        return plain


def proportion(successes: int, trials: int) -> Estimate:
    """Return a share of images with Wilson's interval.

    Example:
        >>> print(proportion(90, 100))
        0.9000 (0.8256 to 0.9448, n = 100)
    """
    if not trials:
        return Estimate(None)
    low, high = wilson_interval(int(successes), int(trials))
    return Estimate(float(successes / trials), low, high, int(trials), "wilson")


def f1_estimate(right: int, predicted: int, support: int) -> Estimate:
    """Return the F1 of a class with an interval that keeps a width at 0 and at 1.

    F1 is `2 J / (1 + J)`, where J is the share of the images that are truly of the class among
    those that are of it or predicted to be: a proportion, so Wilson's interval of J gives that
    of F1.

    Example:
        >>> print(f1_estimate(right=8, predicted=10, support=10))
        0.8000 (0.5618 to 0.9258, n = 12)

    Source:
        Takahashi et al., "Confidence interval for micro-averaged F1 and macro-averaged F1 scores",
        2022, discuss intervals of F1; the map to Wilson's is elementary.
    """
    union = int(predicted + support - right)
    if not union:
        return Estimate(None)
    share = proportion(right, union)
    value, low, high = (2 * j / (1 + j) for j in (share.value, *share.interval))
    return Estimate(value, low, high, union, "wilson")


def percentile_estimate(
    value: float | None, resampled: np.ndarray | None, n: int, extreme: int | None = None
) -> Estimate:
    """Return a number with the percentile interval of its resampled values.

    Args:
        value: As measured; `None`: undefined.
        resampled: Shape `(resamples,)`, or `None` or empty for no interval.
        n: Images measured on.
        extreme: Images that decide a measure in [0, 1]: of a perfect 0 or 1 all resamples are
            perfect too, and Wilson's interval of so many images takes the place of one without a
            width.

    Example:
        >>> print(percentile_estimate(1.0, np.ones(100), n=50, extreme=5))
        1.0000 (0.5655 to 1.0000, n = 50)
    """
    if value is None or resampled is None or not len(resampled) or n < 2:
        return Estimate(value, n=n)
    bounds = percentile_interval(resampled, CONFIDENCE_LEVEL)
    if bounds is None:
        return Estimate(value, n=n)
    if bounds[0] == bounds[1] == value and value in (0.0, 1.0) and extreme:
        return dataclasses.replace(proportion(extreme if value else 0, extreme), n=n)
    return Estimate(value, *bounds, n, "percentile")


def calibration_estimate(
    name: str,
    value: float,
    once: Resampled,
    expected: dict[str, np.ndarray],
    resampled: Resampled | None,
) -> Estimate:
    """Return a calibration error with its inversion interval.

    Args:
        name: One of `CALIBRATION_ERRORS`.
        value: The error as measured.
        once, expected: What `resampling.observed` gives for the images themselves.
        resampled: The resamples, or `None` for no interval.
    """
    images = int(once.count.sum())
    if resampled is None or images < 2:
        return Estimate(value, n=images)
    kind = _GAPS[name]
    return _inverted(
        value,
        _parts(name, value, once, resampled, _smoothed(resampled, kind, expected[kind])),
        images,
    )


class _Parts(NamedTuple):
    """What `inversion_interval` takes."""

    observed: float
    gaps: np.ndarray
    resampled: np.ndarray
    measure: Callable[[np.ndarray], np.ndarray]
    magnitude: float


def _smoothed(resampled, name, expected):
    """Return the gaps of the resamples with the noise of one more image in each bin.

    That image is correct with a chance equal to the mean probability in the bin. A resample of a
    bin of one image, or of images that are all correct, shows no noise, though it has some: with n
    images, resampling gives (n - 1) / n of the variance, and this image about the rest.
    """
    gaps = getattr(resampled, name)
    chance = expected[:, np.newaxis]
    generator = np.random.default_rng(len(expected))
    return gaps + (generator.random(gaps.shape) < chance) - chance


def _parts(name, value, once, resampled, smooth):
    if name == "mce":
        held = once.count[:, 0] > 0
        gaps = once.gap[held, 0] / once.count[held, 0]
        count = resampled.count[held]
        noisy = np.where(count > 0, smooth[held] / np.maximum(count, 1), np.nan)
        return _Parts(value, gaps, noisy, _largest, np.abs(gaps).max())
    if name == "debiased_ece":
        return _debiased_parts(once, resampled, smooth)
    # The class-wise error is the mean over classes of sums over bins.
    classes = len(once.auroc) if name == "classwise_ece" else 1
    divisor = once.count.sum() * classes
    gaps = getattr(once, _GAPS[name])[:, 0] / divisor
    return _Parts(value, gaps, smooth / divisor, _sum, np.abs(gaps).sum())


def _debiased_parts(once, resampled, smooth):
    """Return the parts of the squared error, which may be negative, so that it is not clipped."""
    held = once.mass_count[:, 0] > 0
    gap, count, right = (
        part[held, 0] for part in (once.mass_gap, once.mass_count, once.mass_correct)
    )
    counts, rights = resampled.mass_count[held], resampled.mass_correct[held]
    return _Parts(
        float(debiased_square(gap, count, right)),
        gap / count,
        smooth[held] / np.maximum(counts, 1),
        lambda gaps: debiased_square(gaps * counts, counts, rights),
        float(np.sqrt(np.average((gap / count) ** 2, weights=count))),
    )


def _sum(gaps):
    return np.abs(gaps).sum(axis=0)


def _largest(gaps):
    return np.nanmax(np.abs(gaps), axis=0)


def _inverted(value, parts, images):
    if not parts.gaps.any() and not np.nan_to_num(parts.resampled).any():
        # Sure of every image and always right: all that is known is that errors are rare.
        bound = 1 - wilson_interval(images, images)[0]
        return Estimate(value, 0.0, bound, images, "wilson", corrected=value)
    low, high, corrected = inversion_interval(*parts, CONFIDENCE_LEVEL)
    return Estimate(value, low, high, images, "inversion", corrected)
