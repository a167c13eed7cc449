"""How a classifier does on parts of the images: by class, by size, by any column."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from callbacks import calibration
from recipes.errors import DataError, nearest
from recipes.evaluation.estimates import Estimate, proportion
from recipes.evaluation.intervals import holm

# Ten images a bin on average; on fewer the error says more of noise than of the model.
FEWEST_ECE_IMAGES = 150
NAMED = ("class", "size")
_QUANTILES = 4
# A column of numbers with more distinct values than this is cut at its quartiles.
_DISTINCT_NUMBERS = 10
_MOST_VALUES = 200


@dataclasses.dataclass(frozen=True)
class Slice:
    """A part of the images.

    Attributes:
        column: What it was cut by: `"class"`, `"size"` or the name of a column.
        value: Which images these are, such as `"Shirt"` or `"32 to 48"`.
        accuracy: With Wilson's interval; `n` is the number of images.
        rest: Accuracy on all other images, `None` if there are none.
        p_value: Fisher's exact test that the slice is as accurate as the rest; `None` without one.
        p_adjusted: The same by Holm's method: reject where it is below 0.05, and the chance of one
            or more wrong rejections among all slices is below 0.05.
        ece: Expected calibration error, or `None` on fewer than 150 images.
        ece_noise_floor: Its 95 % quantile for a perfectly calibrated model, or `None` likewise.
    """

    column: str
    value: str
    accuracy: Estimate
    rest: float | None
    p_value: float | None
    p_adjusted: float | None
    ece: float | None
    ece_noise_floor: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        accuracy = self.accuracy
        interval = [accuracy.low, accuracy.high]
        return {**plain, "accuracy": accuracy.value, "interval": interval, "images": accuracy.n}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Slice":
        """Return what `to_dict` was called on."""
        low, high = plain["interval"]
        accuracy = Estimate(plain["accuracy"], low, high, plain["images"], "wilson")
        names = (field.name for field in dataclasses.fields(cls))
        return cls(**{**{name: plain[name] for name in names}, "accuracy": accuracy})


def slice_predictions(
    probabilities: np.ndarray, labels: np.ndarray, columns: Mapping[str, Any]
) -> tuple[Slice, ...]:
    """Judge each part of the images, the surely worst first.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        columns: Name to one value an image. Numbers with more than 10 distinct values are cut at
            their quartiles, NaN apart; of anything else each value is a slice.

    Returns:
        All slices of all columns, by the upper end of the interval of accuracy: a few images that
        happen to be wrong do not come first.

    Raises:
        ValueError: If the probabilities or labels cannot be used.
        DataError: If a column has another length, is not one value an image, or has more than 200
            values that are no numbers and is not `"class"`.

    Example:
        >>> probabilities = np.repeat([[0.9, 0.1]], 40, axis=0)
        >>> labels = np.array([0] * 30 + [1] * 10)
        >>> light = ["day"] * 25 + ["night"] * 15
        >>> slices = slice_predictions(probabilities, labels, {"light": light})
        >>> [(part.value, round(part.accuracy.value, 2), part.p_adjusted < 0.05) for part in slices]
        [('night', 0.33, True), ('day', 1.0, True)]

    Source:
        Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    probabilities, labels = calibration.check_predictions(probabilities, labels)
    correct = probabilities.argmax(axis=1) == labels
    parts = [
        (column, value, chosen)
        for column, values in columns.items()
        for value, chosen in cut(column, values, len(labels))
    ]
    p_values = [_p_value(correct, chosen) for _, _, chosen in parts]
    rows = [
        _slice(column, value, chosen, correct, probabilities, labels, pair)
        for (column, value, chosen), pair in zip(
            parts, zip(p_values, holm(p_values), strict=True), strict=True
        )
    ]
    return tuple(sorted(rows, key=lambda row: (row.accuracy.high, row.accuracy.value)))


def cut(column: str, values: Any, images: int) -> list[tuple[str, np.ndarray]]:
    """Return the parts of a column: what to call each, and its images as Booleans.

    Example:
        >>> [name for name, chosen in cut("width", np.arange(100.0), 100)]
        ['0 to 24', '25 to 49', '50 to 74', '75 to 99']
    """
    array = np.asarray(values)
    if array.ndim != 1 or len(array) != images:
        raise DataError(
            f"the slice column {column!r} must hold one value an image, {images} in all, received "
            f"shape {array.shape}"
        )
    if array.dtype.kind in "iuf" and len(np.unique(array[~np.isnan(array)])) > _DISTINCT_NUMBERS:
        return _quartiles(array)
    if array.dtype.kind == "f":
        missing = np.isnan(array)
        parts = [(f"{value:g}", array == value) for value in np.unique(array[~missing])]
        return parts + ([("missing", missing)] if missing.any() else [])
    names = np.array([str(value) for value in array])
    distinct = np.unique(names)
    if len(distinct) > _MOST_VALUES and column != "class":
        raise DataError(
            f"the slice column {column!r} has {len(distinct)} different values; expected at most "
            f"{_MOST_VALUES}, or numbers"
        )
    return [(str(name), names == name) for name in distinct]


def _quartiles(array):
    missing = np.isnan(array)
    edges = np.unique(np.quantile(array[~missing], np.arange(1, _QUANTILES) / _QUANTILES))
    place = np.searchsorted(edges, array, side="left")
    parts = []
    for index in range(len(edges) + 1):
        chosen = (place == index) & ~missing
        if chosen.any():
            inside = array[chosen]
            parts.append((f"{inside.min():.6g} to {inside.max():.6g}", chosen))
    return parts + ([("missing", missing)] if missing.any() else [])


def _p_value(correct, chosen):
    inside, outside = correct[chosen], correct[~chosen]
    if not len(inside) or not len(outside):
        return None
    table = [[int(part.sum()), int((~part).sum())] for part in (inside, outside)]
    return float(stats.fisher_exact(table).pvalue)


def _slice(column, value, chosen, correct, probabilities, labels, p_values):
    inside, outside = correct[chosen], correct[~chosen]
    error = floor = None
    if len(inside) >= FEWEST_ECE_IMAGES:
        error = calibration.expected_calibration_error(probabilities[chosen], labels[chosen])
        floor = calibration.ece_noise_floor(probabilities[chosen]).upper
    return Slice(
        column,
        value,
        proportion(inside.sum(), len(inside)),
        float(outside.mean()) if len(outside) else None,
        *p_values,
        error,
        floor,
    )


def slice_columns(slices: Any, labels: np.ndarray, class_names: Sequence[str], sizes) -> dict:
    """Return the columns that `evaluate(slices=...)` names.

    Args:
        slices: `"class"`, `"size"`, a mapping of names to columns, one column, or a list of these.
        labels: True classes, integers, shape `(images,)`.
        class_names: One name a class.
        sizes: Function without arguments that returns the size of each image in pixels.

    Raises:
        DataError: If a name is unknown.
    """
    columns: dict[str, Any] = {}
    for item in slices if _is_list_of_columns(slices, len(labels)) else [slices]:
        if isinstance(item, str):
            if item not in NAMED:
                raise DataError(
                    f"unknown slice {item!r}; expected {' or '.join(NAMED)}, or a column of values"
                    + nearest(item, NAMED)
                )
            known = item == "class"
            columns[item] = np.array(class_names, str)[labels] if known else sizes()
        elif isinstance(item, Mapping):
            columns.update(item)
        else:
            columns["column" if "column" not in columns else f"column {len(columns) + 1}"] = item
    return columns


def _is_list_of_columns(slices, images):
    """Tell a list of names and columns from one column, which holds a value an image."""
    if not isinstance(slices, (list, tuple)):
        return False
    if all(isinstance(item, str) for item in slices) and len(slices) != images:
        return True
    return all(
        (isinstance(item, str) and item in NAMED)
        or isinstance(item, (Mapping, list, tuple, np.ndarray))
        for item in slices
    )
