"""What is wrong with a set of images: one value a finding, and the report that gathers them."""

import dataclasses
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recipes.errors import DataError
from recipes.wording import counted

if TYPE_CHECKING:
    from recipes.data.image_data import ImageData

_NAMED = 3  # How many paths one line of text names before it counts the rest.
# Images of which `say_problems` has spoken.
_told: "weakref.WeakSet[ImageData]" = weakref.WeakSet()


@dataclasses.dataclass(frozen=True)
class Problem:
    """One finding about the data.

    Attributes:
        kind: Short fixed name, such as `"corrupt"` or `"leakage"`.
        severity: `"error"` (training on this data is refused) or `"warning"`.
        message: One line that says what was found and what can be done about it.
        paths: The files concerned, or names such as `"train[17]"` for images without a file.
    """

    kind: str
    severity: str
    message: str
    paths: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}"

    def to_dict(self, limit: int | None = None) -> dict[str, Any]:
        """Return a JSON-ready dictionary that names at most `limit` paths and counts all."""
        fields = dataclasses.asdict(self)
        fields["paths"] = list(self.paths[:limit])
        fields["count"] = len(self.paths)
        return fields


@dataclasses.dataclass(frozen=True)
class DataReport:
    """What `check_data` found.

    Attributes:
        source: The source as it was named.
        class_names: One name a class, in the order of the labels.
        counts: Readable images a class, for each split that the source itself has.
        sizes: `"smallest"`, `"median"`, `"largest"` as `[height, width]`, and `"distinct"`, the
            number of different sizes.
        image_shape: `(height, width, channels)` that `load_data` would give.
        problems: Everything found, errors first.
    """

    source: str
    class_names: tuple[str, ...]
    counts: dict[str, list[int]]
    sizes: dict[str, Any]
    image_shape: tuple[int, int, int]
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether `load_data` would take this source as it is."""
        return not any(problem.severity == "error" for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        return {
            "source": self.source,
            "ok": self.ok,
            "class_names": list(self.class_names),
            "counts": self.counts,
            "sizes": self.sizes,
            "image_shape": list(self.image_shape),
            "problems": [problem.to_dict() for problem in self.problems],
        }

    def count_rows(self) -> list[list[str]]:
        """Return a table of counts: a heading row, one row a class, and a row of sums."""
        splits = list(self.counts)
        rows = [["class", *splits]]
        for index, name in enumerate(self.class_names):
            rows.append([name, *(str(self.counts[split][index]) for split in splits)])
        rows.append(["all", *(str(sum(self.counts[split])) for split in splits)])
        return rows

    def to_lines(self) -> list[str]:
        """Return the report as lines of plain text."""
        height, width, channels = self.image_shape
        images = counted(sum(map(sum, self.counts.values())), "image")
        classes = counted(len(self.class_names), "class", "classes")
        lines = [f"{self.source}: {images}, {classes}, used as {height}x{width}x{channels}"]
        rows = self.count_rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            first, *rest = (cell.rjust(size) for cell, size in zip(row, widths, strict=True))
            lines.append("  ".join([row[0].ljust(len(first)), *rest]))
        lines.extend(map(str, self.problems))
        lines.append("no problems" if not self.problems else "ok" if self.ok else "not ok")
        return lines


def name_some(names: list[str] | tuple[str, ...], limit: int = _NAMED) -> str:
    """Return the first names, and how many more there are.

    Example:
        >>> name_some(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    text = ", ".join(map(str, names[:limit]))
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


def sort_problems(problems: list[Problem]) -> tuple[Problem, ...]:
    """Return the problems with errors first, otherwise in the order found."""
    return tuple(sorted(problems, key=lambda problem: problem.severity != "error"))


def say_problems(data: "ImageData", say: Callable[[str], None]) -> None:
    """Say what is wrong with images; once, however often they are trained on."""
    if data not in _told:
        _told.add(data)
        for problem in data.problems:
            say(str(problem))


def raise_first_error(problems: tuple[Problem, ...] | list[Problem]) -> None:
    """Raise a `DataError` with the message of the first problem that is an error, if there is."""
    for problem in problems:
        if problem.severity == "error":
            raise DataError(problem.message)
