"""`load_data` and `check_data`: one look at a source, for training on it or reporting on it."""

import dataclasses
import hashlib
import sys
from typing import Any

import numpy as np

from recipes.data import checks
from recipes.data.decoding import FITS
from recipes.data.image_data import ImageData, Split
from recipes.data.images import Decoded, FileImages, Progress
from recipes.data.problems import DataReport, Problem, raise_first_error, sort_problems
from recipes.data.sources import SPLITS, Collection, collect
from recipes.data.splitting import split_indices
from recipes.errors import DataError

COLORS = ("auto", "rgb", "grayscale")


@dataclasses.dataclass
class _Look:
    """A collection after all its images were read.

    `good` holds, for each split, the indices of the images that can be used.
    """

    collection: Collection
    image_shape: tuple[int, int, int]
    decoded: dict[str, Decoded]
    good: dict[str, np.ndarray]
    sizes: np.ndarray
    problems: list[Problem]


def load_data(
    source: Any,
    *,
    labels: Any = None,
    image_size: int | tuple[int, int] | None = None,
    color: str = "auto",
    fit: str = "crop",
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    corrupt: str = "refuse",
    batch_size: int = 32,
    memory_limit: int = 2**31,
    progress: Progress | None = None,
) -> ImageData:
    """Read, check and split labelled images.

    All images are read once, in full: what is wrong with them shows here and not in the third
    epoch. They are kept as uint8 arrays if those fit the memory limit; otherwise files are decoded
    again as batches are made.

    Args:
        source: `"fashion-mini"` (bundled); the path of a folder with a folder of images for each
            class, perhaps under folders `train`, `validation` and `test`; `"idx:FOLDER"`;
            `"tfds:NAME"`; `"keras:NAME"`; a pair `(images, labels)` of arrays; a
            `tf.data.Dataset` of such pairs, batched or not; or a dictionary of splits of the
            latter two, with the keys `"train"` and perhaps `"validation"` and `"test"`.
        labels: The class names in the order of the labels, or a text file with one a line.
        image_size: Side of a square or `(height, width)`. None: the size of the images if they
            have one size; otherwise a square whose side is the median of the shorter sides,
            rounded down to a multiple of 8, at least 32 and at most 224.
        color: `"rgb"`, `"grayscale"`, or `"auto"`: grayscale if every image shows only grey.
        fit: How images of another aspect ratio are met: `"crop"`, `"stretch"` or `"pad"`.
        validation: Share of the training images to hold out if the source has no such split.
        test: Likewise, for testing. Exact copies of an image are held out together.
        seed: Of these splits, and of the order of `ImageData.train`.
        corrupt: `"refuse"` files that cannot be read, or `"skip"` them.
        batch_size: Of `ImageData.train`, `.validation` and `.test`.
        memory_limit: Bytes that the decoded images of all splits may take.
        progress: Called with the number of files read and to read. None: a bar on the error
            stream if that is a terminal and there are thousands of files.

    Returns:
        The data.

    Raises:
        DataError: If the source cannot be used; one line says why.

    Example:
        >>> data = load_data("fashion-mini")
        >>> data.image_shape, len(data.splits["train"]), data.class_names[0]
        ((28, 28, 1), 5400, 'T-shirt/top')
    """
    _check_choice("color", color, COLORS)
    _check_choice("fit", fit, FITS)
    _check_choice("corrupt", corrupt, ("refuse", "skip"))
    _check_whole("seed", seed, 0, 2**31 - 1)
    _check_whole("batch_size", batch_size, 1)
    _check_whole("memory_limit", memory_limit, 1)
    fractions = _check_fractions(validation, test)
    collection = collect(source, labels, memory_limit)
    look = _look(
        collection, image_size, color, fit, fractions, corrupt == "skip", memory_limit, progress
    )
    raise_first_error(look.problems)
    splits = _make_splits(look, fractions, seed, fit)
    described = {
        "seed": seed,
        "validation_fraction": validation,
        "test_fraction": test,
        "reload": collection.reload
        and {
            "source": collection.reload,
            "labels": list(collection.class_names),
            "image_size": list(look.image_shape[:2]),
            "color": "grayscale" if look.image_shape[2] == 1 else "rgb",
            "fit": fit,
            "validation": validation,
            "test": test,
            "seed": seed,
            "corrupt": corrupt,
        },
    }
    return ImageData(
        source=collection.source,
        class_names=collection.class_names,
        image_shape=look.image_shape,
        color="grayscale" if look.image_shape[2] == 1 else "rgb",
        fit=fit,
        splits={name: split for name, (split, _) in splits.items()},
        problems=sort_problems(look.problems),
        fingerprint=_fingerprint(collection.class_names, splits),
        settings=described,
        batch_size=batch_size,
        seed=seed,
    )


def check_data(
    source: Any,
    *,
    labels: Any = None,
    image_size: int | tuple[int, int] | None = None,
    color: str = "auto",
    fit: str = "crop",
    validation: float = 0.1,
    test: float = 0.1,
    memory_limit: int = 2**31,
    progress: Progress | None = None,
) -> DataReport:
    """Look at a source as `load_data` does, and report everything that is found.

    Args:
        source: As for `load_data`, and so are the others.

    Returns:
        The report; `report.ok` says whether `load_data` would take the source.

    Raises:
        DataError: If there is nothing to look at: no such folder, no classes, unequal lengths.

    Example:
        >>> check_data("fashion-mini").ok
        True
    """
    _check_choice("color", color, COLORS)
    _check_choice("fit", fit, FITS)
    fractions = _check_fractions(validation, test)
    collection = collect(source, labels, memory_limit)
    look = _look(collection, image_size, color, fit, fractions, False, 0, progress)
    classes = len(collection.class_names)
    sizes = {"distinct": len(np.unique(look.sizes, axis=0))}
    if len(look.sizes):
        by_area = look.sizes[np.argsort(look.sizes.prod(axis=1), kind="stable")]
        places = {"smallest": 0, "median": len(by_area) // 2, "largest": -1}
        sizes.update({name: by_area[place].tolist() for name, place in places.items()})
    return DataReport(
        source=collection.source,
        class_names=collection.class_names,
        counts={
            name: np.bincount(part.labels[look.good[name]], minlength=classes).tolist()
            for name, part in collection.parts.items()
        },
        sizes=sizes,
        image_shape=look.image_shape,
        problems=sort_problems(look.problems),
    )


def _look(
    collection: Collection, image_size, color, fit, fractions, skip, memory_limit, progress
) -> _Look:
    """Read all images of a collection, and find what is wrong with it."""
    problems = list(collection.problems)
    parts = collection.parts
    measured = {name: part.images.measure() for name, part in parts.items()}
    readable = [np.delete(sizes, list(errors), axis=0) for sizes, _, errors in measured.values()]
    sizes = np.concatenate(readable)
    if not len(sizes):
        broken = [
            (parts[name].images.name(index), reason)
            for name, (_, _, errors) in measured.items()
            for index, reason in sorted(errors.items())
        ]
        raise_first_error(checks.check_corrupt(broken, len(broken), collection.source, skip))
        raise DataError(f"{collection.source} holds no images")
    size, found = checks.choose_size(sizes, image_size)
    problems += found
    # Where a header tells of colour the picture may still be grey; that shows on decoding.
    channels = 1 if color == "grayscale" else 3
    if color == "auto" and all(grey for _, grey, _ in measured.values()):
        channels = 1
    total = sum(len(part.images) for part in parts.values())
    in_files = any(isinstance(part.images, FileImages) for part in parts.values())
    keep = total * size[0] * size[1] * channels <= memory_limit
    if memory_limit and not keep and not in_files:
        raise DataError(
            f"{total} images of {size[0]}x{size[1]}x{channels} do not fit the memory limit of "
            f"{memory_limit} bytes: raise memory_limit, or choose a smaller image_size"
        )
    decoded, broken, good = {}, [], {}
    with _Bar(progress, total if in_files else 0) as bar:
        for name, part in parts.items():
            _, _, errors = measured[name]
            result = part.images.decode(
                size, fit, channels=channels, keep=keep, skip=errors, progress=bar.advance
            )
            errors = {**errors, **result.errors}
            bar.finish(len(part.images))
            broken += [(part.images.name(index), errors[index]) for index in sorted(errors)]
            decoded[name] = result
            good[name] = np.setdiff1d(np.arange(len(part.images)), list(errors))
    if color == "auto" and all(decoded[name].grey[good[name]].all() for name in parts):
        channels = 1
        for result in decoded.values():
            if result.images is not None and result.images.shape[-1] == 3:
                result.images = np.ascontiguousarray(result.images[..., :1])
    problems += checks.check_corrupt(broken, total, collection.source, skip)
    problems += _check_parts(collection, decoded, good, measured, fractions)
    return _Look(collection, (*size, channels), decoded, good, sizes, problems)


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


def _make_splits(
    look: _Look, fractions: dict[str, float], seed: int, fit: str
) -> dict[str, tuple[Split, list[bytes]]]:
    """Return each split, and the digests of its images."""
    parts = look.collection.parts
    chosen = {name: (name, look.good[name]) for name in parts}
    missing = {name: share for name, share in fractions.items() if name not in parts}
    train = look.good["train"]
    pixels = look.decoded["train"].pixels
    held_out = split_indices(
        parts["train"].labels[train], missing, seed=seed, groups=[pixels[index] for index in train]
    )
    for name, indices in held_out.items():
        chosen[name] = ("train", train[indices])
    splits = {}
    for name in SPLITS:
        part_name, indices = chosen.get(name, ("train", train[:0]))
        part, decoded = parts[part_name], look.decoded[part_name]
        images = decoded.images
        if images is not None:
            images = images if len(indices) == len(images) else images[indices]
            images = images.view()
            images.flags.writeable = False
        paths = part.images.paths
        split = Split(
            name=name,
            labels=part.labels[indices],
            image_shape=look.image_shape,
            images=images,
            paths=None if paths is None else tuple(paths[index] for index in indices),
            fit=fit,
        )
        splits[name] = (split, [decoded.contents[index] for index in indices])
    return splits


def _fingerprint(class_names, splits: dict[str, tuple[Split, list[bytes]]]) -> str:
    digest = hashlib.sha256()
    for text in ("classes", *class_names):
        digest.update(len(text).to_bytes(4, "big") + text.encode())
    for name, (split, contents) in splits.items():
        digest.update(f"{name} {len(split)} ".encode())
        digest.update(split.labels.astype(">i8").tobytes())
        digest.update(b"".join(contents))
    return digest.hexdigest()


def _check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DataError(f"{name} must be one of {', '.join(choices)}, received: {value!r}")


def _check_whole(name: str, value: Any, low: int, high: int | None = None) -> None:
    if (
        not isinstance(value, (int, np.integer))
        or isinstance(value, bool)
        or value < low
        or (high is not None and value > high)
    ):
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise DataError(f"{name} must be a whole number {limits}, received: {value!r}")


def _check_fractions(validation: float, test: float) -> dict[str, float]:
    for name, value in (("validation", validation), ("test", test)):
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
            raise DataError(f"{name} must be a share from 0 to under 1, received: {value!r}")
    if validation + test >= 1:
        raise DataError(
            f"validation and test are {validation} and {test}: nothing is left to train on"
        )
    return {"validation": validation, "test": test}


class _Bar:
    """Progress over all splits: told to a function, or shown on a terminal."""

    _MANY = 2000

    def __init__(self, report: Progress | None, total: int):
        self.report = report
        self.total = total
        self.done = 0
        self.bar = None

    def __enter__(self):
        if self.report is None and self.total >= self._MANY and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as RichProgress

            self.bar = RichProgress(console=Console(stderr=True), transient=True)
            self.bar.start()
            self.task = self.bar.add_task("reading images", total=self.total)
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.stop()

    def advance(self, done: int, _: int) -> None:
        """Tell how many images of the present split are done."""
        if self.report is not None:
            self.report(self.done + done, self.total)
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done + done)

    def finish(self, count: int) -> None:
        """Count a whole split as done."""
        self.done += count
