"""Charts as SVG text, hand-written so that they are small, sharp and follow the page's colours.

Colours come from the style sheet through classes: `one` and `two` are the two series, so that a
chart turns dark with its page.
"""

import itertools
import math
from collections.abc import Sequence

from recipes.evaluation.metrics import wilson_interval
from recipes.evaluation.page import Markup, join, tag

_WIDTH, _HEIGHT = 440, 256
_LEFT, _RIGHT, _TOP, _BOTTOM = 50, 12, 24, 30
Values = Sequence[float | None]


def line_chart(
    epochs: Sequence[int],
    series: Sequence[Values],
    *,
    label: str,
    marked: int | None = None,
    upper: float | None = None,
    names: Sequence[str] = ("one", "two"),
    dots: Sequence[int | None] | None = None,
) -> Markup:
    """Return curves over epochs.

    Args:
        epochs: Rising whole numbers, at least one.
        series: Curves, one value an epoch; `None` leaves a gap.
        label: What the chart shows, for those who cannot see it.
        marked: Epoch to mark with a vertical line.
        upper: Largest value the axis may show, such as 1 for an accuracy.
        names: Style classes of the curves.
        dots: Epoch of each curve to mark with a dot; by default the marked one.
    """
    known = [value for values in series for value in values if value is not None]
    if not known:
        return _empty(label)
    ticks = nice_ticks(*_wide_enough(min(known), max(known)))
    low, high = ticks[0], ticks[-1]
    if upper is not None and high > upper:
        ticks = [tick for tick in ticks if tick <= upper]
        high = upper
    first, last = epochs[0], max(epochs[-1], epochs[0] + 1)

    def x(epoch):
        return _LEFT + (epoch - first) / (last - first) * (_WIDTH - _LEFT - _RIGHT)

    def y(value):
        return _HEIGHT - _BOTTOM - (value - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [_horizontal(y(tick), tick_text(tick, ticks)) for tick in ticks]
    parts += [
        _text(x(tick), _HEIGHT - _BOTTOM + 18, f"{tick:g}", "middle")
        for tick in _epoch_ticks(first, epochs[-1])
    ]
    if marked is not None and first <= marked <= last:
        parts.append(_line(x(marked), _TOP - 6, x(marked), _HEIGHT - _BOTTOM, "marker"))
        place = "end" if x(marked) > _WIDTH - 60 else "middle" if x(marked) > _LEFT + 40 else ""
        parts.append(_text(x(marked), 12, f"epoch {marked}", place))
    dots = [marked] * len(series) if dots is None else dots
    for name, values, dot in zip(names, series, dots, strict=False):
        points = [
            None if value is None else (x(epoch), y(value))
            for epoch, value in zip(epochs, values, strict=True)
        ]
        parts.append(_curve(points, name))
        at_mark = next(
            (p for epoch, p in zip(epochs, points, strict=True) if epoch == dot and p), None
        )
        if at_mark:
            parts.append(
                tag("circle", cx=_n(at_mark[0]), cy=_n(at_mark[1]), r="3.5", class_=f"dot {name}")
            )
    return _svg(_WIDTH, _HEIGHT, label, parts)


def spark_line(
    values: Values, others: Values, *, label: str, low: float = 0.0, marked: int | None = None
) -> Markup:
    """Return a small curve of shares before a grey one, for a grid of many.

    Args:
        values: The curve, one value an epoch; `None` leaves a gap.
        others: The grey curve, such as the mean of all classes.
        label: What the chart shows, for those who cannot see it.
        low: The value at the lower line, below 1, which is at the upper.
        marked: Index of the value to mark with a dot.
    """
    width, height, margin = 150, 64, 5

    def place(curve):
        steps = max(len(curve) - 1, 1)
        return [
            None
            if value is None
            else (
                margin + index / steps * (width - 2 * margin),
                height - margin - (value - low) / (1 - low) * (height - 2 * margin),
            )
            for index, value in enumerate(curve)
        ]

    points = place(values)
    parts = [
        _line(0, margin, width, margin, "gridline"),
        _line(0, height - margin, width, height - margin, "gridline"),
        _curve(place(others), "backdrop"),
        _curve(points, "one"),
    ]
    if marked is not None and 0 <= marked < len(points) and points[marked]:
        x, y = points[marked]
        parts.append(tag("circle", cx=_n(x), cy=_n(y), r="3", class_="dot one"))
    return _svg(width, height, label, parts)


def swatch(name: str) -> Markup:
    """Return a piece of a curve, for a legend."""
    line = _line(0, 5, 26, 5, f"series {name}")
    return tag("svg", line, viewBox="0 0 26 10", class_="swatch", aria_hidden="true")


def reliability_chart(table: dict, *, title: str, label: str) -> Markup:
    """Return a reliability diagram: accuracy by confidence, over the histogram of confidences.

    Bars are the accuracy of the bin with its 95 % interval, orange marks the mean confidence, and
    the dashed line is where the two would be equal.

    Args:
        table: Lists `lower`, `upper`, `count`, `confidence`, `accuracy`, one entry a bin.
        title: Text above the diagram.
        label: What the chart shows, for those who cannot see it.
    """
    left, top, side, gap, low = 44, 30, 300, 26, 70
    width, height = left + side + 12, top + side + gap + low + 36
    base, floor = top + side, top + side + gap + low

    def x(value):
        return left + value * side

    def y(value):
        return base - value * side

    parts = [_text(left, 16, title, "title")]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(_line(left, y(tick), left + side, y(tick), "gridline"))
        parts.append(_text(left - 7, y(tick) + 4, f"{tick:g}", "end"))
        parts.append(_text(x(tick), floor + 17, f"{tick:g}", "middle"))
    total = sum(table["count"]) or 1
    tallest = max(max(table["count"]), 1)
    rows = zip(
        *(table[name] for name in ("lower", "upper", "count", "confidence", "accuracy")),
        strict=True,
    )
    for lower, upper, count, confidence, accuracy in rows:
        if not count or accuracy is None or confidence is None:
            continue
        start, breadth = x(lower) + 1, (upper - lower) * side - 2
        middle = start + breadth / 2
        tip = f"confidence {confidence:.3f}, accuracy {accuracy:.3f}, {count:,} images"
        bottom, ceiling = wilson_interval(round(accuracy * count), count)
        parts.append(
            tag(
                "g",
                tag("title", tip),
                _box(start, y(accuracy), breadth, base - y(accuracy), "filled"),
                _line(start, y(confidence), start + breadth, y(confidence), "expected"),
                _line(middle, y(bottom), middle, y(ceiling), "whisker"),
                _box(
                    start,
                    floor - count / tallest * low,
                    breadth,
                    count / tallest * low,
                    "histogram",
                ),
            )
        )
    parts += [
        _line(x(0), y(0), x(1), y(1), "ideal"),
        _line(left, base, left + side, base, "axis"),
        _line(left, floor, left + side, floor, "axis"),
        _text(left - 7, floor - low + 9, f"{100 * tallest / total:.0f}%", "end"),
        _text(left + side / 2, height - 2, "confidence", "middle"),
    ]
    return _svg(width, height, label, parts)


def interval_bar(value: float, interval: tuple[float, float] | None) -> Markup:
    """Return a bar from 0 to 1, with an interval as a whisker, that stretches with its cell."""
    parts = [_box(0, 2, 200, 10, "track"), _box(0, 2, 200 * value, 10, "filled")]
    if interval:
        parts.append(_line(200 * interval[0], 7, 200 * interval[1], 7, "whisker"))
    return tag(
        "svg", join(parts), viewBox="0 0 200 14", preserveAspectRatio="none", aria_hidden="true"
    )


def nice_ticks(low: float, high: float, count: int = 5, *, whole: bool = False) -> list[float]:
    """Return round numbers, about `count`, that enclose the range from `low` to `high`.

    Example:
        >>> nice_ticks(0.13, 0.88)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if high <= low:
        padding = abs(low) / 2 or 1.0
        low, high = (low, high + 1) if whole else (low - padding, high + padding)
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    # Rounding hides the noise of the multiplication: 3 * 0.1 is 0.30000000000000004.
    digits = max(0, 2 - math.floor(math.log10(step)))
    return [round(index * step, digits) for index in range(first, last + 1)]


def _wide_enough(low, high):
    """Widen a range that is narrow for its values: noise looks flat, and labels stay short."""
    missing = 0.02 * max(abs(low), abs(high)) - (high - low)
    return (low - missing / 2, high + missing / 2) if high > low and missing > 0 else (low, high)


def tick_text(value: float, ticks: Sequence[float]) -> str:
    """Return a tick label with as many decimals as its axis needs."""
    step = min(b - a for a, b in itertools.pairwise(ticks)) if len(ticks) > 1 else 1
    largest = max(abs(tick) for tick in ticks)
    if largest >= 1e5 or largest < 5e-3:
        return (
            f"{value:g}" if value == 0 else f"{value:.1e}".replace("e-0", "e-").replace(".0e", "e")
        )
    decimals = 0
    while decimals < 6 and abs(round(step, decimals) - step) > 1e-9 * step:
        decimals += 1
    return f"{value:,.{decimals}f}".replace("-", "−")


def _epoch_ticks(first, last):
    """The first epoch, and round ones that do not crowd it."""
    ticks = [tick for tick in nice_ticks(first, last, whole=True) if first < tick <= last]
    return [first] + [tick for tick in ticks if tick - first > (last - first) / 20]


def _curve(points, name):
    """Return a line broken at each gap; a point between two gaps is a dot."""
    runs, current = [], []
    for point in [*points, None]:
        if point is not None:
            current.append(point)
        elif current:
            runs.append(current)
            current = []
    parts = []
    for run in runs:
        if len(run) == 1:
            parts.append(
                tag("circle", cx=_n(run[0][0]), cy=_n(run[0][1]), r="3", class_=f"dot {name}")
            )
        else:
            path = " ".join(f"{_n(x)},{_n(y)}" for x, y in run)
            parts.append(tag("polyline", points=path, class_=f"series {name}"))
    return join(parts)


def _svg(width, height, label, parts):
    return tag("svg", join(parts), viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


def _empty(label):
    words = _text(_WIDTH / 2, _HEIGHT / 2, "no values recorded", "middle")
    return _svg(_WIDTH, _HEIGHT, label, [words])


def _horizontal(y, label):
    return join(
        [_line(_LEFT, y, _WIDTH - _RIGHT, y, "gridline"), _text(_LEFT - 8, y + 4, label, "end")]
    )


def _text(x, y, words, class_=""):
    return tag("text", words, x=_n(x), y=_n(y), class_=class_ or None)


def _line(x1, y1, x2, y2, class_):
    return tag("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), class_=class_)


def _box(x, y, width, height, class_):
    return tag("rect", x=_n(x), y=_n(y), width=_n(width), height=_n(height), class_=class_)


def _n(value: float) -> str:
    """A coordinate with at most one decimal; more are not visible."""
    return f"{value:.1f}".removesuffix(".0")
