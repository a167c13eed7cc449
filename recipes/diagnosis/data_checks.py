"""What is wrong with batches of images and labels: pure NumPy, no model."""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np

from recipes.diagnosis.findings import Finding
from recipes.diagnosis.targets import as_rows

# A class with this many times the images of another asks for weights or another sampling.
IMBALANCED = 10.0
# Expected images a class below which a small count says nothing.
ENOUGH = 20
# Standard deviations above what chance gives of neighbours with the same label.
UNSHUFFLED = 6.0
# Share of images that are exact copies.
COPIES = 0.01
# Rows of shares may sum to 1 within this.
SUM_TOLERANCE = 1e-3

Batch = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def check_images(batches: Sequence[Batch], input_range=None) -> Iterator[Finding]:
    """Look at the pixels: finite, not constant, no copies, in the range that is expected.

    Args:
        batches: Tuples of images `(batch, ...)`, labels, and weights or `None`.
        input_range: `(low, high)` that the model expects, or `None`.
    """
    images = np.concatenate([batch[0] for batch in batches])
    flat = images.reshape(len(images), -1).astype(np.float32)
    bad = ~np.isfinite(flat).all(axis=1)
    if bad.any():
        yield Finding(
            "images_not_finite",
            "error",
            f"{bad.sum()} of {len(images)} images hold NaN or infinity",
            "look for a division by zero in what prepares the images",
            {"images": int(bad.sum()), "of": len(images)},
        )
    constant = ~bad & (flat.min(axis=1) == flat.max(axis=1))
    if constant.any():
        yield Finding(
            "constant_images",
            "error" if constant.mean() > 0.5 else "warning",
            f"{constant.sum()} of {len(images)} images have one colour everywhere",
            "look at them: a decoder or an augmentation may have emptied them",
            {"images": int(constant.sum()), "of": len(images)},
        )
    if input_range is not None and (~bad).any():
        yield from _check_range(flat[~bad], input_range)
    yield from _check_copies(batches)


def _check_range(flat, expected):
    low, high = expected
    found = float(flat.min()), float(flat.max())
    figures = {"found": list(found), "expected": [low, high]}
    slack = 0.01 * (high - low)
    if found[0] < low - slack or found[1] > high + slack:
        yield Finding(
            "input_range",
            "error",
            f"pixels are from {found[0]:.4g} to {found[1]:.4g}, expected {low:g} to {high:g}",
            "scale them once, in the model or in the data, not in both or neither",
            figures,
        )
    elif found[1] - found[0] < 0.05 * (high - low):
        yield Finding(
            "input_range",
            "error",
            f"pixels are from {found[0]:.4g} to {found[1]:.4g}, a small part of the expected "
            f"{low:g} to {high:g}",
            f"give the model images in [{low:g}, {high:g}]: were they divided by 255 before?",
            figures,
        )


def _check_copies(batches):
    seen, copies, total, repeated, earlier = set(), 0, 0, 0, set()
    for images, *_ in batches:
        digests = [hashlib.sha1(np.ascontiguousarray(image)).digest() for image in images]
        repeated += tuple(digests) in earlier
        earlier.add(tuple(digests))
        for digest in digests:
            copies += digest in seen
            seen.add(digest)
        total += len(digests)
    if repeated:
        yield Finding(
            "repeated_batches",
            "warning",
            f"{repeated} of {len(batches)} batches repeat an earlier one",
            "check the data pipeline: is it shorter than thought, or stuck on one batch?",
            {"batches": repeated, "of": len(batches)},
        )
    elif copies > COPIES * total:
        yield Finding(
            "copied_images",
            "warning",
            f"{copies} of {total} images are exact copies of another",
            "run check_data: copies in training and validation images make results look better",
            {"images": copies, "of": total},
        )


def check_labels(batches: Sequence[Batch], width: int, kind: str | None) -> Iterator[Finding]:
    """Look at the labels: finite, of the shape the loss takes, each of a class that exists.

    Args:
        batches: As for `check_images`.
        width: Outputs of the model an image.
        kind: Of the loss, see `LossFacts`.
    """
    labels = np.concatenate([np.asarray(batch[1], np.float64) for batch in batches])
    if not np.isfinite(labels).all():
        yield Finding(
            "labels_not_finite",
            "error",
            "labels hold NaN or infinity",
            "look at how the labels are read",
        )
        return
    rows = labels.ndim == 2 and labels.shape[1] > 1
    one_output = width == 1
    if kind == "categorical" and labels.shape[1:] != (width,):
        yield _wrong_shape(labels, f"(batch, {width})", "SparseCategoricalCrossentropy, or one_hot")
    elif kind == "sparse" and rows:
        yield _wrong_shape(labels, "(batch,)", "CategoricalCrossentropy")
    elif rows and labels.shape[1] != width:
        yield _wrong_shape(labels, f"(batch, {width})", "as many outputs as there are classes")
    elif rows:
        yield from _check_rows(labels, kind)
    elif not one_output:
        yield from _check_indices(labels.reshape(-1), width)
    elif kind == "binary" and (labels.min() < 0 or labels.max() > 1):
        yield _out_of_range(labels.reshape(-1), 2)


def _wrong_shape(labels, expected, advice):
    shape = ("batch", *labels.shape[1:])
    words = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
    return Finding(
        "labels_shape",
        "error",
        f"labels have shape {words}, loss and model expect {expected}",
        f"use {advice}",
        {"shape": list(labels.shape[1:])},
    )


def _check_rows(labels, kind):
    low, high = labels.min(), labels.max()
    if low < 0 or high > 1 + SUM_TOLERANCE:
        yield Finding(
            "labels_out_of_range",
            "error",
            f"label shares are from {low:.4g} to {high:.4g}, expected 0 to 1",
            "give each row the share of each class",
            {"lowest": float(low), "highest": float(high)},
        )
        return
    off = np.abs(labels.sum(axis=1) - 1) > SUM_TOLERANCE
    if kind != "binary" and off.any():
        yield Finding(
            "labels_do_not_sum_to_one",
            "error",
            f"{off.sum()} of {len(labels)} label rows do not sum to 1",
            "divide by the sum; for several labels an image use BinaryCrossentropy",
            {"rows": int(off.sum()), "of": len(labels)},
        )


def _check_indices(labels, width):
    if (labels != np.round(labels)).any():
        yield Finding(
            "labels_not_whole",
            "error",
            "class indices are not whole numbers",
            "give indices from 0, or one row of shares an image",
        )
    elif labels.min() < 0 or labels.max() >= width:
        yield _out_of_range(labels, width)


def _out_of_range(labels, classes):
    low, high = int(labels.min()), int(labels.max())
    start = ": do they start at 1?" if low == 1 and high == classes else ""
    return Finding(
        "labels_out_of_range",
        "error",
        f"labels are from {low} to {high}, the model knows classes 0 to {classes - 1}{start}",
        "count classes from 0, and give the model one output a class",
        {"lowest": low, "highest": high, "classes": classes},
    )


def check_order(batches: Sequence[Batch], width: int) -> Iterator[Finding]:
    """Look at the mix of classes: more than one, shuffled, about balanced.

    Args:
        batches: As for `check_images`; labels that `as_rows` understands.
        width: Outputs of the model an image.
    """
    classes = max(width, 2)
    each = [as_rows(batch[1], width).argmax(axis=1) for batch in batches]
    labels = np.concatenate(each)
    counts = np.bincount(labels, minlength=classes)
    figures = {"counts": counts.tolist()}
    if (counts > 0).sum() == 1:
        yield Finding(
            "one_class",
            "error",
            f"all {len(labels)} images looked at are of class {labels[0]}",
            "shuffle the data; check that the labels are read",
            figures,
        )
        return
    # A batch of one or two is of one class by chance.
    single = [len(set(batch.tolist())) == 1 for batch in each if len(batch) >= 4]
    if single and np.mean(single) > 0.5:
        yield Finding(
            "one_class_a_batch",
            "error",
            f"{sum(single)} of {len(single)} batches hold a single class",
            "shuffle images before batching them, with a buffer as large as the data",
            {"batches": sum(single), "of": len(single)},
        )
    elif (score := neighbour_score(labels)) > UNSHUFFLED:
        yield Finding(
            "not_shuffled",
            "warning",
            "neighbours have the same label far more often than by chance",
            "shuffle with a buffer as large as the data",
            {"standard_deviations": round(score, 1)},
        )
    else:
        yield from _check_balance(counts)


def neighbour_score(labels: np.ndarray) -> float:
    """Return by how many standard deviations equal neighbours exceed those of a shuffled order.

    Args:
        labels: Class indices in order, `(images,)`.

    Example:
        >>> sorted_labels = np.repeat(np.arange(4), 25)
        >>> bool(neighbour_score(sorted_labels) > 10)
        True
        >>> bool(neighbour_score(np.random.default_rng(0).permutation(sorted_labels)) < 3)
        True

    Source:
        The join count for a line with two neighbours each; its variance is taken as binomial,
        which is close where no class has most of the images.
    """
    labels = np.asarray(labels)
    count = len(labels)
    if count < 16:
        return 0.0
    totals = np.bincount(labels)
    chance = float(np.sum(totals * (totals - 1)) / (count * (count - 1)))
    pairs = count - 1
    equal = float((labels[1:] == labels[:-1]).sum())
    return (equal - pairs * chance) / max(np.sqrt(pairs * chance * (1 - chance)), 1.0)


def _check_balance(counts):
    expected = counts.sum() / len(counts)
    if expected < ENOUGH:
        return
    absent = np.flatnonzero(counts == 0)
    if len(absent):
        names = ", ".join(map(str, absent[:5]))
        yield Finding(
            "absent_classes",
            "warning",
            f"{len(absent)} of {len(counts)} classes have no image among the {counts.sum()} "
            f"looked at: {names}",
            "check the class list and the shuffling, or collect images of them",
            {"classes": absent.tolist(), "counts": counts.tolist()},
        )
    elif counts.max() > IMBALANCED * counts.min():
        yield Finding(
            "imbalanced",
            "warning",
            f"class {counts.argmax()} has {counts.max()} images, class {counts.argmin()} only "
            f"{counts.min()}",
            "use class weights or balanced sampling, and judge by recall of each class",
            {"counts": counts.tolist()},
        )


def check_batch_sizes(batches: Sequence[Batch], normalized: Sequence[str]) -> Iterator[Finding]:
    """Look at the sizes of batches.

    Args:
        batches: As for `check_images`.
        normalized: Names of the layers that normalise over the batch in training.
    """
    sizes = [len(batch[0]) for batch in batches]
    figures = {"sizes": sizes}
    if normalized and sizes[0] == 1:
        yield Finding(
            "batch_norm_one_image",
            "error",
            f"batch normalisation ({normalized[0]}) sees one image a batch",
            "use larger batches, or group or layer normalisation",
            figures,
        )
    elif len(sizes) > 1 and sizes[-1] == 1 < sizes[0]:
        what = "; batch normalisation takes its statistics from it" if normalized else ""
        yield Finding(
            "last_batch_of_one",
            "warning",
            f"the last batch holds one image, the others {sizes[0]}{what}",
            "drop the remainder, or choose another batch size",
            figures,
        )
