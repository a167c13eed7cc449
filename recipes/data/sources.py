"""From what a user names as a source to images, labels and class names."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from recipes.data.arrays import check_images, check_labels, check_names
from recipes.data.folders import scan_folder
from recipes.data.idx import read_idx_folder, read_name_file, read_names
from recipes.data.images import ArrayImages, FileImages, Images, RaggedImages
from recipes.data.problems import Problem
from recipes.errors import DataError, NamesError, nearest

BUNDLED = {"fashion-mini": Path(__file__).parent / "fashion_mini"}
SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {"val": "validation", "valid": "validation", **{name: name for name in SPLITS}}


@dataclasses.dataclass
class Part:
    """One split as the source gives it: images and labels int64 `(n,)`, of equal length."""

    images: Images
    labels: np.ndarray


@dataclasses.dataclass
class Collection:
    """Everything a source gives.

    Attributes:
        source: Its name for messages and files.
        reload: What to give `load_data` to read it again, or None for data in memory.
        class_names: In the order of the labels.
        parts: Split to images and labels; `"train"` is always there.
        problems: What has been found so far.
    """

    source: str
    reload: str | None
    class_names: tuple[str, ...]
    parts: dict[str, Part]
    problems: list[Problem] = dataclasses.field(default_factory=list)


def collect(source: Any, labels: Any, memory_limit: int) -> Collection:
    """Find the images of a source; files are listed, not read.

    Args:
        source: As for `load_data`.
        labels: Class names, or a text file of them, or None.
        memory_limit: Bytes that a `tf.data.Dataset` may take.

    Raises:
        DataError: If the source is missing or not of a known kind.
    """
    if isinstance(labels, (str, os.PathLike)):
        labels = read_name_file(labels)
    names = check_names(labels)
    if isinstance(source, (str, os.PathLike)):
        return _collect_named(os.fspath(source), names, memory_limit)
    if isinstance(source, dict):
        return _collect_splits(_name_splits(source), names, memory_limit)
    return _collect_splits({"train": source}, names, memory_limit)


def collect_arrays(
    splits: dict[str, tuple[Any, Any]],
    names: tuple[str, ...] | None,
    *,
    source: str = "arrays",
    reload: str | None = None,
) -> Collection:
    """Collect pairs of images and labels in memory; images may be a list of arrays of any size."""
    parts = {}
    labels, class_names = check_labels({name: pair[1] for name, pair in splits.items()}, names)
    for split, (images, _) in splits.items():
        stored = _store(images, split)
        if len(stored) != len(labels[split]):
            raise DataError(
                f"there are {len(stored)} {split} images but {len(labels[split])} labels"
            )
        parts[split] = Part(stored, labels[split])
    return Collection(source, reload, class_names, parts)


def _store(images: Any, split: str) -> Images:
    if isinstance(images, list) and len({np.shape(image) for image in images}) > 1:
        arrays = [np.asarray(image) for image in images]
        # Whether floats are in [0, 1] shows in the brightest image, not in each.
        largest = max((array.max() for array in arrays if array.size), default=0)
        checked = [check_images(array[np.newaxis], split, largest) for array in arrays]
        return RaggedImages([array[0] for array in checked], split)
    return ArrayImages(check_images(images, split), split)


def stored_source(source: str | os.PathLike) -> str:
    """Return a source as a run keeps it, to be read from anywhere on this machine.

    Example:
        >>> stored_source("fashion-mini"), stored_source("keras:mnist")
        ('fashion-mini', 'keras:mnist')
    """
    source = os.fspath(source)
    if source in BUNDLED:
        return source
    kind, _, rest = source.partition(":")
    source = os.path.expanduser(source)
    if os.path.exists(source):
        return os.path.abspath(source)
    # The shell leaves a ~ after a colon alone.
    return f"idx:{os.path.abspath(os.path.expanduser(rest))}" if kind == "idx" else source


def _collect_named(source: str, names: tuple[str, ...] | None, memory_limit: int) -> Collection:
    if source in BUNDLED:
        return _collect_idx(BUNDLED[source], names, source, source)
    kind, colon, rest = source.partition(":")
    # A folder whose name has a colon, or a Windows drive letter, is still a folder.
    source = os.path.expanduser(source)
    if colon and not os.path.exists(source) and len(kind) > 1:
        if kind == "idx":
            folder = Path(os.path.expanduser(rest))
            return _collect_idx(folder, names, source, stored_source(source))
        if kind in ("tfds", "keras"):
            from recipes.data import datasets

            read = datasets.read_tfds if kind == "tfds" else datasets.read_keras
            splits, found_names = read(rest, memory_limit)
            return collect_arrays(splits, names or found_names, source=source, reload=source)
        raise DataError(
            f"unknown kind of source {kind!r} in {source!r}; expected idx:, tfds: or keras:"
            + nearest(kind, ("idx", "tfds", "keras"))
        )
    if not os.path.exists(source):
        hint = nearest(source, BUNDLED) if os.sep not in source else ""
        raise DataError(f"there is no folder {source}{hint}")
    return _collect_folder(Path(source), names)


def _collect_idx(
    folder: Path, names: tuple[str, ...] | None, source: str, reload: str
) -> Collection:
    if not folder.is_dir():
        what = "is a file; expected a folder of IDX files" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {what}")
    splits = read_idx_folder(folder)
    return collect_arrays(
        splits, names or check_names(read_names(folder)), source=source, reload=reload
    )


def _collect_folder(folder: Path, names: tuple[str, ...] | None) -> Collection:
    splits, problems = scan_folder(folder)
    found = tuple(splits["train"])
    names = names or found
    if set(names) != set(found):
        raise NamesError(
            f"labels must name the class folders of {folder} ({', '.join(found[:10])}), in the "
            f"order wanted; received: {', '.join(names[:10])}"
        )
    parts = {}
    for split, classes in splits.items():
        counts = [len(classes[name]) for name in names]
        paths = [path for name in names for path in classes[name]]
        parts[split] = Part(FileImages(paths), np.repeat(np.arange(len(names)), counts))
    if not any(len(part.images) for part in parts.values()):
        raise DataError(f"the class folders of {folder} hold no images")
    return Collection(str(folder), os.path.abspath(folder), names, parts, problems)


def _collect_splits(
    splits: dict[str, Any], names: tuple[str, ...] | None, memory_limit: int
) -> Collection:
    from recipes.data import datasets

    pairs = {}
    kind = "arrays"
    for split, value in splits.items():
        if datasets.is_dataset(value):
            kind = "tf.data"
            pairs[split] = datasets.read_dataset(value, split, memory_limit)
            memory_limit -= datasets.bytes_of(pairs[split][0])
        elif isinstance(value, (tuple, list)) and len(value) == 2:
            pairs[split] = tuple(value)
        else:
            raise DataError(
                "a source is a name, a folder, a pair (images, labels), a tf.data.Dataset, or a "
                f"dictionary of splits of these; {split} is a {type(value).__name__}"
            )
    return collect_arrays(pairs, names, source=kind)


def _name_splits(splits: dict[Any, Any]) -> dict[str, Any]:
    named = {}
    for key, value in splits.items():
        if key not in _SPLIT_NAMES:
            raise DataError(
                f"unknown split {key!r}; expected {', '.join(SPLITS)}"
                + nearest(str(key), _SPLIT_NAMES)
            )
        if _SPLIT_NAMES[key] in named:
            raise DataError(f"the split {_SPLIT_NAMES[key]} is given twice")
        named[_SPLIT_NAMES[key]] = value
    if "train" not in named:
        raise DataError(f"the splits {', '.join(map(str, splits)) or '(none)'} hold no train")
    return {name: named[name] for name in SPLITS if name in named}
