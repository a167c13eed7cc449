"""A folder of class folders, with or without a folder for each split above them."""

import os
from pathlib import Path

from recipes.data.decoding import careful_pillow, read_header
from recipes.data.problems import Problem, name_some
from recipes.errors import DataError
from recipes.wording import counted

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}
# A file with such a name is meant to be an image: it is an error if it is none. Names of formats
# that Pillow cannot read are here too, lest such photographs be passed over with a mere warning.
_IMAGE_KINDS = "jpg jpeg jpe jfif png gif webp bmp dib tif tiff pbm pgm ppm pnm jp2 avif heic heif"
_IMAGE_SUFFIXES = frozenset(f".{kind}" for kind in _IMAGE_KINDS.split())
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin"})


def scan_folder(
    folder: Path,
) -> tuple[dict[str, dict[str, list[str]]], list[Problem]]:
    """List the images of each class of each split.

    Class folders may hold folders; links are followed. Hidden files and folders and the clutter
    of file managers (`.DS_Store`, `Thumbs.db`, `__MACOSX`) are passed over. Classes are ordered as
    Python sorts their names, as `keras.utils.image_dataset_from_directory` does.

    Args:
        folder: Holds a folder for each class; or folders `train` and, if there are, `validation`
            (`val`, `valid`) and `test`, and nothing beside them, each with a folder for each class.

    Returns:
        Split to class to sorted paths, the one split called `"train"` if the folder has no split
        folders; and warnings about files that are passed over.

    Raises:
        DataError: If the folder is not so laid out.
    """
    folders, _ = _list(folder)
    if not folders:
        raise _no_classes(folder)
    split_folders = _find_splits(folder, folders)
    problems: list[Problem] = []
    splits = {
        split: _scan_classes(place, problems)
        for split, place in (split_folders or {"train": folder}).items()
    }
    first = list(splits["train"])
    for name in first:
        if any("\ud800" <= letter <= "\udfff" for letter in name):
            raise DataError(f"the name of the class folder {name!a} is not UTF-8; rename it")
    for split, classes in splits.items():
        if set(classes) != set(first):
            only = sorted(set(classes) ^ set(first))
            raise DataError(
                f"the classes of {split_folders[split]} are not those of {split_folders['train']}: "
                f"{name_some(only)} {'is' if len(only) == 1 else 'are'} in one of them only"
            )
    return splits, problems


def _find_splits(folder: Path, folders: list[Path]) -> dict[str, Path] | None:
    """Return the split folders, or None if the folders are the classes themselves."""
    named = [place for place in folders if place.name.lower() in SPLIT_FOLDERS]
    # Folders of that name which hold images directly are classes that happen to be so called.
    divided = [place for place in named if _list(place)[0]]
    if not divided:
        return None
    if len(divided) < len(named):
        flat = next(place for place in named if place not in divided)
        raise DataError(
            f"{divided[0]} holds folders, {flat} holds none; expected a folder of images for each "
            "class in every split: move the other elsewhere"
        )
    if len(named) < len(folders):
        others = [place.name for place in folders if place not in named]
        raise DataError(
            f"{folder} holds both split folders ({name_some([place.name for place in named])}) and "
            f"others ({name_some(others)}); move one kind elsewhere"
        )
    found: dict[str, Path] = {}
    for place in named:
        split = SPLIT_FOLDERS[place.name.lower()]
        if split in found:
            raise DataError(f"{found[split]} and {place} are both the {split} split")
        found[split] = place
    if "train" not in found:
        raise DataError(f"{folder} has a folder {named[0].name} but no folder train")
    return {split: found[split] for split in ("train", "validation", "test") if split in found}


def _scan_classes(folder: Path, problems: list[Problem]) -> dict[str, list[str]]:
    folders, files = _list(folder)
    if not folders:
        raise _no_classes(folder)
    stray = [str(path) for path in files if _may_be_image(path)]
    if stray:
        problems.append(
            Problem(
                "stray-image",
                "warning",
                f"not used, since in no class folder but in {folder} itself: "
                f"{counted(len(stray), 'image')}, {name_some(stray)}",
                tuple(stray),
            )
        )
    others: list[str] = []
    classes = {}
    for place in folders:
        images: list[str] = []
        for path in _walk(place, set()):
            (images if _may_be_image(path) else others).append(str(path))
        classes[place.name] = images
    if others:
        problems.append(
            Problem(
                "not-an-image",
                "warning",
                f"not used, since not an image: {counted(len(others), 'file')} in {folder}, "
                f"{name_some(others)}",
                tuple(others),
            )
        )
    return classes


def _list(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the visible folders and files directly in a folder, sorted by name."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except FileNotFoundError as error:
        raise DataError(f"there is no folder {folder}") from error
    except NotADirectoryError as error:
        raise DataError(
            f"{folder} is a file; expected a folder that holds a folder of images for each class"
        ) from error
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror or error}") from error
    visible = [path for path in entries if not _is_clutter(path.name)]
    folders = [path for path in visible if path.is_dir()]
    return folders, [path for path in visible if path not in set(folders)]


def _walk(folder: Path, above: set[str]) -> list[Path]:
    """Return all visible files in a folder and below it; a link to a folder above ends there."""
    place = os.path.realpath(folder)
    if place in above:
        return []
    folders, files = _list(folder)
    for inner in folders:
        files.extend(_walk(inner, above | {place}))
    return files


def _is_clutter(name: str) -> bool:
    return name.startswith(".") or name.lower() in _CLUTTER


def _may_be_image(path: Path) -> bool:
    """Whether a file is named as an image, or is one whatever its name."""
    if path.suffix.lower() in _IMAGE_SUFFIXES:
        return True
    try:
        with careful_pillow():
            read_header(path)
    except Exception:  # Pillow's readers raise nearly anything on foreign files.
        return False
    return True


def _no_classes(folder: Path) -> DataError:
    _, files = _list(folder)
    if not files:
        return DataError(f"the folder {folder} is empty")
    if any(_may_be_image(path) for path in files):
        return DataError(
            f"{folder} holds images but no class folders; expected one folder of images a class"
        )
    return DataError(f"{folder} holds no class folders; expected one folder of images a class")
