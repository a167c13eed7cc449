"""Images as a source holds them, before they get their final size: arrays or files."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.data.decoding import (
    careful_pillow,
    explain,
    fit_image,
    is_grey,
    open_upright,
    read_header,
    to_channels,
)
from recipes.data.progress import Progress
from recipes.errors import DataError
from recipes.hardware import usable_cores

_CHUNK = 32  # Images a task of the thread pool: large enough to make its overhead small.


@dataclasses.dataclass
class Decoded:
    """What a pass over all images of a collection gives.

    Attributes:
        images: uint8 `(n, height, width, channels)`, or None if they were not to be kept.
        grey: bool `(n,)`, whether the image shows no colour.
        contents: A digest an image of what was stored: it does not depend on the library that
            decodes.
        pixels: A digest an image of the decoded picture, before it is resized: equal for copies of
            one image.
        errors: Index to reason, for each image that cannot be used; its other values are void.
    """

    images: np.ndarray | None
    grey: np.ndarray
    contents: list[bytes]
    pixels: list[bytes]
    errors: dict[int, str]


class ArrayImages:
    """Images of one size in one array.

    Args:
        array: uint8 `(n, height, width, 1 or 3)`.
        split: Name of the split, for the names of the images.
    """

    paths = None

    def __init__(self, array: np.ndarray, split: str):
        self.array = array
        self.split = split

    def __len__(self):
        return len(self.array)

    def name(self, index: int) -> str:
        """Return what to call an image in a message."""
        return f"{self.split}[{index}]"

    def measure(self) -> tuple[np.ndarray, bool, dict[int, str]]:
        """Return sizes int64 `(n, 2)`, whether the format is grey, and no errors."""
        size = np.array(self.array.shape[1:3], np.int64)
        return np.broadcast_to(size, (len(self), 2)), self.array.shape[-1] == 1, {}

    def decode(self, size, fit, *, channels, keep, skip, progress) -> Decoded:
        """Resize all images; see `FileImages.decode`."""
        digests = [_digest(image) for image in self.array]
        grey = np.fromiter(map(is_grey, self.array), bool, len(self))
        images = None
        if keep:
            images = self.array
            if images.shape[1:3] != tuple(size):
                fitted = [fit_image(as_pillow(image), size, fit) for image in images]
                images = np.stack(fitted) if fitted else np.zeros((0, *size, 1), np.uint8)
            images = to_channels(images, channels)
        return Decoded(images, grey, digests, digests, {})


class RaggedImages:
    """Images of several sizes in memory.

    Args:
        arrays: uint8, each `(height, width, 1 or 3)`.
        split: Name of the split, for the names of the images.
    """

    paths = None

    def __init__(self, arrays: Sequence[np.ndarray], split: str):
        self.arrays = arrays
        self.split = split

    def __len__(self):
        return len(self.arrays)

    def name(self, index: int) -> str:
        """Return what to call an image in a message."""
        return f"{self.split}[{index}]"

    def measure(self) -> tuple[np.ndarray, bool, dict[int, str]]:
        """Return sizes int64 `(n, 2)`, whether all arrays have one channel, and no errors."""
        sizes = np.array([array.shape[:2] for array in self.arrays], np.int64).reshape(-1, 2)
        return sizes, all(array.shape[-1] == 1 for array in self.arrays), {}

    def decode(self, size, fit, *, channels, keep, skip, progress) -> Decoded:
        """Resize all images; see `FileImages.decode`."""
        images = np.empty((len(self), *size, channels), np.uint8) if keep else None
        if keep:
            for index, array in enumerate(self.arrays):
                images[index] = to_channels(fit_image(as_pillow(array), size, fit), channels)
        digests = [_digest(array) for array in self.arrays]
        grey = np.fromiter(map(is_grey, self.arrays), bool, len(self))
        return Decoded(images, grey, digests, digests, {})


class FileImages:
    """Images in files, decoded by a pool of threads (Pillow works outside Python's lock).

    Args:
        paths: The files.
    """

    def __init__(self, paths: Sequence[str]):
        self.paths = tuple(paths)

    def __len__(self):
        return len(self.paths)

    def name(self, index: int) -> str:
        """Return what to call an image in a message."""
        return self.paths[index]

    def measure(self) -> tuple[np.ndarray, bool, dict[int, str]]:
        """Read all headers.

        Returns:
            Sizes int64 `(n, 2)`, zeros where the header cannot be read; whether no header that can
            be read tells of colour; index to reason for the others.
        """
        sizes = np.zeros((len(self), 2), np.int64)
        colour = np.zeros(len(self), bool)
        errors: dict[int, str] = {}

        def measure_one(index):
            try:
                height, width, grey = read_header(self.paths[index])
            except Exception as error:  # Pillow's readers raise nearly anything on broken files.
                errors[index] = _explain_file(self.paths[index], error)
            else:
                sizes[index] = height, width
                colour[index] = not grey

        _for_each(measure_one, range(len(self)), None)
        return sizes, not colour.any(), errors

    def decode(self, size, fit, *, channels, keep, skip, progress) -> Decoded:
        """Decode every file in full.

        Args:
            size: `(height, width)` of the result.
            fit: How another aspect ratio is met.
            channels: Of the result: 1 or 3.
            keep: Whether to keep the images, or only to look whether they can be read.
            skip: Indices not to touch; they are known to be unreadable.
            progress: Called with the number of images done and to do, or None.
        """
        images = np.zeros((len(self), *size, channels), np.uint8) if keep else None
        grey = np.ones(len(self), bool)
        contents, pixels = [b""] * len(self), [b""] * len(self)
        errors: dict[int, str] = {}

        def decode_one(index):
            try:
                data = Path(self.paths[index]).read_bytes()
                picture = open_upright(data, size, fit)
                fitted = fit_image(picture, size, fit)
            except Exception as error:  # Pillow's readers raise nearly anything on broken files.
                errors[index] = explain(error)
                return
            contents[index] = hashlib.sha256(data).digest()
            pixels[index] = _digest(np.asarray(picture))
            grey[index] = is_grey(fitted)
            if images is not None:
                images[index] = to_channels(fitted, channels)

        _for_each(decode_one, [i for i in range(len(self)) if i not in skip], progress)
        return Decoded(images, grey, contents, pixels, errors)


Images = ArrayImages | RaggedImages | FileImages


def as_pillow(pixels: np.ndarray) -> Image.Image:
    """Return a uint8 array `(height, width, 1 or 3)` as a Pillow image."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def decode_file(path: str, image_shape: tuple[int, int, int], fit: str) -> np.ndarray:
    """Decode one file that a pass has already found readable; uint8 of `image_shape`.

    Raises:
        DataError: If it is no longer there, or no longer the same.
    """
    size = image_shape[:2]
    try:
        picture = open_upright(Path(path).read_bytes(), size, fit)
        return to_channels(fit_image(picture, size, fit), image_shape[2])
    except Exception as error:  # Pillow's readers raise nearly anything on broken files.
        raise DataError(
            f"cannot read the image {path}, which could be read at the start: {explain(error)}"
        ) from error


def _explain_file(path: str, error: Exception) -> str:
    if path.lower().endswith((".heic", ".heif")):
        return "Pillow cannot read HEIC: convert it to JPEG or PNG"
    return explain(error)


def _digest(pixels: np.ndarray) -> bytes:
    """Return a digest of size and pixels; a grey image has one digest in grey and in RGB."""
    if pixels.ndim == 3 and is_grey(pixels):
        pixels = pixels[..., 0]
    pixels = np.ascontiguousarray(pixels)
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()


def _for_each(function: Callable[[int], None], indices: Sequence[int], progress: Progress | None):
    """Call the function on each index, in threads; tell `progress` as chunks end."""
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]

    def run(chunk):
        for index in chunk:
            function(index)
        return len(chunk)

    done = 0
    with careful_pillow(), ThreadPoolExecutor(min(32, usable_cores())) as pool:
        try:
            for count in pool.map(run, chunks):
                done += count
                if progress is not None:
                    progress(done, len(indices))
        except BaseException:
            # Without this an interrupt would wait for all files that are still to be read.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
