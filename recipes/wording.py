"""Words for numbers."""


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a count with its noun.

    Example:
        >>> counted(1, "image"), counted(1200, "image"), counted(3, "class", "classes")
        ('1 image', '1,200 images', '3 classes')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
