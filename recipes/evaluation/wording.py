"""Numbers as people read them."""

import datetime

MINUS = "−"
NONE = "–"


def percent(value: float | None, digits: int = 1) -> str:
    """Return a share as a percentage.

    Example:
        >>> percent(0.9061)
        '90.6%'
    """
    return NONE if value is None else f"{100 * value:.{digits}f}%"


def interval(bounds) -> str:
    """Return an interval of shares.

    Example:
        >>> interval((0.8864, 0.923))
        '88.6 to 92.3%'
    """
    return NONE if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}%"


def decimals(value: float | None, digits: int = 3) -> str:
    """Return a number with a fixed number of decimals.

    Example:
        >>> decimals(0.01149)
        '0.011'
    """
    return NONE if value is None else f"{value:.{digits}f}".replace("-", MINUS)


def points(difference: float | None) -> str:
    """Return a difference of shares in percentage points, with its sign.

    Example:
        >>> points(0.004), points(0.0)
        ('+0.4', '0.0')
    """
    if difference is None:
        return NONE
    words = f"{100 * difference:+.1f}"
    return "0.0" if float(words) == 0 else words.replace("-", MINUS)


def points_interval(bounds) -> str:
    """Return an interval of differences of shares in percentage points.

    Example:
        >>> points_interval((-0.012, 0.034))
        '−1.2 to +3.4'
    """
    return NONE if bounds is None else f"{points(bounds[0])} to {points(bounds[1])}"


def signed(value: float | None, digits: int = 3) -> str:
    """Return a difference with its sign.

    Example:
        >>> signed(0.0126), signed(-0.5, 1)
        ('+0.013', '−0.5')
    """
    return NONE if value is None else f"{value:+.{digits}f}".replace("-", MINUS)


def probability(value: float | None) -> str:
    """Return a p-value.

    Example:
        >>> probability(0.0312), probability(0.00002)
        ('0.031', '< 0.001')
    """
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def size(count: float | None) -> str:
    """Return a number of bytes, in units of 1,000.

    Example:
        >>> size(312_456), size(1_250_000)
        ('312 kB', '1.25 MB')
    """
    if count is None:
        return NONE
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit * 0.9995:
            value = count / unit
            return f"{value:.{max(0, 2 - (value >= 10) - (value >= 99.5))}f} {name}"
    return f"{count:.0f} bytes"


def duration(seconds: float | None) -> str:
    """Return a duration.

    Example:
        >>> duration(42.4), duration(190), duration(7384)
        ('42 s', '3 min 10 s', '2 h 3 min')
    """
    if seconds is None:
        return NONE
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def milliseconds(value: float | None) -> str:
    """Return a latency with three figures.

    Example:
        >>> milliseconds(0.1234), milliseconds(12.34)
        ('0.123 ms', '12.3 ms')
    """
    if value is None:
        return NONE
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1}f} ms"


def date(text: str | None) -> str | None:
    """Return the day and minute of an ISO 8601 time.

    Example:
        >>> date("2026-11-21T11:36:05+00:00")
        '21 November 2026, 11:36 UTC'
    """
    try:
        moment = datetime.datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return text
    zone = " UTC" if moment.utcoffset() == datetime.timedelta(0) else ""
    months = "January February March April May June July August September October November December"
    month = months.split()[moment.month - 1]
    return f"{moment.day} {month} {moment.year}, {moment:%H:%M}{zone}"
