"""Arrays that a user hands over: looked at closely, because nothing about them is certain."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from recipes.data.decoding import over_white
from recipes.errors import DataError, NamesError


def check_images(images: Any, where: str, largest: float | None = None) -> np.ndarray:
    """Return images as uint8 `(n, height, width, 1 or 3)`.

    Args:
        images: `(n, height, width)` or `(n, height, width, channels)` with 1, 2 (grey and alpha),
            3 or 4 (RGB and alpha) channels; alpha is laid over white. Whole numbers or floats in
            [0, 255]; floats are rounded.
        where: Name for messages, such as `"train"`.
        largest: Greatest value of the whole set, if these images are only some of it.

    Raises:
        DataError: For any other shape, type or range. Floats whose maximum is at most 1 are
            refused: they are almost surely in [0, 1], and that is not ours to guess.
    """
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise DataError(
            f"the {where} images differ in size; put them in one array, or in files"
        ) from error
    if array.dtype == object:
        raise DataError(f"the {where} images are Python objects; expected one array of numbers")
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.shape[-1] not in (1, 2, 3, 4) or 0 in array.shape[1:]:
        raise DataError(
            f"the {where} images have shape {np.shape(images)}; expected (n, height, width) or "
            "(n, height, width, channels) with 1 to 4 channels"
        )
    array = _to_bytes(array, where, largest)
    return over_white(array) if array.shape[-1] in (2, 4) else array


def _to_bytes(array: np.ndarray, where: str, largest: float | None) -> np.ndarray:
    if array.dtype == np.uint8 or not array.size:
        return array.astype(np.uint8, copy=False)
    if array.dtype == bool:
        raise DataError(f"the {where} images are Boolean; multiply them by 255 (uint8)")
    floating = np.issubdtype(array.dtype, np.floating)
    if not floating and not np.issubdtype(array.dtype, np.integer):
        raise DataError(f"the {where} images have type {array.dtype}; expected numbers")
    low, high = array.min(), array.max()
    if floating and not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(f"the {where} images hold values that are not finite (NaN or infinity)")
    if low < 0 or high > 255:
        raise DataError(
            f"the {where} images have values from {low:g} to {high:g}; expected 0 to 255"
            + ("" if floating or high > 65535 or low < 0 else " (divide 16-bit values by 257)")
        )
    if floating and (high if largest is None else largest) <= 1:
        raise DataError(
            f"the {where} images have values from {low:g} to {high:g}; expected 0 to 255, "
            "so multiply them by 255"
        )
    return (np.rint(array) if floating else array).astype(np.uint8)


def check_labels(
    labels: dict[str, Any], names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Turn the labels of all splits into indices into one list of class names.

    Args:
        labels: Split to labels: whole numbers `(n,)` or `(n, 1)`, strings, or one-hot rows
            `(n, classes)`; the same kind in each split.
        names: Class names in the order of the labels; None: sorted strings, or `"0"`, `"1"`, ...

    Returns:
        Split to int64 `(n,)`, and the class names.

    Raises:
        DataError: If the labels are of no such kind, are negative, or have no name.
    """
    plain = {split: _plain_labels(value, split) for split, value in labels.items()}
    kinds = {value.dtype.kind for value in plain.values() if len(value)}
    if len(kinds) > 1:
        raise DataError("some splits have labels that are strings and others have numbers")
    if kinds == {"U"}:
        return _from_strings(plain, names)
    # A one-hot label tells the number of classes, also of those that have no image.
    widths = {np.shape(value)[1] for value in labels.values() if _is_one_hot(value)}
    highest = max((int(value.max()) for value in plain.values() if len(value)), default=-1)
    classes = max([highest + 1, *widths])
    images = sum(map(len, plain.values()))
    if names is None:
        if classes > images:
            raise DataError(
                f"the highest label is {classes - 1}, but there are only {images} images; expected "
                "labels from 0 to the number of classes - 1"
            )
        names = [str(index) for index in range(classes)]
    elif classes > len(names):
        raise NamesError(f"the highest label is {classes - 1}, but there are {len(names)} names")
    return plain, tuple(map(str, names))


def check_names(names: Any) -> tuple[str, ...] | None:
    """Return class names given by a user as a tuple; refuse empty and repeated names."""
    if names is None:
        return None
    try:
        if isinstance(names, Iterator):
            names = tuple(names)  # It can be gone through but once.
        are_strings = not isinstance(names, str) and all(isinstance(name, str) for name in names)
    except TypeError:
        are_strings = False
    if not are_strings:
        raise DataError(
            "labels are the class names, a list of strings in the order of the label numbers; "
            f"received: {names!r:.60} (give images and their labels as a pair: (images, labels))"
        )
    names = tuple(names)
    if len(set(names)) < len(names) or not all(name.strip() for name in names):
        raise DataError(
            f"class names must be distinct and not empty; received {list(names)!r:.200}"
        )
    return names


def _plain_labels(labels: Any, split: str) -> np.ndarray:
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise DataError(f"the {split} labels differ in length") from error
    if (
        array.dtype == object
        and array.ndim == 1
        and all(isinstance(value, (str, bytes)) for value in array)
    ):
        array = np.array([_text(value) for value in array], dtype=str)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if _is_one_hot(array):
        if not (np.isin(array, (0, 1)).all() and (array.sum(axis=1) == 1).all()):
            raise DataError(
                f"the {split} labels have shape {array.shape} but are not one-hot: each row must "
                "be a single 1 among zeros"
            )
        return array.argmax(axis=1)
    if array.ndim != 1:
        raise DataError(
            f"the {split} labels have shape {array.shape}; expected (n,), or one-hot (n, classes)"
        )
    if array.dtype.kind == "U":
        return array
    if not len(array):
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise DataError(
            f"the {split} labels have type {array.dtype}; expected whole numbers, strings or "
            "one-hot rows"
        )
    if array.min() < 0:
        raise DataError(f"the {split} labels go down to {array.min()}; expected 0 and above")
    return array.astype(np.int64)


def _from_strings(
    plain: dict[str, np.ndarray], names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    found = sorted({str(value) for values in plain.values() for value in values})
    names = tuple(found if names is None else names)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise NamesError(f"the labels hold {unknown[0]!r}, which is not among the class names")
    index = {name: position for position, name in enumerate(names)}
    return {
        split: np.array([index[str(value)] for value in values], np.int64)
        for split, values in plain.items()
    }, names


def _is_one_hot(labels: Any) -> bool:
    shape = np.shape(labels)
    return len(shape) == 2 and shape[1] > 1


def _text(value: str | bytes) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else value
