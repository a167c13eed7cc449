"""The IDX format of MNIST and its kin, read strictly."""

import gzip
import os
import struct
import zlib
from pathlib import Path

import numpy as np

from recipes.errors import DataError

_UNSIGNED_BYTE = 0x08
# Other spellings than these are not guessed at.
_PREFIXES = {"train": ("train",), "validation": ("validation", "val"), "test": ("t10k", "test")}
_NAME_FILES = ("class_names.txt", "labels.txt")


def read_idx(path: str | os.PathLike, dimensions: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, plain or gzipped (told by its first bytes).

    The format: two zero bytes, the type (8 for unsigned bytes), the number of dimensions, each
    dimension as a big-endian 32-bit integer, then the values in C order and nothing after.

    Args:
        path: The file.
        dimensions: The number of dimensions expected: 3 for grey images, 1 for labels.

    Returns:
        uint8 array.

    Raises:
        DataError: If the file cannot be read, or is not exactly such a file.

    Source:
        LeCun, Cortes and Burges, "The MNIST database of handwritten digits".
    """
    data = _read_bytes(Path(path))
    header = 4 + 4 * dimensions
    if len(data) < header or data[:3] != bytes([0, 0, _UNSIGNED_BYTE]) or data[3] != dimensions:
        raise DataError(
            f"{path} is not an IDX file of {dimensions}-dimensional unsigned bytes: expected it to "
            f"begin with {bytes([0, 0, _UNSIGNED_BYTE, dimensions]).hex()}, it begins with "
            f"{data[:4].hex() or 'nothing'}"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    # Python integers: a forged header must not overflow the product.
    expected = header
    size = 1
    for length in shape:
        size *= length
    expected += size
    if len(data) != expected:
        raise DataError(
            f"{path} says that its shape is {shape}, which takes {expected} bytes, but it has "
            f"{len(data)}: the file is {'truncated' if len(data) < expected else 'too long'}"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def read_idx_folder(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the splits of a folder of IDX files.

    File names as MNIST has them: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
    `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, each plain or with `.gz`, also with a dot
    for the second hyphen (`train-images.idx3-ubyte`); `test` for `t10k`; and `validation`.

    Returns:
        For each split found: images uint8 `(n, height, width)` and labels uint8 `(n,)`.

    Raises:
        DataError: If there is no training split, a file has no partner, or the counts differ.
    """
    splits = {}
    for split, prefixes in _PREFIXES.items():
        for prefix in prefixes:
            images = _find(folder, prefix, "images", 3)
            labels = _find(folder, prefix, "labels", 1)
            if images is None and labels is None:
                continue
            if images is None or labels is None:
                have, lack = (images, "labels") if labels is None else (labels, "images")
                raise DataError(f"{have} has no file of {lack} beside it")
            splits[split] = _read_pair(images, labels)
            break
    if "train" not in splits:
        raise DataError(
            f"{folder} has no train-images-idx3-ubyte and train-labels-idx1-ubyte (plain or .gz)"
        )
    return splits


def read_names(folder: Path) -> list[str] | None:
    """Return the class names in `class_names.txt` or `labels.txt` of a folder, one a line."""
    for name in _NAME_FILES:
        path = folder / name
        if path.is_file():
            return read_name_file(path)
    return None


def read_name_file(path: str | os.PathLike) -> list[str]:
    """Return the class names in a text file, one a line; blank lines at the end do not count.

    Nor does white space around a name, or the byte-order mark that Windows writes.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
        return [line.strip() for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the class names in {path}: {reason}") from error


def _read_pair(images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images but {labels_path} holds {len(labels)} labels"
        )
    return images, labels


def _find(folder: Path, prefix: str, kind: str, dimensions: int) -> Path | None:
    for separator in "-.":
        for suffix in ("", ".gz"):
            path = folder / f"{prefix}-{kind}{separator}idx{dimensions}-ubyte{suffix}"
            if path.is_file():
                return path
    return None


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a truncated or damaged gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
