"""What a look at all images tells: findings that a person would want before training."""

from collections.abc import Sequence

import numpy as np

from recipes.data.images import Images
from recipes.data.problems import Problem, name_some
from recipes.errors import DataError
from recipes.wording import counted

TINY_SIDE = 8
HUGE_PIXELS = 50_000_000
UNEQUAL_RATIO = 10
LARGE_SIDE = 512  # A network input above this is rarely meant.
# The rule for a source of mixed sizes, when no size is asked for.
CHOSEN_STEP, CHOSEN_SMALLEST, CHOSEN_LARGEST = 8, 32, 224


def choose_size(
    sizes: np.ndarray, image_size: int | tuple[int, int] | None
) -> tuple[tuple[int, int], list[Problem]]:
    """Choose the size that all images get.

    Without a size asked for: the size that all images have, or else a square whose side is the
    median of the shorter sides, rounded down to a multiple of 8, at least 32 and at most 224.

    Args:
        sizes: Heights and widths of all readable images, int64 `(n, 2)`, n at least 1.
        image_size: Side of a square, `(height, width)`, or None.

    Returns:
        `(height, width)`, and warnings.
    """
    if image_size is not None:
        return _check_size(image_size), []
    if (sizes == sizes[0]).all():
        height, width = map(int, sizes[0])
        if max(height, width) <= LARGE_SIDE:
            return (height, width), []
        message = f"all images are {height}x{width} and are used so; image_size makes them smaller"
        return (height, width), [Problem("large-input", "warning", message)]
    median = int(np.median(sizes.min(axis=1)))
    side = min(max(median // CHOSEN_STEP * CHOSEN_STEP, CHOSEN_SMALLEST), CHOSEN_LARGEST)
    low, high = sizes.min(axis=0), sizes.max(axis=0)
    message = (
        f"the images have {len(np.unique(sizes, axis=0))} sizes, heights {low[0]} to {high[0]} and "
        f"widths {low[1]} to {high[1]}; {side}x{side} is used (image_size chooses another)"
    )
    return (side, side), [Problem("mixed-sizes", "warning", message)]


def check_sizes(parts: Sequence[tuple[Images, np.ndarray, np.ndarray]]) -> list[Problem]:
    """Report very small and very large images.

    Args:
        parts: For each split its images, their heights and widths int64 `(n, 2)`, and the indices
            of the readable ones.
    """
    tiny: list[str] = []
    huge: list[str] = []
    for images, sizes, good in parts:
        tiny += [images.name(index) for index in good[sizes[good].min(axis=1) <= TINY_SIDE]]
        huge += [images.name(index) for index in good[sizes[good].prod(axis=1) > HUGE_PIXELS]]
    problems = []
    if tiny:
        message = f"tiny, {TINY_SIDE} pixels or less on a side: {_list(tiny)}"
        problems.append(Problem("tiny", "warning", message, tuple(tiny)))
    if huge:
        limit = f"{HUGE_PIXELS // 10**6} million pixels"
        message = f"huge, over {limit}, and slow to decode: {_list(huge)}"
        problems.append(Problem("huge", "warning", message, tuple(huge)))
    return problems


def check_corrupt(
    broken: Sequence[tuple[str, str]], total: int, source: str, skip: bool
) -> list[Problem]:
    """Report files that cannot be read: an error, or a warning where they are skipped.

    Args:
        broken: Path and reason of each.
        total: How many images there are, readable or not.
        source: Name for the message.
        skip: Whether they are to be left out.
    """
    if not broken:
        return []
    listed = [f"{path} ({reason})" for path, reason in broken]
    paths = tuple(path for path, _ in broken)
    if len(broken) == total:
        message = f"no image file of {source} can be read, of {total} found: {name_some(listed)}"
        return [Problem("corrupt", "error", message, paths)]
    message = f"cannot read {len(broken)} of {total} image files: {name_some(listed)}"
    if skip:
        return [Problem("corrupt", "warning", f"{message}; they are left out", paths)]
    message = f"{message}; mend or remove them, or pass corrupt='skip' (--corrupt skip)"
    return [Problem("corrupt", "error", message, paths)]


def check_classes(
    counts: dict[str, np.ndarray], class_names: Sequence[str], wanted_splits: int
) -> list[Problem]:
    """Report splits without images, and classes absent, too small to split, or wildly unequal.

    Args:
        counts: Split to images a class.
        class_names: Names of the classes.
        wanted_splits: How many splits train is to be parted into, itself included.
    """
    train = counts["train"]
    problems = []
    if len(class_names) < 2:
        message = f"there is only one class ({', '.join(class_names)}); expected two or more"
        return [Problem("one-class", "error", message)]
    for split, number in counts.items():
        empty = [class_names[index] for index in np.flatnonzero(number == 0)]
        if not empty:
            continue
        if split == "train":
            message = f"{_classes(empty)} no images to train on; add some or remove the class"
            problems.append(Problem("empty-class", "error", message))
        elif number.any():
            message = f"{_classes(empty)} no images in the {split} split"
            problems.append(Problem("empty-class", "warning", message))
        else:
            message = (
                f"the {split} split holds no images, and none are taken from the training images; "
                "add some or remove the split"
            )
            problems.append(Problem("empty-split", "warning", message))
    few = np.flatnonzero((train > 0) & (train < wanted_splits))
    if len(few):
        listed = [f"{class_names[index]} ({train[index]})" for index in few]
        problems.append(
            Problem(
                "few-images",
                "warning",
                f"fewer images than the {wanted_splits} splits, so absent from some: "
                f"{counted(len(few), 'class', 'classes')}, {name_some(listed)}",
            )
        )
    if train.all() and train.max() > UNEQUAL_RATIO * train.min():
        most, least = int(train.argmax()), int(train.argmin())
        problems.append(
            Problem(
                "unequal-classes",
                "warning",
                f"the classes are very unequal: {class_names[most]} has {train[most]} images, "
                f"{class_names[least]} has {train[least]}; consider class weights or balanced "
                "sampling",
            )
        )
    return problems


def check_copies(
    splits: Sequence[tuple[str, Images, np.ndarray, Sequence[bytes], np.ndarray]],
    class_names: Sequence[str],
) -> list[Problem]:
    """Report exact copies: across splits (leakage), with two labels, and other ones.

    Args:
        splits: For each split its name, images, labels, digests of the decoded pixels, and the
            indices of the readable images.
        class_names: Names of the classes.
    """
    places: dict[bytes, list[tuple[str, str, int]]] = {}
    for split, images, labels, digests, good in splits:
        for index in good:
            place = (split, images.name(index), int(labels[index]))
            places.setdefault(digests[index], []).append(place)
    across, contrary, within = [], [], []
    for group in places.values():
        splits_of, _, labels_of = map(set, zip(*group, strict=True))
        if len(splits_of) > 1:
            across.append(group)
        if len(labels_of) > 1:
            contrary.append(group)
        if len(group) > 1 and len(splits_of) == len(labels_of) == 1:
            within.append(group)
    problems = []
    if across:
        message = (
            f"leakage, {counted(len(across), 'image')} in more than one split, so results look "
            f"better than they are: {_equal(across[0])}"
        )
        problems.append(Problem("leakage", "warning", message, _all_names(across)))
    if contrary:
        first = {class_names[label]: name for _, name, label in contrary[0]}
        message = (
            f"{counted(len(contrary), 'image')} with copies under another label: "
            + " and ".join(f"{name} is {class_name}" for class_name, name in first.items())
        )
        problems.append(Problem("contrary-labels", "warning", message, _all_names(contrary)))
    if within:
        message = f"{counted(len(within), 'image')} with exact copies: {_equal(within[0])}"
        problems.append(Problem("duplicates", "warning", message, _all_names(within)))
    return problems


def _check_size(image_size: int | tuple[int, int]) -> tuple[int, int]:
    pair = (image_size, image_size) if np.ndim(image_size) == 0 else tuple(image_size)
    if len(pair) != 2 or not all(
        isinstance(side, (int, np.integer)) and not isinstance(side, bool) and side > 0
        for side in pair
    ):
        raise DataError(
            f"image_size must be a positive whole number or (height, width), received: "
            f"{image_size!r}"
        )
    return int(pair[0]), int(pair[1])


def _list(names: list[str]) -> str:
    return f"{counted(len(names), 'image')}, {name_some(names)}"


def _equal(group: list[tuple[str, str, int]]) -> str:
    return " = ".join(name for _, name, _ in group[:2])


def _all_names(groups: list[list[tuple[str, str, int]]]) -> tuple[str, ...]:
    return tuple(name for group in groups for _, name, _ in group)


def _classes(names: list[str]) -> str:
    return f"the {'class' if len(names) == 1 else 'classes'} {name_some(names)} " + (
        "has" if len(names) == 1 else "have"
    )
