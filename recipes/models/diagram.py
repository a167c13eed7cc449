"""Draws a model as SVG: stages side by side, blocks from top to bottom, shortcuts beside them."""

import html

from recipes.models import _layout
from recipes.models._stages import stage_names
from recipes.models._text import in_short, shape_text
from recipes.models._units import make_segments, make_units, unit_texts
from recipes.models.analysis import analyze
from recipes.models.info import as_model

_MARGIN = 20
_PANEL_GAP = 34
_PANEL_PADDING = 16
_HEADER = 66
_TITLE = 54
_SEGMENT_GAP = 10
_LETTER, _SMALL_LETTER = 6.3, 5.3

# Kind of box: fill, border. The first whose word is in the text of the box is taken.
_COLORS = (
    ("depthwise", "#cffafe", "#0e7490"),
    ("separable", "#cffafe", "#0e7490"),
    ("conv", "#dbeafe", "#1d4ed8"),
    ("transposed", "#dbeafe", "#1d4ed8"),
    ("pool", "#dcfce7", "#15803d"),
    ("blur", "#dcfce7", "#15803d"),
    ("dense", "#ede9fe", "#6d28d9"),
    ("attention", "#fce7f3", "#be185d"),
    ("concat", "#fef3c7", "#b45309"),
)
_OTHER = ("#f1f5f9", "#475569")
_NODES = {"add": "+", "multiply": "×", "Add": "+", "Multiply": "×", "subtract": "−"}


def diagram(name_or_model, input_shape=None, *, fold=True) -> str:
    """Return a picture of a model as the text of an SVG file.

    Each stage is a panel with its feature map, parameters, multiply-adds and receptive field; in
    it the layers from top to bottom, a convolution with its normalisation and activation in one
    box. Branches stand side by side, shortcuts run along the right. The names of the layers show
    when the pointer rests on a box. The file needs nothing else: no fonts, no scripts.

    Args:
        name_or_model: As for `model_info`.
        input_shape: As for `model_info`.
        fold: Whether equal blocks that follow one another are drawn once, with their number.

    Raises:
        ConfigError: As `model_info`.

    Example:
        >>> text = diagram("resnet20")
        >>> text.startswith("<svg "), "2 times" in text
        (True, True)
    """
    table = analyze(as_model(name_or_model, input_shape), input_shape)
    units = make_units(table)
    panels = _make_panels(table, units, make_segments(table, units, fold))
    return _Picture(table, units, panels).svg()


class _Panel:
    """The segments of one stage, laid out."""

    def __init__(self, stage, table, units, segments):
        self.stage, self.segments = stage, segments
        self.header = _header(table, units, stage, segments)
        self.texts = {
            number: unit_texts(table, units[number])
            for segment in segments
            for number in segment.units
        }
        self.circles = {number for number, (text, _) in self.texts.items() if text in _NODES}
        widths = {number: self._width(number) for number in self.texts}
        inputs = {number: units[number].inputs for number in self.texts}
        self.layouts = [
            _layout.lay_out(segment.units, inputs, segment.exit, widths, self.circles)
            for segment in segments
        ]
        fold = 26 if any(segment.repeats > 1 for segment in segments) else 0
        self.left = max(layout.left for layout in self.layouts) + fold / 2
        self.right = max(layout.right for layout in self.layouts) + fold
        least = max(len(line) * _SMALL_LETTER for line in self.header[1:]) + 8
        self.left += max(0.0, (least - self.left - self.right) / 2)
        self.right += max(0.0, least - self.left - self.right)
        self.width = self.left + self.right + 2 * _PANEL_PADDING
        gaps = _SEGMENT_GAP * (len(segments) + 1)
        self.height = _HEADER + sum(each.height for each in self.layouts) + gaps

    def _width(self, number):
        primary, secondary = self.texts[number]
        if number in self.circles:
            return 2 * _layout.NODE_RADIUS + 2 * (len(secondary) * _SMALL_LETTER + 6)
        return max(len(primary) * _LETTER, len(secondary) * _SMALL_LETTER) + 16


def _header(table, units, stage, segments):
    """Return the three lines above a panel."""
    layers = [table.layers[place] for each in segments for place in units[each.last_exit].layers]
    members = [table.layers[place] for place in stage]
    last = layers[-1]
    costs = f"{in_short(sum(each.parameters for each in members))} parameters"
    adds = in_short(sum(each.multiply_adds or 0 for each in members))
    field = "whole image" if last.receptive_field is None else f"field {last.receptive_field}"
    return shape_text(last.output_shape[1:]), f"{costs}, {adds} MAdds", field


def _make_panels(table, units, segments):
    stage_of = stage_names(table)
    groups = []
    for segment in segments:
        exit_ = units[segment.exit]
        name = stage_of[exit_.layers[0] if exit_.major is None else exit_.major]
        if not groups or groups[-1][0] != name:
            groups.append((name, []))
        groups[-1][1].append(segment)
    members = {
        name: [place for place, each in stage_of.items() if each == name] for name, _ in groups
    }
    return [(name, _Panel(members[name], table, units, group)) for name, group in groups]


class _Picture:
    def __init__(self, table, units, panels):
        self.table, self.units, self.panels = table, units, panels
        self.parts = []

    def svg(self):
        inner = sum(panel.width for _, panel in self.panels) + _PANEL_GAP * (len(self.panels) - 1)
        width = inner + 2 * _MARGIN
        height = max(panel.height for _, panel in self.panels) + _TITLE + 2 * _MARGIN
        left, before = float(_MARGIN), None
        for name, panel in self.panels:
            before = self._panel(name, panel, left, before)
            left += panel.width + _PANEL_GAP
        title = html.escape(self.table.name)
        costs = html.escape(self._costs())
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" '
                f'height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
                f'font-family="system-ui, sans-serif" font-size="11" fill="#0f172a">',
                f"<title>{title}: {costs}</title>",
                '<rect width="100%" height="100%" fill="#ffffff"/>',
                f'<text x="{_MARGIN}" y="{_MARGIN + 14}" font-size="18" font-weight="600">'
                f"{title}</text>",
                f'<text x="{_MARGIN}" y="{_MARGIN + 34}" fill="#475569">{costs}</text>',
                *self.parts,
                "</svg>",
                "",
            ]
        )

    def _costs(self):
        text = (
            f"{shape_text(self.table.input_shape[1:])} images, "
            f"{self.table.parameters:,} parameters, "
            f"{in_short(self.table.multiply_adds)} multiply-adds"
        )
        if self.table.field is None:
            return text
        return f"{text}, receptive field {int(self.table.field.size)}"

    def _panel(self, name, panel, left, before):
        """Draw a panel and the line from the one before; return where its last unit ends."""
        top = _MARGIN + _TITLE
        self.parts.append(
            f'<rect x="{left:.1f}" y="{top}" width="{panel.width:.1f}" '
            f'height="{panel.height:.1f}" rx="10" fill="#f8fafc" stroke="#cbd5e1"/>'
        )
        shape, costs, field = panel.header
        self._text(left + 12, top + 19, name, "600", 13, anchor="start")
        self._text(left + panel.width - 12, top + 19, shape, size=10, color="#475569", anchor="end")
        self._text(left + 12, top + 34, costs, size=9.5, color="#475569", anchor="start")
        self._text(left + 12, top + 47, field, size=9.5, color="#475569", anchor="start")
        x = left + _PANEL_PADDING + panel.left
        y = top + _HEADER
        self._entry(before, x, y, left)
        for segment, layout in zip(panel.segments, panel.layouts, strict=True):
            self._path([(x, y), (x, y + _SEGMENT_GAP)], "#64748b")
            y += _SEGMENT_GAP
            self._segment(panel, segment, layout, x, y)
            exit_ = next(each for each in layout.placed if each.number == segment.exit)
            bottom = y + exit_.y + _half_height(panel, segment.exit)
            y += layout.height
            if segment is not panel.segments[-1]:
                self._path([(x, bottom), (x, y)], "#64748b")
        # A side branch that hangs lower than the exit is passed below.
        lowest = max(each.y for each in layout.placed) > exit_.y
        turn = top + panel.height - 6 if lowest else bottom + 9
        return x, bottom, turn, left + panel.width

    def _entry(self, before, x, y, left):
        if before is None:
            self._text(x, y - 2, "images", size=9.5, color="#475569")
            return
        old_x, old_y, turn, edge = before
        gutter = (edge + left) / 2
        way = [(old_x, old_y), (old_x, turn), (gutter, turn), (gutter, y - 4), (x, y - 4), (x, y)]
        self._path(way, "#94a3b8", width=1.6)

    def _segment(self, panel, segment, layout, x, y):
        if segment.repeats > 1:
            self._frame(segment, layout, x, y)
        for line in layout.lines:
            points = [(x + px, y + py) for px, py in line.points]
            color = "#d97706" if line.is_shortcut else "#64748b"
            self._path(points, color, arrow=True, width=1.6 if line.is_shortcut else 1.2)
        for placed in layout.placed:
            self._unit(panel, placed, x + placed.x, y + placed.y)

    def _frame(self, segment, layout, x, y):
        left, width = x - layout.left - 8, layout.left + layout.right + 34
        self.parts.append(
            f'<rect x="{left:.1f}" y="{y + 1:.1f}" width="{width:.1f}" '
            f'height="{layout.height - 1:.1f}" rx="7" fill="#ffffff" stroke="#94a3b8" '
            'stroke-dasharray="3 3"/>'
        )
        self.parts.append(
            f"<g><title>{segment.repeats} times</title>"
            + _text_element(
                left + width - 13, y + layout.height / 2 + 4, f"×{segment.repeats}", "600", 12
            )
            + "</g>"
        )

    def _unit(self, panel, placed, x, y):
        primary, secondary = panel.texts[placed.number]
        layers = [self.table.layers[place] for place in self.units[placed.number].layers]
        names = "&#10;".join(
            html.escape(f"{layer.name}: {layer.label}, {shape_text(layer.output_shape[1:])}")
            for layer in layers
        )
        self.parts.append(f"<g><title>{names}</title>")
        if placed.number in panel.circles:
            self._circle(x, y, _NODES[primary], secondary)
        else:
            self._box(x, y, placed.width, primary, secondary)
        self.parts.append("</g>")

    def _circle(self, x, y, sign, secondary):
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_layout.NODE_RADIUS}" fill="#fef3c7" '
            'stroke="#b45309"/>'
        )
        self._text(x, y + 4, sign, "600", 13)
        if secondary:
            self._text(
                x - _layout.NODE_RADIUS - 4,
                y + 3.5,
                secondary,
                size=9,
                color="#475569",
                anchor="end",
            )

    def _box(self, x, y, width, primary, secondary):
        colors = (rest for word, *rest in _COLORS if word in primary)
        fill, border = next(colors, _OTHER)
        height = _layout.BOX_HEIGHT
        self.parts.append(
            f'<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" '
            f'height="{height}" rx="5" fill="{fill}" stroke="{border}"/>'
        )
        self._text(x, y - 1 if secondary else y + 4, primary)
        if secondary:
            self._text(x, y + 10.5, secondary, size=9, color="#475569")

    def _text(self, x, y, text, weight="400", size=11, color="#0f172a", anchor="middle"):
        self.parts.append(_text_element(x, y, text, weight, size, color, anchor))

    def _path(self, points, color, *, arrow=False, width=1.2):
        end = _arrow(points, color) if arrow else ""
        self.parts.append(
            f'<path d="{_rounded(points)}" fill="none" stroke="{color}" '
            f'stroke-width="{width}"/>{end}'
        )


def _half_height(panel, number):
    return _layout.NODE_RADIUS if number in panel.circles else _layout.BOX_HEIGHT / 2


def _text_element(x, y, text, weight="400", size=11, color="#0f172a", anchor="middle"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{color}" text-anchor="{anchor}">{html.escape(text)}</text>'
    )


def _rounded(points, radius=6):
    """Return the path through some points, its corners rounded."""
    path = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        start, end = _toward(corner, before, radius), _toward(corner, after, radius)
        path.append(f"L{start[0]:.1f} {start[1]:.1f}")
        path.append(f"Q{corner[0]:.1f} {corner[1]:.1f} {end[0]:.1f} {end[1]:.1f}")
    path.append(f"L{points[-1][0]:.1f} {points[-1][1]:.1f}")
    return "".join(path)


def _toward(start, end, distance):
    length = ((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5
    share = min(0.5, distance / length) if length else 0.0
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _arrow(points, color):
    (x0, y0), (x, y) = points[-2:]
    if abs(x - x0) > abs(y - y0):
        step = 5 if x0 > x else -5
        corners = f"{x:.1f},{y:.1f} {x + step:.1f},{y - 3:.1f} {x + step:.1f},{y + 3:.1f}"
    else:
        corners = f"{x:.1f},{y:.1f} {x - 3:.1f},{y - 5:.1f} {x + 3:.1f},{y - 5:.1f}"
    return f'<polygon points="{corners}" fill="{color}"/>'
