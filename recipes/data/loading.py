"""`load_data` and `check_data`: one look at a source, for training on it or reporting on it."""

import hashlib
from typing import Any

import numpy as np

from recipes.data.decoding import FITS
from recipes.data.image_data import ImageData, Split
from recipes.data.inspection import Inspection, inspect
from recipes.data.problems import DataReport, raise_first_error, sort_problems
from recipes.data.progress import Progress
from recipes.data.sources import SPLITS, collect
from recipes.data.splitting import split_indices
from recipes.errors import DataError

COLORS = ("auto", "rgb", "grayscale")


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
    look = inspect(
        collection,
        image_size=image_size,
        color=color,
        fit=fit,
        fractions=fractions,
        skip=corrupt == "skip",
        memory_limit=memory_limit,
        progress=progress,
    )
    raise_first_error(look.problems)
    splits = _make_splits(look, fractions, seed, fit)
    seed = int(seed)  # A NumPy integer could not be written as JSON.
    described = {
        "seed": seed,
        "validation_fraction": validation,
        "test_fraction": test,
        "reload": collection.reload
        and {
            "source": collection.reload,
            # Names that the source itself gives are read again; the fingerprint holds them.
            "labels": None if labels is None else list(collection.class_names),
            "image_size": list(look.image_shape[:2]),
            "color": "grayscale" if look.image_shape[2] == 1 else "rgb",
            "fit": fit,
            "validation": validation,
            "test": test,
            "seed": seed,
            "corrupt": corrupt,
            "memory_limit": int(memory_limit),
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
        source: As for `load_data`; so are the others.

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
    look = inspect(
        collection,
        image_size=image_size,
        color=color,
        fit=fit,
        fractions=fractions,
        skip=False,
        memory_limit=None,
        progress=progress,
    )
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


def _make_splits(
    look: Inspection, fractions: dict[str, float], seed: int, fit: str
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
