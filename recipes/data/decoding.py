"""One image file to one uint8 array, the way a person sees the picture."""

import contextlib
import functools
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from recipes.errors import DataError

FITS = ("crop", "stretch", "pad")
# Only formats with a firm signature, and none that starts another program to decode.
_FORMATS = ("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF")
_LONGEST_SIDE = 65535  # No JPEG is longer; a damaged header of another format may say anything.
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GREY_MODES = ("1", "L", "LA", "La", "F")


def read_image(
    path_or_file: str | os.PathLike | BinaryIO,
    *,
    image_shape: tuple[int, int, int],
    fit: str = "crop",
) -> np.ndarray:
    """Read one image as training reads it.

    EXIF rotation is applied; alpha and palette transparency are laid over white; 16-bit grey is
    scaled by 1/257, not clipped; of an animation the first frame is taken. Resizing is
    antialiased (Pillow's bilinear filter, whose support grows with the reduction).

    Args:
        path_or_file: An image file, or an open binary file.
        image_shape: `(height, width, channels)` of the result; channels 1 (grey, ITU-R 601 luma)
            or 3 (RGB).
        fit: `"crop"` fills the shape and cuts what stands out, centred; `"stretch"` changes the
            proportions; `"pad"` shows the whole picture, centred on black.

    Returns:
        uint8 array `(height, width, channels)`.

    Raises:
        DataError: If the file is missing, is not an image, is truncated, or is too large.

    Example:
        >>> read_image("cat.jpg", image_shape=(224, 224, 3)).shape  # doctest: +SKIP
        (224, 224, 3)
    """
    height, width, channels = image_shape
    if fit not in FITS:
        raise DataError(f"fit must be one of {', '.join(FITS)}, received: {fit!r}")
    name = str(getattr(path_or_file, "name", path_or_file))
    with careful_pillow():
        try:
            if hasattr(path_or_file, "read"):
                data = path_or_file.read()
            else:
                data = Path(path_or_file).read_bytes()
            pixels = fit_image(open_upright(data, (height, width), fit), (height, width), fit)
        except Exception as error:  # Pillow's readers raise nearly anything on broken files.
            raise DataError(f"cannot read the image {name}: {explain(error)}") from error
    return to_channels(pixels, channels)


@contextlib.contextmanager
def careful_pillow() -> Iterator[None]:
    """Make Pillow refuse truncated files and keep its warnings off the screen, for a while.

    Another library may have set `LOAD_TRUNCATED_IMAGES`, with which half an image is padded with
    grey in silence. The setting and the warning filters belong to the process, so this is entered
    once around a pass over many files, not in its threads.
    """
    tolerant = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"PIL\.")
            # Images between Pillow's two limits are refused by our own check of the header.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = tolerant


def open_upright(
    data: bytes, size: tuple[int, int] | None = None, fit: str = "crop"
) -> Image.Image:
    """Decode a file's bytes to an upright 8-bit image of mode `L` or `RGB`.

    Args:
        data: The whole file.
        size: `(height, width)` that the image will be fitted to. A JPEG much larger than that is
            decoded at 1/2, 1/4 or 1/8 scale, never under twice the size.
        fit: How it will be fitted.

    Raises:
        Exception: Whatever Pillow raises for a file that it cannot decode in full.
    """
    if not data:
        raise OSError("empty file")
    with _open(io.BytesIO(data)) as image:
        if size is not None:
            _decode_smaller(image, size, fit)
        image.load()
        # After loading: a TIFF turns itself, and then says that it is upright.
        turn = _TURNS.get(_orientation(image))
        upright = image.transpose(turn) if turn is not None else image
        # Transposing drops nothing that is needed, but keeps the transparency in `info`.
        return _to_eight_bits(upright)


def read_header(path: str | os.PathLike) -> tuple[int, int, bool]:
    """Return `(height, width, is_grey)` of an image file without decoding its pixels.

    The size is that of the upright picture. `is_grey` says that the format holds no colour.

    Raises:
        Exception: Whatever Pillow raises for a file that it cannot open.
    """
    if os.path.getsize(path) == 0:
        raise OSError("empty file")
    with open(path, "rb") as file, _open(file) as image:
        width, height = image.size
        # A TIFF's size is already that of the upright picture.
        if _orientation(image) >= 5 and image.format != "TIFF":
            width, height = height, width
        return height, width, image.mode in _GREY_MODES or image.mode.startswith("I")


def explain(error: Exception) -> str:
    """Return in a few words why a file could not be read."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image of a known format"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "it is a folder"
    if isinstance(error, PermissionError):
        return "permission denied"
    text = (str(error) or type(error).__name__).strip().splitlines()[0]
    return "truncated" if "truncated" in text.lower() else text


def fit_image(image: Image.Image, size: tuple[int, int], fit: str) -> np.ndarray:
    """Resize an `L` or `RGB` image to `(height, width)`; give uint8 `(height, width, 1 or 3)`."""
    height, width = size
    if image.size != (width, height):
        if fit == "pad":
            image = _pad(image, size)
        else:
            image = image.resize(
                (width, height),
                Image.Resampling.BILINEAR,
                box=_crop_box(image.size, size) if fit == "crop" else None,
                reducing_gap=3.0,
            )
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., np.newaxis]


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Give uint8 images `(..., 1 or 3)` the asked number of channels, 1 or 3."""
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    # ITU-R 601-2 luma in 16-bit fixed point, as Pillow computes it; exact where R = G = B.
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    return luma.astype(np.uint8)[..., np.newaxis]


def over_white(pixels: np.ndarray) -> np.ndarray:
    """Lay uint8 images with alpha `(..., 2 or 4)` over white; give `(..., 1 or 3)`, rounded."""
    colour = pixels[..., :-1].astype(np.uint16)
    alpha = pixels[..., -1:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def is_grey(pixels: np.ndarray) -> bool:
    """Whether an image `(..., 1 or 3)` shows no colour: red, green and blue are equal."""
    if pixels.shape[-1] == 1:
        return True
    first = pixels[..., 0]
    return bool(np.array_equal(first, pixels[..., 1]) and np.array_equal(first, pixels[..., 2]))


@functools.cache
def _formats() -> tuple[str, ...]:
    """Return the formats of ours that this Pillow was built with."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _open(file: BinaryIO) -> Image.Image:
    try:
        image = Image.open(file, formats=_formats())
    except Image.DecompressionBombError as error:
        raise OSError("too many pixels to be a plausible photograph") from error
    limit = Image.MAX_IMAGE_PIXELS
    width, height = image.size
    if max(width, height) > _LONGEST_SIDE:
        raise OSError(f"{height}x{width} pixels are not the size of a plausible picture")
    if limit is not None and width * height > limit:
        raise OSError(f"{height}x{width} pixels are more than Pillow's limit of {limit}")
    return image


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 where it is absent, foreign or broken."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # A broken EXIF block does not make the picture unusable.
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _decode_smaller(image: Image.Image, size: tuple[int, int], fit: str) -> None:
    """Ask the JPEG decoder for the smallest scale of at least twice the fitted size."""
    height, width = size
    if _orientation(image) >= 5:
        height, width = width, height
    across, down = image.size[0] / width, image.size[1] / height
    if fit != "stretch":
        across = down = min(across, down) if fit == "crop" else max(across, down)
    wanted = (2 * image.size[0] / across, 2 * image.size[1] / down)
    image.draft(None, (max(1, round(wanted[0])), max(1, round(wanted[1]))))


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Turn any mode into `L` or `RGB`."""
    mode = image.mode
    if mode.startswith("I"):
        return _from_integers(np.asarray(image))
    if mode == "F":
        return _from_floats(np.asarray(image))
    if "transparency" in image.info or mode in ("LA", "La", "PA", "RGBA", "RGBa"):
        with_alpha = image.convert("LA" if mode in ("1", "L", "LA", "La") else "RGBA")
        flat = over_white(np.asarray(with_alpha))
        return Image.fromarray(flat[..., 0] if flat.shape[-1] == 1 else flat)
    if mode in ("1", "L"):
        return image.convert("L")
    return image.convert("RGB")


def _from_integers(values: np.ndarray) -> Image.Image:
    """Scale 16-bit grey (also where Pillow holds it in 32 bits) to 8 bits, rounded."""
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise ValueError(f"integer pixels from {low} to {high}; expected 0 to 65535")
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _from_floats(values: np.ndarray) -> Image.Image:
    """Scale floating-point grey in [0, 1], or round it in [0, 255]; refuse any other range."""
    low, high = float(values.min()), float(values.max())
    # NaN fails this comparison as well.
    if not (low >= 0 and high <= 255):
        raise ValueError(f"float pixels from {low:g} to {high:g}; expected [0, 1] or [0, 255]")
    scaled = values * (255.0 if high <= 1 else 1.0)
    return Image.fromarray(np.rint(scaled).astype(np.uint8))


def _crop_box(have: tuple[int, int], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return the largest centred box of the target's proportions: left, top, right, bottom."""
    height, width = size
    scale = min(have[0] / width, have[1] / height)
    left, top = (have[0] - width * scale) / 2, (have[1] - height * scale) / 2
    return max(left, 0.0), max(top, 0.0), min(have[0] - left, have[0]), min(have[1] - top, have[1])


def _pad(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    scale = min(width / image.size[0], height / image.size[1])
    inner = (max(1, round(image.size[0] * scale)), max(1, round(image.size[1] * scale)))
    small = image.resize(inner, Image.Resampling.BILINEAR, reducing_gap=3.0)
    canvas = Image.new(image.mode, (width, height))
    canvas.paste(small, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return canvas
