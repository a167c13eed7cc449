"""The pictures of a search's report, as SVG that follows the colours of its page."""

import math
from collections.abc import Sequence

from recipes.evaluation import plots
from recipes.evaluation.page import Markup, join, tag
from tuning._search_range_test import RangeTest
from tuning._search_trials import COMPLETED, PRUNED, Trial
from tuning.search_axes import Axis
from tuning.search_wording import show, text_of

STYLE = """
svg .trial { fill: none; stroke-width: 1.6; stroke-linejoin: round;
  stroke: color-mix(in srgb, var(--blue) calc(var(--v) * 100%), var(--line)); }
svg .trial.pruned { stroke: var(--faint); stroke-width: 1.1; stroke-dasharray: 2 3; }
svg .trial.lost { stroke: var(--warn); stroke-width: 1.1; stroke-dasharray: 5 3; opacity: 0.75; }
svg .trial.best { stroke: var(--orange); stroke-width: 3; }
svg .halo { fill: none; stroke: var(--paper); stroke-width: 6.5; stroke-linejoin: round; }
svg .knob { fill: var(--orange); stroke: var(--paper); stroke-width: 1.5; }
svg .cross { fill: none; stroke: var(--warn); stroke-width: 1.6; }
svg .rail { stroke: var(--faint); stroke-width: 1; }
svg .tick { stroke: var(--faint); stroke-width: 1; }
svg .mark { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg .section { font-size: 11px; } svg .strong { fill: var(--ink); font-weight: 600; }
svg g.line:hover .trial { stroke: var(--ink); stroke-width: 3; stroke-dasharray: none; opacity: 1; }
svg .dot.completed { fill: var(--blue); } svg .dot.pruned { fill: var(--faint); }
svg .dot.top { fill: var(--orange); stroke: var(--paper); stroke-width: 1.5; }
svg .area { fill: var(--grid); opacity: 0.75; }
svg .raw { fill: none; stroke: var(--faint); stroke-width: 1; opacity: 0.7; }
svg .limit { stroke: var(--warn); stroke-width: 1.5; } svg .warned { fill: var(--warn); }
.wide > svg { display: block; width: 100%; height: auto; }
.scale { display: inline-block; width: 4.5rem; height: 0.55rem; border-radius: 0.3rem;
  vertical-align: 0.05em; margin: 0 0.45rem; background: linear-gradient(90deg, color-mix(in srgb,
  var(--blue) 15%, var(--line)), var(--blue)); }
.legend .swatch { width: 1.5rem; margin-right: 0.35rem; vertical-align: 0.05em; }
.hint { background: var(--grid); border-radius: 0.4rem; padding: 0.6rem 0.8rem; margin: 1rem 0 0;
  display: block; overflow-wrap: anywhere; }
.diagnoses { display: grid; gap: 1.5rem 2.5rem; margin-top: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); }
.diagnoses .verdicts { margin: 0; } .diagnoses .verdicts li { font-size: 0.9375rem; }
.diagnoses .verdicts .note { display: block; }
.grid > figure:only-child { max-width: 34rem; }
.fields td { white-space: nowrap; } .trials th, .trials td { white-space: nowrap; }
.state { display: inline-block; padding: 0 0.5rem; border-radius: 1rem; font-size: 0.8125rem;
  background: var(--grid); color: var(--soft); }
.state.completed { background: var(--good-ground); color: var(--good); }
.state.lost { background: var(--warn-ground); color: var(--warn); }
@media (max-width: 40rem) { .wide > svg { min-width: 46rem; }
  .scroll .fields tbody th:first-child { min-width: 7.5rem; } }
@media print { .scroll.wide { overflow: visible; } .wide > svg { min-width: 0; }
  .trials th, .trials td, .fields td, .fields th { white-space: normal; overflow-wrap: anywhere; }
  .trials { font-size: 6.5pt; } .trials .state { padding: 0; font-size: 6.5pt; } }
"""
# Pixels between two axes, the fewest axes that these hold for, letters of a name and of a choice.
_BETWEEN, _FEWEST, _NAME, _CHOICE = 122, 6, 17, 13
_LEFT, _RIGHT, _TOP, _HEIGHT, _BOTTOM = 68, 76, 58, 250, 34


def parallel_coordinates(
    trials: Sequence[Trial],
    axes: Sequence[Axis],
    best: Trial | None,
    objective: str,
    direction: str,
) -> Markup:
    """Return a line for each trial across an axis for each hyperparameter, and the objective.

    Args:
        trials: Of one stage.
        axes: From `search_axes.axes`.
        best: Is highlighted; `None` if none was completed.
        objective: Name of the measure, the last axis; better is up.
        direction: `"max"` or `"min"`.
    """
    values = _judged(trials)
    last = Axis(objective, *((min(values), max(values)) if values else (0.0, 1.0)))
    width = _LEFT + _RIGHT + _BETWEEN * max(len(axes), _FEWEST)
    step = (width - _LEFT - _RIGHT) / max(len(axes), 1)
    base = _TOP + _HEIGHT

    def x(index):
        return _LEFT + index * step

    def y(share):
        return base - share * _HEIGHT

    def height(value):
        share = last.place(value)
        return y(share if direction == "max" else 1 - share)

    def points(trial):
        found = []
        for index, axis in enumerate(axes):
            # A hyperparameter that is not active has no place: the line passes it by.
            share = axis.place(trial.values[axis.name]) if axis.name in trial.values else None
            if share is not None:
                found.append((x(index), y(share)))
        found.append((x(len(axes)), base + 18 if trial.value is None else height(trial.value)))
        return found

    parts = [_rail(x(index), axis.name) for index, axis in enumerate(axes)]
    parts.append(_rail(x(len(axes)), objective))
    for share, (trial, kind) in _drawing_order(trials, best, direction):
        parts.append(_trial(trial, kind, share, points(trial), objective))
    for index, axis in enumerate(axes):
        parts += [
            _tick(x(index), y(share), text, "end") for share, text in _spaced(axis.ticks(), _HEIGHT)
        ]
    parts += [
        _tick(x(len(axes)), height(value), show(objective, value), "")
        for value in (_objective_ticks(last) if values else ())
    ]
    label = (
        f"{len(trials)} trials, each a line across its hyperparameters to its {objective}; the "
        f"best is at {show(objective, best.value if best else None)}"
    )
    return _svg(width, base + _BOTTOM, label, parts)


def _judged(trials):
    """Return the values that an axis is to hold; trials that were ended early lie apart."""
    done = [trial.value for trial in trials if trial.state == COMPLETED]
    return done or [trial.value for trial in trials if trial.value is not None]


def _drawing_order(trials, best, direction):
    """Yield (rank from 0 to 1, (trial, style)), what matters most last."""
    sign = 1 if direction == "max" else -1
    done = sorted((t for t in trials if t.state == COMPLETED), key=lambda t: sign * t.value)
    for trial in trials:
        if trial.value is None or trial.state not in (COMPLETED, PRUNED):
            yield 0, (trial, "lost")
    for trial in trials:
        if trial.state == PRUNED and trial.value is not None:
            yield 0, (trial, "pruned")
    for rank, trial in enumerate(done):
        share = rank / max(len(done) - 1, 1)
        yield share, (trial, "best" if trial == best else "done")


def _trial(trial, kind, share, points, objective):
    path = " ".join(f"{_n(left)},{_n(top)}" for left, top in points)
    value = f", {objective} {show(objective, trial.value)}" if trial.value is not None else ""
    values = ", ".join(f"{name} {text_of(value)}" for name, value in trial.values.items())
    parts = [tag("title", f"{trial.name}: {trial.state}{value}; {values}")]
    if kind == "best":
        parts.append(tag("polyline", points=path, class_="halo"))
    style = f"--v:{0.15 + 0.85 * share:.2f}" if kind == "done" else None
    parts.append(tag("polyline", points=path, class_=f"trial {kind}", style=style))
    if kind == "best":
        parts += [
            tag("circle", cx=_n(left), cy=_n(top), r="4.5", class_="knob") for left, top in points
        ]
    if kind == "lost":
        parts.append(_cross(*points[-1]))
    return tag("g", join(parts), class_="line")


def _rail(x, name):
    section, _, field = name.rpartition(".")
    short = field if len(field) <= _NAME else f"{field[: _NAME - 1]}…"
    parts = [
        tag("title", name),
        _line(x, _TOP, x, _TOP + _HEIGHT, "rail"),
        _text(x, 20, section, "section middle") if section else None,
        _text(x, 37, short, "title middle"),
    ]
    return tag("g", join(parts))


def _tick(x, y, text, place):
    short = text if len(text) <= _CHOICE else f"{text[: _CHOICE - 1]}…"
    left = x - 8 if place else x + 8
    return join(
        [
            _line(x - 3, y, x + 3, y, "tick"),
            tag("g", tag("title", text), _text(left, y + 4, short, f"mark {place}".strip())),
        ]
    )


def _spaced(ticks, length, least=14):
    """Leave out marks that would touch the one before."""
    kept = []
    for share, text in ticks:
        if share is not None and (not kept or abs(share - kept[-1][0]) * length >= least):
            kept.append((share, text))
    return kept


def _objective_ticks(axis):
    values = [axis.low, axis.high] if axis.high > axis.low else [axis.low]
    between = [
        tick
        for tick in plots.nice_ticks(axis.low, axis.high)
        if all(abs(axis.place(tick) - axis.place(end)) > 0.08 for end in values)
        and axis.low < tick < axis.high
    ]
    return [*values, *between]


def progress_chart(
    trials: Sequence[Trial],
    so_far: Sequence[float | None],
    best: Trial,
    objective: str,
    direction: str,
) -> Markup:
    """Return the objective of each trial as a dot, and the best so far as steps.

    Args:
        trials: In the order in which they ran.
        so_far: Best value after each, from `SearchResult.best_so_far`.
        best: Is highlighted.
        objective: Name of the measure.
        direction: `"max"` or `"min"`.
    """
    label = f"the best {objective} after each of {len(trials)} trials"
    values = _judged(trials)
    if not values:
        return _svg(440, 256, label, [_text(220, 128, "no values", "middle")])
    frame = _Frame((1, max(len(trials), 2)), (min(values), max(values)))
    percent = "accuracy" in objective
    parts = frame.grid(lambda tick: f"{100 * tick:g}%" if percent else None)
    parts += [
        _text(frame.x(tick), frame.bottom + 18, f"{tick:g}", "middle")
        for tick in _whole_ticks(len(trials))
    ]
    stages = [trial.stage for trial in trials]
    for index in range(1, len(stages)):
        if stages[index] != stages[index - 1]:
            place = frame.x(index + 0.5)
            parts.append(_line(place, frame.top - 6, place, frame.bottom, "marker"))
            parts.append(_text(place, 12, stages[index], "middle"))
    parts += [
        tag("polyline", points=run, class_="series one")
        for run in _steps(frame, stages, so_far, len(trials))
    ]
    for number, trial in enumerate(trials, 1):
        tip = tag("title", f"{trial.name}: {trial.state} {show(objective, trial.value)}")
        if trial.value is None:
            parts.append(tag("g", tip, _cross(frame.x(number), frame.bottom - 7)))
            continue
        kind = "top" if trial == best else "pruned" if trial.state == PRUNED else "completed"
        radius = {"top": 5.5, "pruned": 2.8}.get(kind, 3.4)
        place = {"cx": _n(frame.x(number)), "cy": _n(frame.y(trial.value)), "r": radius}
        parts.append(tag("circle", tip, class_=f"dot {kind}", **place))
    return _svg(440, 256, label, parts)


def _steps(frame, stages, so_far, count):
    """Return the points of one line of steps a stage."""
    runs: dict[str, list[str]] = {}
    before = None
    for index, (stage, value) in enumerate(zip(stages, so_far, strict=True)):
        run = runs.setdefault(stage, [])
        if value is None:
            continue
        if run:
            run.append(f"{_n(frame.x(index + 1))},{_n(frame.y(before))}")
        run.append(f"{_n(frame.x(index + 1))},{_n(frame.y(value))}")
        last = index + 1 == count or stages[index + 1] != stage
        if last and len(run) == 1:
            run.append(f"{_n(frame.x(index + 1.4))},{_n(frame.y(value))}")
        before = value
    return [" ".join(run) for run in runs.values() if run]


def _whole_ticks(count):
    ticks = plots.nice_ticks(1, count, whole=True)
    return [1] + [tick for tick in ticks if 1 < tick <= count and tick - 1 > count / 20]


def range_test_chart(test: RangeTest, ends: tuple[float, float] | None) -> Markup:
    """Return the loss over the rising learning rate, and what was read off it.

    Args:
        test: With a curve.
        ends: Lowest and highest rate that are searched, to be shaded; or `None`.
    """
    known = test.losses
    top = min(max(known), 1.25 * max(test.smoothed))
    exponents = [math.log10(rate) for rate in test.rates]
    frame = _Frame((exponents[0], exponents[-1]), (min(known), top))
    parts = []
    if ends:
        left, right = (
            frame.x(min(max(math.log10(end), exponents[0]), exponents[-1])) for end in ends
        )
        parts.append(
            tag("rect", x=_n(left), y=frame.top, width=_n(right - left),
                height=frame.bottom - frame.top, class_="area")
        )  # fmt: skip
    parts += frame.grid(lambda tick: None)
    for power in range(math.ceil(exponents[0]), math.floor(exponents[-1]) + 1):
        words = text_of(float(f"1e{power}"))
        parts.append(_text(frame.x(power), frame.bottom + 18, words, "middle"))
    for losses, class_ in ((test.losses, "raw"), (test.smoothed, "series one")):
        points = " ".join(
            f"{_n(frame.x(place))},{_n(frame.y(loss))}"
            for place, loss in zip(exponents, losses, strict=True)
        )
        parts.append(tag("polyline", points=points, class_=class_))
    for names, rate in _merged(test.suggestions):
        place = frame.x(math.log10(rate))
        step = min(range(len(exponents)), key=lambda index: abs(test.rates[index] - rate))
        tip = tag("title", f"{names}: {text_of(rate)}")
        circle = {"cx": _n(place), "cy": _n(frame.y(test.smoothed[step])), "r": 4.5}
        parts.append(tag("circle", tip, class_="dot two", **circle))
    if test.limit is not None:
        place = frame.x(min(math.log10(test.limit), exponents[-1]))
        parts.append(_line(place, frame.top - 6, place, frame.bottom, "limit"))
        parts.append(_text(place, 12, f"from {text_of(test.limit)}: no use", "warned end"))
    return _svg(440, 256, "training loss over the rising learning rate of the range test", parts)


def _merged(suggestions):
    """Return (names, rate) of each rate, in order."""
    by_rate: dict[float, list[str]] = {}
    for name, rate in suggestions.items():
        by_rate.setdefault(rate, []).append(name)
    return [(", ".join(names), rate) for rate, names in sorted(by_rate.items())]


class _Frame:
    """The place of numbers in a chart of the size of `plots.line_chart`."""

    left, right, top, bottom = 54, 428, 24, 226

    def __init__(self, across, up):
        self.across = across
        # Noise looks flat, and labels stay short.
        missing = max(0.0, 0.02 * max(map(abs, up)) - (up[1] - up[0])) / 2
        self.ticks = plots.nice_ticks(up[0] - missing, up[1] + missing)

    def x(self, value):
        first, last = self.across
        return self.left + (value - first) / (last - first) * (self.right - self.left)

    def y(self, value):
        low, high = self.ticks[0], self.ticks[-1]
        value = min(max(value, low), high)
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def grid(self, text):
        """Return lines and labels of the vertical axis."""
        parts = []
        for tick in self.ticks:
            words = text(tick) or plots.tick_text(tick, self.ticks)
            parts.append(_line(self.left, self.y(tick), self.right, self.y(tick), "gridline"))
            parts.append(_text(self.left - 8, self.y(tick) + 4, words, "end"))
        return parts


def line_swatch(class_: str, *, cross: bool = False) -> Markup:
    """Return a piece of a line of the parallel coordinates, for a legend."""
    parts = [tag("polyline", points="0,5 26,5", class_=class_)]
    if cross:
        parts.append(_cross(13, 5, 3))
    return tag("svg", join(parts), viewBox="0 0 26 10", class_="swatch", aria_hidden="true")


def _cross(x, y, size=4):
    side = 2 * size
    path = f"M{_n(x - size)} {_n(y - size)}l{side} {side}m0 {-side}l{-side} {side}"
    return tag("path", d=path, class_="cross")


def _svg(width, height, label, parts):
    return tag("svg", join(parts), viewBox=f"0 0 {width} {height}", role="img", aria_label=label)


def _text(x, y, words, class_):
    return tag("text", words, x=_n(x), y=_n(y), class_=class_ or None)


def _line(x1, y1, x2, y2, class_):
    return tag("line", x1=_n(x1), y1=_n(y1), x2=_n(x2), y2=_n(y2), class_=class_)


def _n(value):
    return f"{value:.1f}".removesuffix(".0")
