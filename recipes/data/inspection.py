"""One pass over all images of a source: what can be read, and what is wrong with the rest."""

import dataclasses

import numpy as np

from recipes.data import checks
from recipes.data.images import Decoded, FileImages
from recipes.data.problems import Problem, raise_first_error
from recipes.data.progress import Bar, Progress
from recipes.data.sources import Collection
from recipes.errors import DataError


@dataclasses.dataclass
class Inspection:
    """A collection after all its images were read.

    Attributes:
        collection: What was read.
        image_shape: `(height, width, channels)` that every image gets.
        decoded: What reading each split gave.
        good: For each split the indices of the images that can be used, int64.
        sizes: Heights and widths of the images whose header can be read, int64 `(n, 2)`.
        problems: Everything found, in the order of the checks.
    """

    collection: Collection
    image_shape: tuple[int, int, int]
    decoded: dict[str, Decoded]
    good: dict[str, np.ndarray]
    sizes: np.ndarray
    problems: list[Problem]


def inspect(
    collection: Collection,
    *,
    image_size: int | tuple[int, int] | None,
    color: str,
    fit: str,
    fractions: dict[str, float],
    skip: bool,
    memory_limit: int | None,
    progress: Progress | None,
) -> Inspection:
    """Read all images of a collection, and find what is wrong with it.

    Args:
        collection: From `collect`.
        image_size: As for `load_data`; so are `color`, `fit` and `progress`.
        fractions: Splits to be parted from train where the source has none.
        skip: Whether unreadable files are left out, so that they are but a warning.
        memory_limit: Bytes that the images may take to be kept. None: look only, keep none.

    Raises:
        DataError: If no image can be read at all, or images in memory would exceed the limit.
    """
    parts = collection.parts
    measured = {name: part.images.measure() for name, part in parts.items()}
    sizes = _readable_sizes(collection, measured, skip)
    size, size_problems = checks.choose_size(sizes, image_size)
    # Where a header tells of colour the picture may still be grey; that shows on decoding.
    all_grey = color == "auto" and all(grey for _, grey, _ in measured.values())
    channels = 1 if color == "grayscale" or all_grey else 3
    keep = _fits(collection, (*size, channels), memory_limit)
    decoded, errors = _decode(collection, measured, size, fit, channels, keep, progress)
    good = {
        name: np.setdiff1d(np.arange(len(part.images)), list(errors[name]))
        for name, part in parts.items()
    }
    if color == "auto" and all(decoded[name].grey[good[name]].all() for name in parts):
        channels = 1
        for result in decoded.values():
            if result.images is not None and result.images.shape[-1] == 3:
                result.images = np.ascontiguousarray(result.images[..., :1])
    problems = [
        *collection.problems,
        *size_problems,
        *_corrupt(collection, errors, skip),
        *_check_parts(collection, decoded, good, measured, fractions),
    ]
    return Inspection(collection, (*size, channels), decoded, good, sizes, problems)


def _readable_sizes(collection: Collection, measured, skip: bool) -> np.ndarray:
    sizes = np.concatenate(
        [np.delete(sizes, list(errors), axis=0) for sizes, _, errors in measured.values()]
    )
    if not len(sizes):
        errors = {name: errors for name, (_, _, errors) in measured.items()}
        raise_first_error(_corrupt(collection, errors, skip))
        raise DataError(f"{collection.source} holds no images")
    return sizes


def _corrupt(collection: Collection, errors: dict[str, dict[int, str]], skip: bool):
    broken = [
        (part.images.name(index), errors[name][index])
        for name, part in collection.parts.items()
        for index in sorted(errors[name])
    ]
    return checks.check_corrupt(broken, _count(collection), collection.source, skip)


def _fits(collection: Collection, shape: tuple[int, int, int], limit: int | None) -> bool:
    """Whether to keep the images; images that came in memory cannot be read again later."""
    if limit is None:
        return False
    height, width, channels = shape
    if _count(collection) * height * width * channels <= limit:
        return True
    if not _in_files(collection):
        raise DataError(
            f"{_count(collection)} images of {height}x{width}x{channels} do not fit the memory "
            f"limit of {limit} bytes: raise memory_limit, or choose a smaller image_size"
        )
    return False


def _decode(collection, measured, size, fit, channels, keep, progress):
    """Return for each split what decoding gave, and the errors of headers and decoding."""
    decoded, errors = {}, {}
    with Bar(progress, _count(collection) if _in_files(collection) else 0) as bar:
        for name, part in collection.parts.items():
            _, _, unmeasured = measured[name]
            decoded[name] = part.images.decode(
                size, fit, channels=channels, keep=keep, skip=unmeasured, progress=bar.advance
            )
            errors[name] = {**unmeasured, **decoded[name].errors}
            bar.finish(len(part.images))
    return decoded, errors


def _count(collection: Collection) -> int:
    return sum(len(part.images) for part in collection.parts.values())


def _in_files(collection: Collection) -> bool:
    return any(isinstance(part.images, FileImages) for part in collection.parts.values())


def _check_parts(collection, decoded, good, measured, fractions) -> list[Problem]:
    parts, names = collection.parts, collection.class_names
    counts = {
        name: np.bincount(part.labels[good[name]], minlength=len(names))
        for name, part in parts.items()
    }
    wanted = 1 + sum(
        1 for name, fraction in fractions.items() if name not in parts and fraction > 0
    )
    problems = checks.check_classes(counts, names, wanted)
    problems += checks.check_copies(
        [
            (name, part.images, part.labels, decoded[name].pixels, good[name])
            for name, part in parts.items()
        ],
        names,
    )
    problems += checks.check_sizes(
        [(part.images, measured[name][0], good[name]) for name, part in parts.items()]
    )
    return problems
