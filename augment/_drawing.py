"""Drawing of contact sheets with Pillow alone."""

import dataclasses
import textwrap

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP = 8
_TEXT_SIZE = 12
_LINE = 16
_TITLE_SIZE = 13
_TITLE_LINE = 18
_PAPER = (255, 255, 255)
_INK = (32, 32, 32)
_FAINT = (110, 110, 110)
# Longest side of an image on the sheet, in pixels, where no scale is asked for.
_SMALL, _LARGE = 128, 256
# Columns of text are at least as wide as most class names.
_NARROWEST = 72


@dataclasses.dataclass(frozen=True)
class Tile:
    """One image of a sheet.

    Attributes:
        image: uint8 `(height, width, channels)` with 1, 3 or 4 channels.
        caption: Lines of text below it.
    """

    image: np.ndarray
    caption: str = ""


def draw_sheet(rows, column_titles, title="", scale=None):
    """Return a sheet of tiles as an RGB picture.

    Args:
        rows: Lists of `Tile`s, equally long.
        column_titles: A text for each column.
        title: Text above everything; lines that are too long are folded.
        scale: Factor of the size of the images, or `None` for one that suits their size.
    """
    pictures = [
        [_picture(tile.image, scale or _suitable_scale(tile, row)) for tile in row] for row in rows
    ]
    widths = [max(_NARROWEST, *(row[at].width for row in pictures)) for at in range(len(rows[0]))]
    small, large = ImageFont.load_default(_TEXT_SIZE), ImageFont.load_default(_TITLE_SIZE)
    captions = [
        [_fit(line, small, width) for line in _printable(tile.caption).splitlines()]
        for row in rows
        for tile, width in zip(row, widths, strict=True)
    ]
    captions = [captions[at : at + len(widths)] for at in range(0, len(captions), len(widths))]
    whole_width = sum(widths) + _GAP * (len(widths) + 1)
    title_lines = _folded(_printable(title), large, whole_width - 2 * _GAP)
    heights = [
        max(picture.height for picture in row) + _LINE * max(len(lines) for lines in texts)
        for row, texts in zip(pictures, captions, strict=True)
    ]
    head = _GAP + _TITLE_LINE * len(title_lines) + _GAP + _LINE
    whole_height = head + sum(heights) + _GAP * (len(heights) + 1) - _GAP // 2

    sheet = Image.new("RGB", (whole_width, whole_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, line in enumerate(title_lines):
        draw.text((_GAP, _GAP + place * _TITLE_LINE), line, fill=_INK, font=large)
    lefts = [_GAP * (at + 1) + sum(widths[:at]) for at in range(len(widths))]
    for left, width, text in zip(lefts, widths, column_titles, strict=True):
        draw.text((left, head - _LINE), _fit(text, small, width), fill=_FAINT, font=small)
    top = head + _GAP // 2
    for row, texts, height in zip(pictures, captions, heights, strict=True):
        for left, picture, lines in zip(lefts, row, texts, strict=True):
            sheet.paste(picture, (left, top))
            for place, line in enumerate(lines):
                below = top + picture.height + 1 + place * _LINE
                draw.text((left, below), line, fill=_INK, font=small)
        top += height + _GAP
    return sheet


def _suitable_scale(tile, row):
    """Return a scale for a tile: a whole number for small images, results as large as theirs."""
    first, longest = max(row[0].image.shape[:2]), max(tile.image.shape[:2])
    shown = _LARGE if first > _LARGE else first * max(1, round(_SMALL / first))
    return shown / longest


def _picture(image, scale):
    """Return an image as a Pillow one of mode RGB, resized."""
    if image.shape[2] == 1:
        picture = Image.fromarray(image[..., 0]).convert("RGB")
    elif image.shape[2] == 4:
        clear = Image.fromarray(image)
        picture = Image.new("RGB", clear.size, _PAPER)
        picture.paste(clear, mask=clear)
    else:
        picture = Image.fromarray(image)
    if scale == 1:
        return picture
    size = [max(1, round(side * scale)) for side in picture.size]
    # Enlarged pixels stay pixels; reduced ones are averaged.
    filtering = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    return picture.resize(size, filtering)


def _printable(text):
    """Return text that the font can draw: Pillow's plain one knows Latin letters only."""
    if isinstance(ImageFont.load_default(), ImageFont.FreeTypeFont):
        return str(text)
    return str(text).encode("latin-1", "replace").decode("latin-1")


def _fit(text, font, width):
    """Return the text, or as much of its beginning as fits, and an ellipsis."""
    if font.getlength(text) <= width:
        return text
    for end in range(len(text) - 1, 0, -1):
        shorter = text[:end].rstrip() + "..."
        if font.getlength(shorter) <= width:
            return shorter
    return "..."


def _folded(text, font, width):
    """Return the lines of a text, folded at words where they are too long."""
    lines = []
    for line in text.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        letters = max(10, int(len(line) * width / max(1, font.getlength(line))))
        lines += textwrap.wrap(line, letters, subsequent_indent=indent + "    ") or [""]
    return lines
