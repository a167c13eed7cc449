"""The hyperparameters of a search as axes: where a value lies, and where there are marks."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from recipes.evaluation.plots import nice_ticks
from tuning._search_dimensions import Choices, Range
from tuning._search_trials import Trial
from tuning.search_wording import text_of
from tuning.spaces import Space


@dataclasses.dataclass(frozen=True)
class Axis:
    """One hyperparameter as an axis from 0 to 1.

    Attributes:
        name: Of the hyperparameter.
        low: Value at 0, where there are numbers.
        high: Value at 1.
        log: Whether the scale is logarithmic.
        choices: Values of an axis of places, else empty.
    """

    name: str
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    choices: tuple = ()

    @classmethod
    def of_range(cls, name: str, values: Range) -> "Axis":
        """Return the axis of a range."""
        return cls(name, values.low, values.high, values.log)

    def place(self, value: Any) -> float | None:
        """Return where a value lies, or `None` if it has no place."""
        if self.choices:
            texts = list(map(text_of, self.choices))
            if text_of(value) not in texts:
                return None
            return texts.index(text_of(value)) / (len(texts) - 1) if len(texts) > 1 else 0.5
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        low, high, value = (
            map(math.log, (self.low, self.high, max(value, 1e-300)))
            if self.log
            else (self.low, self.high, value)
        )
        return min(max((value - low) / (high - low), 0.0), 1.0) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Return the places and texts of marks."""
        if self.choices:
            return [(self.place(value), text_of(value)) for value in self.choices]
        if self.log:
            return [
                (self.place(value), text_of(value)) for value in _log_ticks(self.low, self.high)
            ]
        ticks = [tick for tick in nice_ticks(self.low, self.high) if self.low <= tick <= self.high]
        if len(ticks) < 2:
            ticks = [self.low, self.high]
        return [(self.place(tick), text_of(tick)) for tick in ticks]


def _log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten inside a range, or 1, 2 and 5 times these where they are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        ticks = [
            factor * 10.0**power
            for power in powers
            for factor in factors
            if low * 0.999 <= factor * 10.0**power <= high * 1.001
        ]
        if len(ticks) >= 3:
            return ticks
    return ticks if len(ticks) >= 2 else [low, high]


def axes(trials: Sequence[Trial], space: Space | None) -> list[Axis]:
    """Return an axis for each hyperparameter of some trials.

    Args:
        trials: Of one stage.
        space: Which says the scale; without it numbers over a factor of 50 are taken for
            logarithmic.
    """
    found = []
    for name in dict.fromkeys(name for trial in trials for name in trial.values):
        declared = space.dimensions.get(name) if space else None
        if isinstance(declared, Range):
            found.append(Axis.of_range(name, declared))
            continue
        values = [trial.values[name] for trial in trials if name in trial.values]
        if isinstance(declared, Choices):
            values = list(declared.values)
        found.append(_axis_of_values(name, values, bool(declared)))
    return found


def _axis_of_values(name, values, declared):
    different = list(dict.fromkeys(values))
    numbers = all(
        isinstance(value, (int, float)) and not isinstance(value, bool) for value in different
    )
    if numbers:
        different.sort()
    if declared or not numbers or len(different) <= 6:
        return Axis(name, choices=tuple(different))
    low, high = different[0], different[-1]
    return Axis(name, low, high, log=low > 0 and high / low > 50)
