"""What `compress` found, as a value, a table, a picture and a page."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from recipes.errors import RunError
from recipes.evaluation import markdown, page, plots, wording
from recipes.files import read_json, write_json, write_text
from tuning.accuracy_aware import REFERENCE, pareto

FILES = ("report.json", "report.md", "report.html", "pareto.svg")
_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 150, 20, 50
_ROOM = 14
_COLUMNS = (
    "file",
    "bytes",
    "gzip",
    "validation, points",
    "test accuracy (95 %)",
    "test, points (95 %)",
    "median (p90)",
    "ratio",
    "memory",
    "float",
)
_PICTURE_STYLE = """
svg { font: 12px system-ui, sans-serif; background: #fff }
svg text { fill: #1d2126; stroke: #fff; stroke-width: 3px; paint-order: stroke }
svg .gridline { stroke: #eceae6 } svg .end { text-anchor: end }
svg .middle { text-anchor: middle } svg .series { fill: none; stroke-width: 2 }
svg .one { stroke: #1f6fb2 } svg .two { stroke: #cf5a13 } svg .dot { stroke: none }
svg .dot.one { fill: #1f6fb2 } svg .dot.two { fill: #cf5a13 }
svg .series.backdrop { stroke: #8b929b }
"""


@dataclasses.dataclass(frozen=True)
class CompressionReport:
    """What `compress` found.

    Attributes:
        directory: Where the files lie.
        target: What for.
        max_drop: Largest loss of validation accuracy that was allowed, a share.
        chosen: Name of the candidate that ships, `None` if none will do.
        why: Sentences: what was chosen and why, what failed, what stays open.
        candidates: A row each: `name`, `summary`, `status` (`"measured"`, `"failed"`,
            `"not tried"`), `reason`, `file`, `sha256`, `bytes`, `gzip_bytes`, `float_operations`,
            `float_operation_names`, `validation` and `test` (`accuracy`, `interval`, `difference`
            to float and its `difference_interval`), `latency` (`median`, `p90` in milliseconds,
            `ratio`: time as a share of float's), `memory` in bytes, `seconds`; of a distilled one
            `student`, its network, and `parameters`.
        sensitivity: `base` and `operations` (distortion with one operation in float), `steps` of
            the way back, `restored`; empty if int8 was good enough.
        recipe: What `replay` needs to make the chosen file again; `None` without one.
        facts: Numbers of images, threads, versions, arguments.

    Example:
        >>> report = compress("runs/fashion", target="cpu")  # doctest: +SKIP
        >>> report.path, report.why[0]                       # doctest: +SKIP
    """

    directory: str
    target: str
    max_drop: float
    chosen: str | None
    why: list[str]
    candidates: list[dict[str, Any]]
    sensitivity: dict[str, Any] = dataclasses.field(default_factory=dict)
    recipe: dict[str, Any] | None = None
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def path(self) -> Path | None:
        """The file that ships."""
        return Path(self.directory) / "model.tflite" if self.chosen else None

    def row(self, name: str) -> dict[str, Any]:
        """Return the row of a candidate."""
        return next(row for row in self.candidates if row["name"] == name)

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def load(cls, directory: str | os.PathLike) -> "CompressionReport":
        """Read the report of a finished compression.

        Raises:
            RunError: If there is none.
        """
        try:
            content = read_json(Path(directory) / "report.json")
            return cls(**{**content, "directory": os.fspath(directory)})
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{directory} holds no report of compress: {error}") from error

    def pareto(self) -> list[str]:
        """Return the files that no other beats in both accuracy and size."""
        return pareto(
            {row["name"]: (_judged(row)["accuracy"], row["gzip_bytes"]) for row in self._measured()}
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, in the order of `header`."""
        front = self.pareto()
        return [_cells(row, row["name"] in front, self.chosen) for row in self.candidates]

    header = _COLUMNS

    def plot(self) -> page.Markup:
        """Return the files by size and accuracy as SVG, the front of the best as a line."""
        return _plot(self._measured(), self.pareto(), self.chosen)

    def to_markdown(self) -> str:
        """Return the report as Markdown."""
        parts = [
            f"# Compressed for {self.target}",
            "\n".join(f"- {markdown.escape(sentence)}" for sentence in self.why),
            "![size and accuracy of the files](pareto.svg)",
            markdown.table(self.header, self.rows()),
            _LEGEND,
        ]
        failed = [row for row in self.candidates if row["status"] != "measured"]
        if failed:
            parts.append("## Not measured")
            parts.append(
                "\n".join(f"- {row['name']}: {markdown.escape(row['reason'])}" for row in failed)
            )
        if self.sensitivity:
            parts += [
                "## Which operations the accuracy hangs on",
                markdown.table(*_sensitivity_table(self.sensitivity)),
            ]
        return "\n\n".join(parts) + "\n"

    def to_html(self) -> str:
        """Return the report as a page that needs no other file."""
        failed = [
            page.tag("li", f"{row['name']}: {row['reason']}")
            for row in self.candidates
            if row["status"] != "measured"
        ]
        parts = [
            page.tag("h1", f"Compressed for {self.target}"),
            page.tag("ul", page.join(page.tag("li", sentence) for sentence in self.why)),
            page.tag("figure", self.plot()),
            page.table(self.header, self.rows()),
            page.tag("p", _LEGEND, class_="note"),
        ]
        if failed:
            parts += [page.tag("h2", "Not measured"), page.tag("ul", page.join(failed))]
        if self.sensitivity:
            parts.append(page.tag("h2", "Which operations the accuracy hangs on"))
            parts.append(page.table(*_sensitivity_table(self.sensitivity)))
        return page.document(f"Compressed for {self.target}", page.join(parts, "\n"))

    def write(self) -> Path:
        """Write `report.json`, `report.md`, `report.html` and `pareto.svg`, each whole or not.

        Returns:
            The path of `report.json`, which is written last.
        """
        folder = Path(self.directory)
        write_text(folder / "pareto.svg", _standalone(self.plot()))
        write_text(folder / "report.md", self.to_markdown())
        write_text(folder / "report.html", self.to_html())
        write_json(folder / "report.json", self.to_dict())
        return folder / "report.json"

    def __str__(self) -> str:
        """Return the sentences."""
        return "\n".join(self.why)

    def _measured(self):
        return [row for row in self.candidates if row["status"] == "measured"]


_LEGEND = (
    "Points are percentage points against the float32 file on the same images. Files were chosen "
    "by the validation images alone; the test images were looked at once, afterwards. * no other "
    "file is both smaller after gzip and more accurate. Latency of one image, the files measured "
    "in turn; ratio: time as a share of that of float32. Float: operations in float, without the "
    "final softmax."
)


def _judged(row):
    """The test figures, or those of the validation images where there is no test."""
    return row.get("test") or row["validation"]


def _cells(row, on_front, chosen):
    name = row["name"] + (" *" if on_front else "") + (" (chosen)" if row["name"] == chosen else "")
    if row["status"] != "measured":
        return (name, row["status"], *[wording.NONE] * (len(_COLUMNS) - 2))
    test, latency = row.get("test") or {}, row.get("latency") or {}
    other = row["name"] != REFERENCE
    ratio = latency.get("ratio")
    return (
        name,
        wording.size(row["bytes"]),
        wording.size(row["gzip_bytes"]),
        _points(row["validation"].get("difference")) if other else wording.NONE,
        _with(wording.percent(test.get("accuracy"), 2), wording.interval(test.get("interval"))),
        _with(
            _points(test.get("difference")),
            wording.points_interval(test.get("difference_interval")),
        )
        if other
        else wording.NONE,
        _with(
            wording.milliseconds(latency.get("median")), wording.milliseconds(latency.get("p90"))
        ),
        wording.NONE if ratio is None else f"{ratio:.2f}",
        wording.size(row.get("memory")),
        str(row["float_operations"]),
    )


def _with(value, more):
    return value if more == wording.NONE else f"{value} ({more})"


def _points(difference):
    return wording.NONE if difference is None else wording.signed(100 * difference, 2)


def first_name(operation: str) -> str:
    """Return the first of the names that the converter joins where it fuses operations.

    Example:
        >>> first_name("stem_relu/Relu6;stem_bn/FusedBatchNormV3;stem_conv/convolution1")
        'stem_relu/Relu6'
    """
    return operation.split(";")[0]


def _sensitivity_table(sensitivity, most=20):
    """Return header and rows: the operations, those that help most first."""
    base = sensitivity["base"]
    alone = sorted(sensitivity["operations"].items(), key=lambda item: item[1])[:most]
    restored = sensitivity.get("restored", [])
    rows = [
        (
            first_name(name),
            wording.decimals(value, 5),
            wording.percent(None if base <= 0 else (base - value) / base),
            "yes" if name in restored else "",
        )
        for name, value in alone
    ]
    header = (
        "operation alone in float",
        "distortion",
        "less than int8's by",
        "in float in mixed",
    )
    return header, rows


def _standalone(picture):
    """Return an SVG file that carries its own colours."""
    opening, rest = picture.split(">", 1)
    size = f' xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"'
    return f"{opening}{size}><style>{_PICTURE_STYLE}</style>{rest}\n"


def _plot(rows, front, chosen):
    label = "accuracy of the files by their size after gzip, on a logarithmic scale"
    sizes = [math.log(row["gzip_bytes"]) for row in rows]
    bounds = [bound for row in rows for bound in _judged(row)["interval"]]
    ticks = plots.nice_ticks(min(bounds), max(bounds))
    low, high = min(sizes) - 0.15, max(sizes) + 0.15

    def x(row):
        share = (math.log(row["gzip_bytes"]) - low) / (high - low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(value):
        share = (value - ticks[0]) / (ticks[-1] - ticks[0])
        return _HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in ticks:
        parts.append(_line(_LEFT, y(tick), _WIDTH - _RIGHT, y(tick), "gridline"))
        parts.append(_text(_LEFT - 8, y(tick) + 4, wording.percent(tick, 1), "end"))
    places = [(x(row), y(_judged(row)["accuracy"])) for row in rows]
    best = sorted(place for row, place in zip(rows, places, strict=True) if row["name"] in front)
    line = " ".join(f"{_number(left)},{_number(top)}" for left, top in best)
    parts.append(page.tag("polyline", points=line, class_="series backdrop"))
    labels = []
    for row, place, text in zip(rows, places, _apart(places), strict=True):
        colour = "two" if row["name"] == chosen else "one"
        low_end, high_end = (y(bound) for bound in _judged(row)["interval"])
        parts.append(_line(place[0], low_end, place[0], high_end, f"series {colour}"))
        parts.append(
            page.tag(
                "circle",
                cx=_number(place[0]),
                cy=_number(place[1]),
                r=5 if row["name"] == chosen else 4,
                class_=f"dot {colour}",
            )
        )
        words = f"{row['name']}, {wording.size(row['gzip_bytes'])}"
        labels.append(_text(place[0] + 9, text + 4, words, ""))
    parts += labels
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 14, "size after gzip (logarithmic)", "middle"))
    view = f"0 0 {_WIDTH} {_HEIGHT}"
    return page.tag("svg", page.join(parts), viewBox=view, role="img", aria_label=label)


def _apart(places):
    """Return the heights of labels: under their dots, lower where the one above is too near."""
    heights = [top + _ROOM for _, top in places]
    done = []
    for index in sorted(range(len(places)), key=lambda index: places[index][1]):
        near = [heights[other] for other in done if abs(places[other][0] - places[index][0]) < 130]
        heights[index] = max([heights[index], *(height + _ROOM for height in near)])
        done.append(index)
    return heights


def _line(x1, y1, x2, y2, class_):
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return page.tag("line", **{name: _number(end) for name, end in ends.items()}, class_=class_)


def _text(x, y, words, class_):
    return page.tag("text", words, x=_number(x), y=_number(y), class_=class_ or None)


def _number(value):
    return f"{value:.1f}"
