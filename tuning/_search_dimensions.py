"""The values of one field in a search space: a few choices or a range, and how they are written."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from recipes.errors import ConfigError

_FORMS = "log 1e-4..1e-1, 0..0.5 step 0.1, int 32..256 step 32, bool, or values with commas"


@dataclasses.dataclass(frozen=True)
class Choices:
    """Some values of a field, in the order given.

    Attributes:
        values: Of JSON types, all different; at least one.
    """

    values: tuple

    def __post_init__(self):
        """Check that there are values, and no two alike."""
        object.__setattr__(self, "values", tuple(self.values))
        if not self.values:
            raise ConfigError("choices must have at least one value, received none")
        for value in self.values:
            if value is not None and not isinstance(value, (str, bool, int, float)):
                raise ConfigError(f"choices must be of plain types, received: {value!r}")
        if len(set(map(_key, self.values))) < len(self.values):
            raise ConfigError(f"choices must differ, received: {_joined(self.values)}")

    @property
    def is_boolean(self) -> bool:
        """Whether the values are false and true, and not the numbers 0 and 1."""
        return list(map(_key, self.values)) == [_key(False), _key(True)]

    def __str__(self):
        return "bool" if self.is_boolean else _joined(self.values)

    def __contains__(self, value):
        return _key(value) in map(_key, self.values)


@dataclasses.dataclass(frozen=True)
class Range:
    """The numbers from one to another, both included.

    Attributes:
        low: Lowest value.
        high: Highest value, above `low`.
        log: Whether to draw evenly on a logarithmic scale; `low` is then positive.
        integer: Whether to draw whole numbers.
        step: Distance between values, or `None`; not with `log`.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False
    step: float | None = None

    def __post_init__(self):
        """Check the bounds."""
        numbers = [self.low, self.high] + ([] if self.step is None else [self.step])
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise ConfigError(f"a range is made of numbers, received: {number!r}")
            if not math.isfinite(number):
                raise ConfigError(f"a range must be finite, received: {self}")
            if self.integer and number != int(number):
                raise ConfigError(f"an int range is made of whole numbers, received: {self}")
        if not self.low < self.high:
            raise ConfigError(f"a range must rise: low..high with low below high, received: {self}")
        if self.log and self.low <= 0:
            raise ConfigError(f"a log range must begin above 0, received: {self}")
        if self.step is not None and self.log:
            raise ConfigError(f"a log range takes no step, received: {self}")
        # 0.3 - 0.2 is a little less than 0.1.
        if self.step is not None and not 0 < self.step * (1 - 1e-9) <= self.high - self.low:
            raise ConfigError(
                f"step must be above 0 and at most {self.high - self.low:g}, received: {self}"
            )
        kind = int if self.integer else float
        for name in ("low", "high", "step"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else kind(value))

    def __str__(self):
        words = [*(["int"] if self.integer else []), *(["log"] if self.log else [])]
        words.append(f"{_short(self.low)}..{_short(self.high)}")
        return " ".join(words + ([] if self.step is None else ["step", _short(self.step)]))

    def __contains__(self, value):
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and self.low <= value <= self.high


Dimension = Choices | Range


def read_dimension(value: Any, kinds: set) -> Dimension:
    """Return a dimension as it was given: itself, a list of choices, or a text.

    Args:
        value: What was given.
        kinds: Types that the field takes.
    """
    if isinstance(value, (Choices, Range)):
        return value
    if isinstance(value, (list, tuple)):
        return Choices(value)
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"expected {_FORMS}, received: {value!r}")
    if value.strip() in ("bool", "boolean"):
        if bool not in kinds:
            raise ConfigError("is not true or false, so it takes no bool")
        return Choices((False, True))
    if ".." in value:
        return _read_range(value)
    return Choices(text.strip() for text in _split(value))


def _read_range(text: str) -> Range:
    """Read `[int] [log] LOW..HIGH [step STEP]`."""
    words = text.split()
    flags = {"int": False, "log": False}
    while words and words[0] in flags:
        flags[words.pop(0)] = True
    bounds, *rest = words or [""]
    low, _, high = bounds.partition("..")
    if rest and (rest[0] != "step" or len(rest) != 2):
        raise ConfigError(f"expected {_FORMS}, received: {text!r}")
    try:
        low, high, *step = map(_number, (low, high, *rest[1:]))
    except ValueError:
        raise ConfigError(f"expected {_FORMS}, received: {text!r}") from None
    return Range(low, high, flags["log"], flags["int"], step[0] if step else None)


def _number(text: str) -> float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _split(text: str) -> list[str]:
    """Split at commas, but not inside the brackets of a policy: `randaugment(n=2, m=9), none`."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def middle(values: Dimension) -> Any:
    """Return the first choice, or the middle of a range on its scale."""
    if isinstance(values, Choices):
        return values.values[0]
    between = math.sqrt(values.low * values.high) if values.log else (values.low + values.high) / 2
    return without_noise(values, on_grid(values, between))


def on_grid(values: Range, value: float) -> float:
    """Return the value of a range that is nearest, as KerasTuner adds up its steps."""
    if values.step is not None:
        steps = round((value - values.low) / values.step)
        steps = min(steps, math.floor((values.high - values.low) / values.step + 1e-9))
        value = values.low + steps * values.step
    return round(value) if values.integer else float(value)


def without_noise(values: Range, value: float) -> float:
    """Return a value of a range as it is meant: 0.3 where three steps make 0.30000000000000004."""
    if values.step is None or values.integer:
        return value
    return min(float(f"{value:.12g}"), values.high)


def narrowed(values: Dimension, found: list) -> Dimension:
    """Return the part of a dimension around some of its values; see `Space.narrow`."""
    if isinstance(values, Choices):
        kept = {_key(value) for value in found}
        return Choices(value for value in values.values if _key(value) in kept)
    scale, back = (math.log, math.exp) if values.log else (float, float)
    low, high, first, last = map(scale, (values.low, values.high, min(found), max(found)))
    centre, half = (first + last) / 2, max((last - first) * 0.75, (high - low) / 20)
    # The ends themselves, where it reaches them: a logarithm and back moves the last digit.
    bounds = [
        values.low if centre - half <= low else rounded(back(centre - half)),
        values.high if centre + half >= high else rounded(back(centre + half)),
    ]
    if values.step is not None or values.integer:
        bounds = [without_noise(values, on_grid(values, bound)) for bound in bounds]
        if bounds[0] == bounds[1]:
            return Choices((bounds[0],))
    return dataclasses.replace(values, low=bounds[0], high=bounds[1])


def is_numeric(values: Choices) -> bool:
    """Whether KerasTuner can take the values as they are, and so knows their order."""
    return {type(value) for value in values.values} in ({int}, {float})


def encoded(values: Choices, value: Any) -> Any:
    """Return a choice as KerasTuner takes it: numbers as they are, others as text."""
    return value if is_numeric(values) else _text(value)


def _key(value: Any) -> tuple:
    """Return what tells values apart: 1, 1.0 and True are not the same."""
    return type(value).__name__, value


def _joined(values: Sequence) -> str:
    return ", ".join(map(_text, values))


def _text(value: Any) -> str:
    """Return a value as it is written in a text, and so read again as the same."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, float) else str(value)


def _short(value: float) -> str:
    """Return a number as text: 1.0 as 1, since a range knows what it holds."""
    is_whole = math.isfinite(value) and value == int(value) and abs(value) < 1e15
    return str(int(value)) if is_whole else repr(value)


def rounded(value: float) -> float:
    """Return a bound with six digits; nobody wants to read more."""
    return float(f"{value:.6g}")
