"""Every kind of image file, against pixels computed without Pillow's conversions."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from recipes.data import read_image
from recipes.errors import DataError

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (9, 14), np.uint8)
RGB = RNG.integers(0, 256, (9, 14, 3), np.uint8)
ALPHA = RNG.integers(0, 256, (9, 14), np.uint8)
WIDE = RNG.integers(0, 65536, (9, 14), np.uint16)


def over_white(colour, alpha):
    share = alpha[..., None] / 255.0
    return np.rint(colour * share + 255.0 * (1 - share)).astype(np.uint8)


def save(image, suffix, **options):
    file = io.BytesIO()
    image.save(file, suffix, **options)
    file.seek(0)
    return file


def palette_image(transparency=None):
    image = Image.frombytes("P", (14, 9), (GREY % 4).tobytes())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


PALETTE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]], np.uint8)[GREY % 4]
PALETTE_CLEAR = np.where((GREY % 4 == 1)[..., None], 255, PALETTE).astype(np.uint8)


def cmyk():
    ink = RNG.integers(0, 256, (9, 14, 4), np.uint8)
    paper = (255 - ink[..., :3].astype(float)) * (255 - ink[..., 3:]) / 255
    return Image.frombytes("CMYK", (14, 9), ink.tobytes()), np.rint(paper)


CMYK, CMYK_RGB = cmyk()
BILEVEL = (GREY > 127).astype(np.uint8) * 255

# name: file, expected pixels (height, width[, 3]), tolerance in levels
CASES = {
    "grey png": (save(Image.fromarray(GREY), "PNG"), GREY, 0),
    "rgb png": (save(Image.fromarray(RGB), "PNG"), RGB, 0),
    "rgb bmp": (save(Image.fromarray(RGB), "BMP"), RGB, 0),
    "rgb tiff": (save(Image.fromarray(RGB), "TIFF"), RGB, 0),
    "ppm": (save(Image.fromarray(RGB), "PPM"), RGB, 0),
    "lossless webp": (save(Image.fromarray(RGB), "WEBP", lossless=True), RGB, 0),
    "rgba png": (
        save(Image.fromarray(np.dstack([RGB, ALPHA])), "PNG"),
        over_white(RGB, ALPHA),
        0,
    ),
    "rgba webp": (
        save(Image.fromarray(np.dstack([RGB, ALPHA])), "WEBP", lossless=True, exact=True),
        over_white(RGB, ALPHA),
        0,
    ),
    "grey and alpha": (
        save(Image.fromarray(np.dstack([GREY, ALPHA])), "PNG"),
        over_white(GREY[..., None], ALPHA)[..., 0],
        0,
    ),
    "palette png": (save(palette_image(), "PNG"), PALETTE, 0),
    "palette png, one clear colour": (save(palette_image(1), "PNG"), PALETTE_CLEAR, 0),
    "palette png, alpha table": (
        save(palette_image(bytes([255, 0, 128, 255])), "PNG"),
        over_white(PALETTE, np.array([255, 0, 128, 255])[GREY % 4]),
        0,
    ),
    "gif": (save(palette_image(), "GIF"), PALETTE, 0),
    "gif, clear": (save(palette_image(1), "GIF", transparency=1), PALETTE_CLEAR, 0),
    "rgb png, one clear colour": (
        save(Image.fromarray(RGB), "PNG", transparency=tuple(map(int, RGB[2, 3]))),
        np.where((RGB[2, 3] == RGB).all(-1, keepdims=True), 255, RGB),
        0,
    ),
    "grey png, one clear level": (
        save(Image.fromarray(GREY), "PNG", transparency=int(GREY[2, 3])),
        np.where(GREY[2, 3] == GREY, 255, GREY),
        0,
    ),
    "1-bit png": (save(Image.fromarray(BILEVEL).convert("1"), "PNG"), BILEVEL, 0),
    "1-bit tiff": (save(Image.fromarray(BILEVEL).convert("1"), "TIFF"), BILEVEL, 0),
    "16-bit png": (save(Image.fromarray(WIDE), "PNG"), np.rint(WIDE / 257.0), 0),
    "16-bit tiff": (save(Image.fromarray(WIDE), "TIFF"), np.rint(WIDE / 257.0), 0),
    "32-bit tiff": (
        save(Image.fromarray(WIDE.astype(np.int32)), "TIFF"),
        np.rint(WIDE / 257.0),
        0,
    ),
    "float tiff in [0, 1]": (
        save(Image.fromarray((WIDE / 65535).astype(np.float32)), "TIFF"),
        np.rint(WIDE / 257.0),
        1,
    ),
    "float tiff in [0, 255]": (
        save(Image.fromarray(GREY.astype(np.float32)), "TIFF"),
        GREY,
        0,
    ),
    # Pillow multiplies the inks in integers, so it may differ by a level.
    "cmyk tiff": (save(CMYK, "TIFF"), CMYK_RGB, 1),
    "animated gif": (
        save(
            palette_image(),
            "GIF",
            save_all=True,
            append_images=[Image.new("P", (14, 9), 2)],
        ),
        PALETTE,
        0,
    ),
    "animated webp": (
        save(
            Image.fromarray(RGB),
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[Image.new("RGB", (14, 9), "red")],
        ),
        RGB,
        0,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_formats(case):
    file, expected, tolerance = CASES[case]
    expected = np.asarray(expected, float)
    file.seek(0)
    pixels = read_image(file, image_shape=(9, 14, 3))
    assert pixels.dtype == np.uint8
    if expected.ndim == 2:
        expected = np.repeat(expected[..., None], 3, axis=2)
    np.testing.assert_allclose(pixels.astype(float), expected, atol=tolerance)
    # ITU-R 601 luma of the same pixels.
    file.seek(0)
    grey = read_image(file, image_shape=(9, 14, 1))
    luma = pixels.astype(float) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(grey[..., 0].astype(float), luma, atol=1)


# A picture of which every corner differs, as stored under each EXIF orientation.
UPRIGHT = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT.T[::-1],  # to be turned clockwise
    7: UPRIGHT.T[::-1, ::-1],
    8: UPRIGHT.T[:, ::-1],
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_exif_orientation(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation])).convert("RGB")
    file = save(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    pixels = read_image(file, image_shape=(2, 3, 1))
    np.testing.assert_array_equal(pixels[..., 0], UPRIGHT)


def test_broken_exif_does_not_matter():
    file = save(Image.fromarray(RGB), "PNG", exif=b"Exif\x00\x00nonsense")
    np.testing.assert_array_equal(read_image(file, image_shape=(9, 14, 3)), RGB)


def halves(height, width, channels=3):
    """Left third black, the rest white."""
    pixels = np.full((height, width, channels), 255, np.uint8)
    pixels[:, : width // 3] = 0
    return pixels


def test_fits():
    file = save(Image.fromarray(halves(30, 90)), "PNG")

    def row(fit):
        file.seek(0)
        return read_image(file, image_shape=(10, 10, 1), fit=fit)[..., 0]

    # The middle 30x30 of 30x90 is all white (the filter sees a little beyond its edge); a third of
    # the whole is black.
    assert (row("crop")[:, 1:] == 255).all()
    assert row("crop").min() > 200
    stretched = row("stretch")[5]
    assert stretched[:3].max() == 0
    assert stretched[4:].min() == 255
    padded = row("pad")
    assert (padded[:3] == 0).all()
    assert (padded[-4:] == 0).all()
    assert (padded[3:6, 4:] == 255).all()


def test_reduction_is_antialiased():
    # Stripes of one pixel: a reduction without filter would keep only one colour.
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    pixels = read_image(save(Image.fromarray(stripes), "PNG"), image_shape=(8, 8, 1))
    assert abs(pixels.astype(float).mean() - 127.5) < 2
    assert pixels.std() < 8


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_large_jpeg_is_decoded_smaller_to_the_same_picture(fit, orientation):
    ramp = np.linspace(0, 255, 1600)[None, :] * np.linspace(0.2, 1, 800)[:, None]
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.fromarray(ramp.astype(np.uint8))
    jpeg = save(picture, "JPEG", quality=95, exif=exif)
    png = save(picture, "PNG", exif=exif)
    small = read_image(jpeg, image_shape=(40, 40, 1), fit=fit)
    reference = read_image(png, image_shape=(40, 40, 1), fit=fit)
    np.testing.assert_allclose(small.astype(float), reference.astype(float), atol=4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"])
def test_truncated(kind, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    data = save(Image.fromarray(pixels), kind).getvalue()
    path = tmp_path / f"half.{kind.lower()}"
    path.write_bytes(data[: len(data) // 2])
    # Another library's setting must not turn half an image into grey.
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match=r"cannot read the image .*half"):
        read_image(path, image_shape=(64, 64, 3))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"no image at all", "not an image of a known format"),
        (save(Image.fromarray(np.full((3, 3), -1.0, np.float32)), "TIFF").getvalue(), "float"),
        (save(Image.fromarray(np.full((3, 3), np.nan, np.float32)), "TIFF").getvalue(), "float"),
        (save(Image.fromarray(np.full((3, 3), 70000, np.int32)), "TIFF").getvalue(), "70000"),
    ],
)
def test_unreadable(content, reason, tmp_path):
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_image(path, image_shape=(3, 3, 1))


def test_missing_folder_and_bomb(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "none.png", image_shape=(3, 3, 1))
    with pytest.raises(DataError, match="it is a folder"):
        read_image(tmp_path, image_shape=(3, 3, 1))
    path = tmp_path / "big.png"
    Image.fromarray(RGB).save(path)
    for limit in (100, 20):  # Over Pillow's warning, and over its error at twice the limit.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match="pixels"):
            read_image(path, image_shape=(3, 3, 1))


def test_damaged_header_with_an_absurd_length(tmp_path):
    path = tmp_path / "long.pgm"
    path.write_bytes(b"P5 70000 1 255\n" + bytes(70000))
    with pytest.raises(DataError, match="1x70000 pixels are not the size"):
        read_image(path, image_shape=(3, 3, 1))


def test_unknown_fit(tmp_path):
    with pytest.raises(DataError, match="fit must be one of crop, stretch, pad"):
        read_image(tmp_path, image_shape=(3, 3, 1), fit="zoom")
