"""Numbers and shapes as short text, for the tables and pictures of models."""


def in_short(number):
    """Return a count with three digits and a unit.

    Example:
        >>> in_short(4089184256), in_short(40551), in_short(12)
        ('4.09 G', '40.6 k', '12')
    """
    for unit in ("", " k", " M", " G"):
        if abs(number) < 999.5:
            return _three_digits(number) + unit
        number /= 1000
    return _three_digits(number) + " T"


def in_bytes(number):
    """Return a number of bytes with three digits and a unit.

    Example:
        >>> in_bytes(1084392), in_bytes(512)
        ('1.03 MiB', '512 B')
    """
    for unit in ("B", "KiB", "MiB"):
        if abs(number) < 999.5:
            return f"{_three_digits(number)} {unit}"
        number /= 1024
    return f"{_three_digits(number)} GiB"


def _three_digits(number):
    if isinstance(number, int) or number >= 99.95:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"


def shape_text(shape):
    """Return a shape without its batch as text.

    Example:
        >>> shape_text((7, 7, 512)), shape_text((None, None, 3)), shape_text(())
        ('7x7x512', '?x?x3', 'scalar')
    """
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"
