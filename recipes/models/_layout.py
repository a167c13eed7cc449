"""Where the boxes and lines of one block stand: rows by depth, a column for each branch."""

import dataclasses

ROW_HEIGHT = 46
BOX_HEIGHT = 30
# Around a sum or product, which is drawn as a small circle.
NODE_RADIUS = 8
LANE_WIDTH = 14
COLUMN_GAP = 12


@dataclasses.dataclass(frozen=True)
class Placed:
    """A unit in its place, in pixels from the centre of the entry of its segment.

    Attributes:
        number: Of the unit.
        x: Of its centre.
        y: Of its centre.
        width: Of its box.
    """

    number: int
    x: float
    y: float
    width: float


@dataclasses.dataclass(frozen=True)
class Line:
    """A connection from one unit to another, or from the entry.

    Attributes:
        points: Corners `(x, y)` of its way.
        is_shortcut: Whether it passes by other boxes, as a residual connection does.
    """

    points: tuple
    is_shortcut: bool


@dataclasses.dataclass(frozen=True)
class Layout:
    """A segment in its place.

    Attributes:
        placed: Its units.
        lines: Its connections.
        left: How far it reaches to the left of its entry, in pixels.
        right: How far it reaches to the right.
        height: From the entry to the exit.
    """

    placed: tuple[Placed, ...]
    lines: tuple[Line, ...]
    left: float
    right: float
    height: float


def lay_out(numbers, inputs, exit_, widths, circles):
    """Return the layout of a segment.

    Args:
        numbers: Of its units, in an order in which they can run.
        inputs: For each of them the units that it takes from; those that are not in the segment
            are reached through its entry.
        exit_: The unit through which everything leaves; it stands in the middle.
        widths: Of the box of each unit, in pixels.
        circles: Those units that are drawn as circles.
    """
    return _Arranger(numbers, inputs, exit_, widths, circles).layout()


class _Arranger:
    def __init__(self, numbers, inputs, exit_, widths, circles):
        self.numbers, self.exit, self.widths, self.circles = numbers, exit_, widths, circles
        here = set(numbers)
        # The entry is `None`, in row 0.
        self.sources = {
            number: list(
                dict.fromkeys(each if each in here else None for each in inputs[number] or [None])
            )
            for number in numbers
        }
        self.row = {None: 0}
        for number in numbers:
            self.row[number] = 1 + max(self.row[each] for each in self.sources[number])
        self.beside = set()
        self.targets = {each: [] for each in (None, *numbers)}
        for number in numbers:
            for source in self.sources[number]:
                self.targets[source].append(number)

    def layout(self):
        column_of = self._columns()
        lanes = self._lanes(column_of)
        centers, left, right = self._centers(column_of)
        x = {
            number: 0.0 if number == self.exit else centers[column_of[number]]
            for number in self.numbers
        }
        x[None] = 0.0
        placed = tuple(
            Placed(number, x[number], self._y(number), self.widths[number])
            for number in self.numbers
        )
        lines = [
            self._line(source, number, x, column_of, lanes, right)
            for number in self.numbers
            for source in self.sources[number]
        ]
        count = 1 + max(lanes.values(), default=-1)
        height = max(self.row[number] for number in self.numbers) * ROW_HEIGHT
        right += LANE_WIDTH * count + (4 if count else 0)
        return Layout(placed, tuple(lines), left, right, height)

    def _y(self, number):
        return (self.row[number] - 0.5) * ROW_HEIGHT

    def _columns(self):
        """Return the column of each unit: chains of units, the longest first, packed by rows."""
        depth = {}
        for number in reversed(self.numbers):
            depth[number] = 1 + max((depth[each] for each in self.targets[number]), default=0)
        # What does not lead to the exit, such as an auxiliary classifier, stands rightmost.
        leads = {self.exit}
        for number in reversed(self.numbers):
            if leads.intersection(self.targets[number]):
                leads.add(number)
        free = [number for number in self.numbers if number != self.exit]
        column_of, taken, reaches = {}, [], {}
        while free:
            chain = [
                max(free, key=lambda each: (each in leads, -self.row[each], depth[each], -each))
            ]
            while True:
                later = [each for each in self.targets[chain[-1]] if each in free]
                if not later:
                    break
                chain.append(max(later, key=lambda each: (depth[each], -each)))
            ends = [self.row[each] for each in self.targets[chain[-1]]]
            span = (self.row[chain[0]], max([self.row[chain[-1]], *(end - 1 for end in ends)]))
            column = _first_free(taken, span)
            column_of.update(dict.fromkeys(chain, column))
            reaches[column] = max(
                reaches.get(column, (False, 0)), (chain[0] not in leads, span[1] - span[0])
            )
            if self._is_way_round(chain, column_of):
                self.beside.update(chain)
            free = [number for number in free if number not in column_of]
        # The longest way stands outside, so that lines do not cross the shorter ones.
        order = sorted(reaches, key=lambda column: (column != 0, reaches[column], column))
        column_of = {number: order.index(column) for number, column in column_of.items()}
        return {**column_of, self.exit: 0}

    def _is_way_round(self, chain, column_of):
        """Whether a chain leads from the entry to a sum at the exit, beside the first chain."""
        return (
            self.exit in self.circles
            and column_of[chain[0]] != 0
            and None in self.sources[chain[0]]
            and self.exit in self.targets[chain[-1]]
        )

    def _lanes(self, column_of):
        """Return the lane of each connection that must pass by boxes."""
        lanes, taken = {}, []
        for number in self.numbers:
            for source in self.sources[number]:
                if self._needs_lane(source, number, column_of):
                    span = (self.row[source] + 1, self.row[number])
                    lanes[source, number] = _first_free(taken, span)
        return lanes

    def _needs_lane(self, source, number, column_of):
        if self.row[number] - self.row[source] == 1:
            return False
        if source is None:
            return True
        # Straight down its own column, where nothing stands.
        between = range(self.row[source] + 1, self.row[number])
        return any(
            column_of[each] == column_of[source] and self.row[each] in between
            for each in self.numbers
        )

    def _centers(self, column_of):
        """Return where each column has its centre, and how far all reach."""
        columns = sorted({column_of[number] for number in self.numbers})
        widths = [
            max(self.widths[each] for each in self.numbers if column_of[each] == column)
            for column in columns
        ]
        total = sum(widths) + COLUMN_GAP * (len(widths) - 1)
        centers, edge = {}, -total / 2
        for column, width in zip(columns, widths, strict=True):
            centers[column] = edge + width / 2
            edge += width + COLUMN_GAP
        half = max(total, self.widths[self.exit] if self.exit in self.numbers else 0) / 2
        return centers, half, half

    def _line(self, source, number, x, column_of, lanes, right):
        top = self._y(number) - self._half_height(number)
        start = (x[source], 0.0 if source is None else self._y(source) + self._half_height(source))
        if (source, number) in lanes:
            lane = right + LANE_WIDTH * (lanes[source, number] + 1) - 4
            side = x[number] + (NODE_RADIUS if number in self.circles else self.widths[number] / 2)
            height = start[1] if source is None else start[1] + 3
            points = ((start[0], height), (lane, height), (lane, self._y(number)))
            return Line((*points, (side, self._y(number))), True)
        beside = (source if number == self.exit else number) in self.beside
        if x[number] == start[0]:
            return Line((start, (x[number], top)), beside)
        bend = start[1] + 1 if source is None else max(top - 9, start[1] + 1)
        points = (start, (start[0], bend), (x[number], bend), (x[number], top))
        return Line(points, beside)

    def _half_height(self, number):
        return NODE_RADIUS if number in self.circles else BOX_HEIGHT / 2


def _first_free(taken, span):
    """Return the first track where no span is taken that overlaps, and take it."""
    for track, spans in enumerate(taken):
        if all(span[1] < start or end < span[0] for start, end in spans):
            spans.append(span)
            return track
    taken.append([span])
    return len(taken) - 1
