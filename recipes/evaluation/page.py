"""The parts an HTML page is made of: escaped elements, tables, pictures and the style sheet."""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from recipes.evaluation.style import STYLE

# Tags that have no closing tag.
_VOID = frozenset({"img", "meta", "br", "hr"})
# Characters that XML and HTML do not allow, and lone surrogates, which UTF-8 cannot encode.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LARGEST_PNG = 12_000
_PICTURE_SIDE = 160


class Markup(str):
    """Text that is HTML already and is not escaped again."""

    __slots__ = ()


def clean(value: Any) -> str:
    """Return `value` as text that a UTF-8 page may hold; forbidden characters become U+FFFD."""
    return _FORBIDDEN.sub("�", str(value))


def escape(value: Any) -> Markup:
    """Return `value` as HTML text; `Markup` is left as it is, `None` is a dash."""
    if isinstance(value, Markup):
        return value
    return Markup("–" if value is None else html.escape(clean(value), quote=True))


def tag(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """Return an element with every child and attribute escaped.

    Args:
        name: Of the element, such as `"td"`.
        children: Text, numbers, `Markup`; `None` is left out.
        attributes: A trailing underscore is dropped (`class_`), other underscores become hyphens;
            `None` and `False` are left out, `True` is an attribute without a value.

    Example:
        >>> tag("td", "a < b", class_="name")
        '<td class="name">a &lt; b</td>'
    """
    parts = [name]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(key)
        elif value is not None and value is not False:
            parts.append(f'{key}="{escape(value)}"')
    opening = f"<{' '.join(parts)}>"
    if name in _VOID:
        return Markup(opening)
    inner = "".join(escape(child) for child in children if child is not None)
    return Markup(f"{opening}{inner}</{name}>")


def join(parts: Iterable[Any], separator: str = "") -> Markup:
    """Return the parts escaped and joined; `None` is left out."""
    return Markup(separator.join(escape(part) for part in parts if part is not None))


def table(
    header: Sequence[Any], rows: Iterable[Sequence[Any]], *, text_columns: int = 1, class_: str = ""
) -> Markup:
    """Return a table that scrolls sideways where it is too wide.

    Args:
        header: One heading a column; `Markup` may be a whole `th`.
        rows: Cells; `Markup` may be a whole `td`.
        text_columns: The first so many columns hold text, the others numbers, set to the right.
        class_: Of the `table` element.
    """

    def cell(index, value):
        if isinstance(value, Markup) and value.startswith("<td"):
            return value
        if index == 0:
            return tag("th", value, scope="row")
        return tag("td", value, class_=None if index < text_columns else "number")

    def heading(index, value):
        if isinstance(value, Markup) and value.startswith("<th"):
            return value
        return tag("th", value, scope="col", class_=None if index < text_columns else "number")

    head = join(heading(index, value) for index, value in enumerate(header))
    body = join(
        tag("tr", join(cell(index, value) for index, value in enumerate(row))) for row in rows
    )
    content = tag("table", tag("thead", tag("tr", head)), tag("tbody", body), class_=class_ or None)
    return tag("div", content, class_="scroll", tabindex="0")


def definitions(rows: Iterable[tuple[str, Any]]) -> Markup:
    """Return a list of names with their values; rows without a value are left out."""
    return tag(
        "dl",
        join(
            tag("div", tag("dt", name), tag("dd", value))
            for name, value in rows
            if value is not None and value != ""
        ),
    )


def picture(pixels) -> tuple[str, bool]:
    """Return an image as a data URL, and whether it is so small that it should show its pixels.

    Lossless PNG while that is small; a photograph is reduced to 160 pixels and saved as JPEG.

    Args:
        pixels: uint8, shape `(height, width, 1 or 3)`.
    """
    from PIL import Image

    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    small = max(image.size) <= _PICTURE_SIDE // 2
    image.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE), Image.Resampling.LANCZOS)
    kind, content = "png", _encoded(image, "PNG", optimize=True)
    if len(content) > _LARGEST_PNG:
        kind, content = "jpeg", _encoded(image, "JPEG", quality=82, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}", small


def document(title: str, body: Markup, *, style: str = "") -> str:
    """Return a whole page, with the style sheet inside, and what `style` adds to it."""
    head = join(
        [
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("style", Markup(STYLE + style)),
        ],
        "\n",
    )
    content = tag("head", Markup(f"\n{head}\n")) + "\n" + tag("body", Markup(f"\n{body}\n"))
    return f'<!DOCTYPE html>\n<html lang="en">\n{content}\n</html>\n'


def _encoded(image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
