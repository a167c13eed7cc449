"""When to stop, as arithmetic on the losses so far: Prechelt's criteria, bounds, standard errors.

Losses are lists with one value an epoch, the newest last.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def generalization_loss(validation: Sequence[float]) -> float:
    """Return by how many per cent the newest validation loss lies above the lowest so far.

    `GL(t) = 100 * (E_va(t) / E_opt(t) - 1)`; 0 at a new lowest, infinite above one of 0.

    Args:
        validation: Losses of 0 or more.

    Example:
        >>> round(generalization_loss([1.0, 0.5, 0.6]), 6)
        20.0

    Source:
        Prechelt, "Early Stopping - But When?", 1998, section 2.2.
    """
    lowest = min(validation)
    if not lowest:
        return math.inf if validation[-1] else 0.0
    return 100.0 * (validation[-1] / lowest - 1.0)


def training_progress(training: Sequence[float], strip: int = 5) -> float:
    """Return how much training still moves: the strip's mean loss against its lowest, per mille.

    `P_k(t) = 1000 * (sum over the last k epochs of E_tr / (k * min over them of E_tr) - 1)`;
    infinite if the lowest is 0 and another is not.

    Args:
        training: Losses of 0 or more.
        strip: Number `k` of newest epochs looked at.

    Example:
        >>> round(training_progress([9.0, 3.0, 2.0, 1.0], strip=3), 6)
        1000.0

    Source:
        Prechelt, 1998, section 2.2.
    """
    newest = training[-strip:]
    if not min(newest):
        return math.inf if any(newest) else 0.0
    return 1000.0 * (sum(newest) / (len(newest) * min(newest)) - 1.0)


def rising_strips(validation: Sequence[float], strip: int = 5) -> int:
    """Return for how many strips in a row the validation loss at the strip's end has risen.

    Counts back from the newest epoch in steps of `strip`.

    Args:
        validation: Losses.
        strip: Epochs a strip.

    Example:
        >>> rising_strips([5, 3, 4, 4, 5, 6], strip=2)
        2

    Source:
        Prechelt, 1998, section 2.2, criterion UP_s.
    """
    ends = list(validation)[::-1][::strip]
    rises = 0
    for later, earlier in itertools.pairwise(ends):
        if not later > earlier:
            break
        rises += 1
    return rises


@dataclass(frozen=True)
class GeneralizationLoss:
    """Stop once the validation loss lies more than `alpha` per cent above its lowest (GL).

    Attributes:
        alpha: Per cent, positive. Prechelt tried 1 to 5.
    """

    alpha: float = 5.0

    def __post_init__(self):
        _check_positive("alpha", self.alpha)

    def verdict(self, training: Sequence[float], validation: Sequence[float]) -> str | None:
        """Return why to stop now, or `None`."""
        loss = generalization_loss(validation)
        if not loss > self.alpha:
            return None
        return f"validation loss {loss:.3g} % above its lowest, more than {self.alpha:g} %"


@dataclass(frozen=True)
class ProgressQuotient:
    """Stop once the generalization loss outweighs the progress of training (PQ).

    Looked at once a strip: `GL(t) / P_k(t) > alpha`.

    Attributes:
        alpha: Positive; Prechelt tried 0.5 to 3.
        strip: Epochs a strip, at least 1.
    """

    alpha: float = 1.0
    strip: int = 5

    def __post_init__(self):
        _check_positive("alpha", self.alpha)
        _check_strip(self.strip)

    def verdict(self, training: Sequence[float], validation: Sequence[float]) -> str | None:
        """Return why to stop now, or `None`."""
        if len(validation) % self.strip:
            return None
        loss = generalization_loss(validation)
        progress = training_progress(training, self.strip)
        if not loss > self.alpha * progress:
            return None
        return (
            f"generalization loss {loss:.3g} against a training progress of {progress:.3g}, "
            f"a quotient above {self.alpha:g}"
        )


@dataclass(frozen=True)
class RisingStrips:
    """Stop once the validation loss has risen over `strips` strips in a row (UP).

    Attributes:
        strips: At least 1.
        strip: Epochs a strip, at least 1.
    """

    strips: int = 3
    strip: int = 5

    def __post_init__(self):
        if self.strips < 1:
            raise ValueError(f"strips must be 1 or more, received: {self.strips!r}")
        _check_strip(self.strip)

    def verdict(self, training: Sequence[float], validation: Sequence[float]) -> str | None:
        """Return why to stop now, or `None`."""
        if len(validation) % self.strip or rising_strips(validation, self.strip) < self.strips:
            return None
        return f"validation loss rose over {self.strips} strips of {self.strip} epochs"


@dataclass(frozen=True)
class Bound:
    """A measure that an epoch must keep to be worth restoring.

    Attributes:
        monitor: Name in the epoch's logs, such as `"val_ece"`.
        at_most: Highest value allowed, or `None`.
        at_least: Lowest value allowed, or `None`.

    Example:
        >>> Bound("val_ece", at_most=0.05).holds(0.04)
        True
    """

    monitor: str
    at_most: float | None = None
    at_least: float | None = None

    def __post_init__(self):
        if self.at_most is None and self.at_least is None:
            raise ValueError(f"Bound({self.monitor!r}) needs at_most or at_least")

    def holds(self, value: float) -> bool:
        """Whether `value` keeps the bound; a value that is not finite does not."""
        return (
            math.isfinite(value)
            and (self.at_most is None or value <= self.at_most)
            and (self.at_least is None or value >= self.at_least)
        )

    def __str__(self):
        low = "" if self.at_least is None else f"{self.at_least:g} <= "
        high = "" if self.at_most is None else f" <= {self.at_most:g}"
        return f"{low}{self.monitor}{high}"


def standard_error(share: float, images: int) -> float:
    """Return the standard error of a share, `sqrt(p * (1 - p) / n)`.

    Args:
        share: Such as an accuracy, in [0, 1].
        images: Number of images it was measured on.

    Raises:
        ValueError: If `share` is no share.

    Example:
        >>> round(standard_error(0.9, 1000), 5)
        0.00949
    """
    if not 0 <= share <= 1:
        raise ValueError(
            "min_delta='standard_error' is for shares in [0, 1] such as an accuracy, "
            f"received a value of {share:g}"
        )
    return math.sqrt(share * (1.0 - share) / images)


def check_class_counts(labels: np.ndarray, least: int) -> None:
    """Refuse validation labels with a class of fewer than `least` images.

    Args:
        labels: True classes, integers of shape `(images,)`; the classes are 0 up to the largest.
        least: Smallest number of images a class.

    Raises:
        ValueError: If there are no labels, or a class has too few.

    Example:
        >>> check_class_counts(np.array([0, 1, 1]), least=2)
        Traceback (most recent call last):
        ...
        ValueError: validation needs at least 2 images of each class, class 0 has 1
    """
    labels = np.asarray(labels)
    if not len(labels):
        raise ValueError("validation needs images, received none")
    counts = np.bincount(labels)
    smallest = int(counts.argmin())
    if counts[smallest] < least:
        raise ValueError(
            f"validation needs at least {least} images of each class, class {smallest} has "
            f"{counts[smallest]}"
        )


def _check_positive(name, value):
    if not value > 0:
        raise ValueError(f"{name} must be positive, received: {value!r}")


def _check_strip(strip):
    if strip < 1:
        raise ValueError(f"strip must be 1 or more, received: {strip!r}")
