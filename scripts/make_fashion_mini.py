"""Make the bundled data set fashion-mini from the whole of Fashion-MNIST.

    sudo apt-get install dataset-fashion-mnist
    python scripts/make_fashion_mini.py /usr/share/datasets/fashion-mnist

Any folder with the four files of Fashion-MNIST will do; they are told by their SHA-256. Of each
class the first 600 training images and the first 100 test images are taken, in the order of the
original files. Running it again gives the same bytes.
"""

import argparse
import gzip
import hashlib
import struct
import sys
from pathlib import Path

import numpy as np

from recipes.data.idx import read_idx
from recipes.errors import DataError
from recipes.files import atomic_path

TARGET = Path(__file__).parent.parent / "recipes" / "data" / "fashion_mini"
PER_CLASS = {"train": 600, "t10k": 100}
# Of the unpacked files, since a gzip file can be packed anew.
SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, write the files, say what was written."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds the four .gz files of Fashion-MNIST")
    parser.add_argument("--out", type=Path, default=TARGET, help="where to write")
    options = parser.parse_args(arguments)
    try:
        for path in make(options.folder, options.out):
            print(path, path.stat().st_size)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make(folder: Path, out: Path) -> list[Path]:
    """Write the four files of the subset; return their paths.

    Raises:
        DataError: If a file is missing or is not the one of Fashion-MNIST.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for split, count in PER_CLASS.items():
        images = _read(folder, f"{split}-images-idx3-ubyte", 3)
        labels = _read(folder, f"{split}-labels-idx1-ubyte", 1)
        chosen = first_of_each_class(labels, count)
        for name, values in (("images-idx3", images[chosen]), ("labels-idx1", labels[chosen])):
            path = out / f"{split}-{name}-ubyte.gz"
            with atomic_path(path) as temporary:
                temporary.write_bytes(pack(values))
            written.append(path)
    return written


def first_of_each_class(labels: np.ndarray, count: int) -> np.ndarray:
    """Return the sorted indices of the first `count` images of each class.

    Example:
        >>> first_of_each_class(np.array([1, 0, 1, 1, 0, 0]), 2).tolist()
        [0, 1, 2, 4]
    """
    return np.sort(
        np.concatenate([np.flatnonzero(labels == label)[:count] for label in np.unique(labels)])
    )


def pack(values: np.ndarray) -> bytes:
    """Return uint8 values as a gzipped IDX file, with no time stamp in it."""
    header = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
    return gzip.compress(header + values.tobytes(), compresslevel=9, mtime=0)


def _read(folder: Path, name: str, dimensions: int) -> np.ndarray:
    values = read_idx(folder / f"{name}.gz", dimensions)
    header = bytes([0, 0, 8, dimensions]) + struct.pack(f">{dimensions}I", *values.shape)
    if hashlib.sha256(header + values.tobytes()).hexdigest() != SHA256[name]:
        raise DataError(f"{folder / name}.gz is not the file of Fashion-MNIST")
    return values


if __name__ == "__main__":
    sys.exit(main())
