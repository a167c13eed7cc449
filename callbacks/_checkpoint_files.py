"""The files of a `Checkpoint`: one `.npz` each, of plain arrays and one JSON text."""

import json
import re
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np

from callbacks.files import atomic_path

# What NumPy, its zip archive and the JSON text raise for a file that is cut short or spoilt.
_SPOILT = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)
_NAME = re.compile(r"epoch-(\d+)(?:-step-(\d+))?\.npz")


class UnreadableCheckpoint(Exception):
    """A checkpoint that is cut short or spoilt."""


def checkpoint_name(epochs: int, steps: int) -> str:
    """Return the name of the file after so many finished epochs, and steps of the next.

    Example:
        >>> checkpoint_name(3, 0), checkpoint_name(3, 120)
        ('epoch-0003.npz', 'epoch-0003-step-000120.npz')
    """
    return f"epoch-{epochs:04d}{f'-step-{steps:06d}' if steps else ''}.npz"


def checkpoint_files(directory: Path) -> list[Path]:
    """Return the checkpoints of a folder, oldest first."""
    found = []
    for path in directory.glob("epoch-*.npz"):
        if match := _NAME.fullmatch(path.name):
            found.append((int(match[1]), int(match[2] or 0), path))
    return [path for _, _, path in sorted(found)]


def remove_leftovers(directory: Path) -> None:
    """Remove what a process left that was killed while it wrote a checkpoint."""
    for path in directory.glob(".epoch-*.partial.npz"):
        path.unlink(missing_ok=True)


def remove_others(newest: Path, keep: int, best: str | None) -> None:
    """Remove old checkpoints when a new one was written.

    Args:
        newest: The new one.
        keep: How many to keep, with it.
        best: Name of one to keep whatever its age, or `None`.
    """
    files = checkpoint_files(newest.parent)
    place = files.index(newest)
    for old in files[: max(0, place + 1 - keep)]:
        if old.name != best:
            old.unlink()
    # Those could not be read: what they held is being done again.
    for spoilt in files[place + 1 :]:
        spoilt.unlink()


def write_checkpoint(path: Path, values: dict, groups: dict[str, list[np.ndarray]]) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: The file.
        values: Of JSON types; NumPy numbers become plain ones.
        groups: Arrays by the name of the group, such as `"model"`.

    Raises:
        TypeError: If a value is of no JSON type.
    """
    arrays = {
        f"{group}/{index:05d}": array
        for group, members in groups.items()
        for index, array in enumerate(members)
    }
    arrays["values"] = np.array(json.dumps(values, default=_plain))
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def _plain(value):
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"a checkpoint holds JSON types and NumPy numbers, received: {value!r}")


def read_checkpoint(path: Path) -> tuple[dict, dict[str, list[np.ndarray]]]:
    """Return what `write_checkpoint` wrote: values, and arrays by group.

    Raises:
        UnreadableCheckpoint: If the file is cut short or spoilt.
    """
    groups = {}
    try:
        # Opened here, since np.load leaves a spoilt file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            values = json.loads(str(archive["values"]))
            for name in sorted(set(archive.files) - {"values"}):
                groups.setdefault(name.rpartition("/")[0], []).append(_typed(archive[name]))
    except _SPOILT as error:
        # Of what these say, some is long and misleading: NumPy takes spoilt files for pickles.
        raise UnreadableCheckpoint(type(error).__name__) from error
    return values, groups


def _typed(array):
    """Return an array of bfloat16, which NumPy reads as bytes, as what it was."""
    return array.view(ml_dtypes.bfloat16) if array.dtype == "V2" else array


def read_newest(directory: Path, say: Callable[[str], None]):
    """Return path, values and groups of the newest checkpoint that can be read, or `None`.

    Args:
        directory: The folder.
        say: Receives a line about each that cannot be read.
    """
    for path in reversed(checkpoint_files(directory)):
        try:
            return path, *read_checkpoint(path)
        except UnreadableCheckpoint as error:
            say(f"{path} cannot be read ({error}): going back to the one before")
    return None


def check_monitor(values: dict, monitor: str | None, path: Path) -> None:
    """Raise `ValueError` if a checkpoint counts another measure's epoch as the best.

    Old checkpoints do not say which.
    """
    saved = values.get("monitor")
    if saved and monitor and saved != monitor:
        raise ValueError(f"{path} keeps the best epoch by {saved!r}, received: monitor={monitor!r}")


def read_best(directory: Path, epoch: int | None, say: Callable[[str], None]):
    """Return epoch, path, values and groups of the best epoch's checkpoint, or `None`.

    Args:
        directory: The folder.
        epoch: The best, counted from 1; `None` for what the newest checkpoint says.
        say: As for `read_newest`.

    Raises:
        ValueError: If it cannot be read.
    """
    if epoch is None:
        newest = read_newest(directory, say)
        epoch = newest and newest[1]["best"][1]
    if epoch is None:
        return None
    path = directory / checkpoint_name(epoch, 0)
    try:
        return epoch, path, *read_checkpoint(path)
    except UnreadableCheckpoint as error:
        raise ValueError(f"the best checkpoint cannot be read: {path} ({error})") from error
