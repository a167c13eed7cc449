"""The report of a search: one page that needs nothing else, and the same as Markdown."""

import re
from pathlib import Path
from typing import Any

from recipes.errors import RunError
from recipes.evaluation import markdown, plots
from recipes.evaluation.page import Markup, definitions, document, join, table, tag
from recipes.evaluation.wording import counted, duration
from recipes.files import write_text
from tuning import search_charts as charts
from tuning._search_dimensions import Range
from tuning._search_range_test import FIELD as RATE
from tuning._search_trials import COMPLETED, PRUNED
from tuning.search_axes import axes
from tuning.search_report import SearchResult
from tuning.search_verdicts import verdicts
from tuning.search_view import SearchView, read_view
from tuning.search_wording import show, text_of

_SHOWN = 30
_CURVES = (
    ("val_accuracy", "Validation accuracy", 1.0),
    ("val_loss", "Validation loss", None),
    ("accuracy", "Training accuracy", 1.0),
    ("loss", "Training loss", None),
    ("val_ece", "Calibration error (ECE)", 1.0),
)
_KINDS = {"error": "warn", "warning": "warn", "note": "info"}


def write_search_report(result: SearchResult, *, running: str | None = None) -> Path:
    """Write `search.html` and `search.md` into the folder of a search.

    The page holds its own style sheet and pictures, and asks nothing of a network. The same files
    give the same bytes.

    Args:
        result: Of the search, or of the stages that are finished.
        running: What is still to be done, such as `"the refined search"`; `None` if nothing.

    Returns:
        The path of `search.html`.

    Raises:
        RunError: If the folder cannot be written to.

    Example:
        >>> write_search_report(found)                                      # doctest: +SKIP
        PosixPath('runs/search/search.html')
    """
    view = read_view(result)
    path = result.out / "search.html"
    try:
        write_text(result.out / "search.md", search_markdown(view, running))
        write_text(path, search_html(view, running))
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def search_html(view: SearchView, running: str | None = None) -> str:
    """Return the whole page."""
    sections = [(name, title, build(view)) for name, title, build in _SECTIONS]
    sections = [section for section in sections if section[2]]
    links = join((tag("a", _link(name), href=f"#{name}") for name, _, _ in sections), " ")
    pill = tag("span", f"{running} is still to come", class_="pill") if running else None
    parts = [
        tag(
            "header",
            tag("h1", f"Search: {view.name}", pill),
            tag("p", _what(view), class_="note"),
            tag("nav", links, aria_label="Sections"),
        ),
        _cards(view),
        tag("ul", join(tag("li", words, class_=kind) for kind, words in verdicts(view)),
            class_="verdicts"),
        *(tag("section", tag("h2", title), body, id=name) for name, title, body in sections),
        tag("footer", "Made from the files of the search by keras-recipes."),
    ]  # fmt: skip
    return document(f"{view.name} · search", join(parts, "\n"), style=charts.STYLE)


def _link(name):
    return name.replace("-", " ").capitalize()


def _what(view):
    plan, result = view.plan, view.result
    better = "highest" if result.direction == "max" else "lowest"
    words = [f"{plan.get('algorithm', 'search')} search for the {better} {result.objective}"]
    images = view.validation_images
    if images:
        words.append(f"judged on {images:,} validation images")
    words.append("test images were not looked at" if plan.get("recipe") else None)
    return " · ".join(word for word in words if word).capitalize()


def _cards(view):
    result = view.result
    states = [trial.state for trial in result.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(sorted(states)))
    seconds = sum(trial.seconds for trial in result.trials)
    lengths = " and ".join(
        str(length) for length in sorted({trial.planned_epochs for trial in result.trials})
    )
    cards = [
        (f"Best {result.objective}", show(result.objective, result.best.value), result.best.name),
        ("Trials", str(len(states)), counts),
        ("Time of the trials", duration(seconds), f"{lengths} epochs a trial"),
    ]
    if result.seeds:
        spread = result.seeds.deviation
        small = "" if spread is None else f" ± {100 * spread:.1f}"
        cards.append(
            ("Winner at full length", f"{100 * result.seeds.mean:.1f}{small}%",
             f"validation, {counted(len(result.seeds.accuracies), 'seed')}")
        )  # fmt: skip
    return tag(
        "div",
        join(
            tag(
                "div",
                tag("div", label, class_="label"),
                tag("div", value, class_="value"),
                tag("div", detail, class_="detail"),
                class_="card",
            )
            for label, value, detail in cards
        ),
        class_="cards",
    )


def _winner_rows(view):
    given, searched = view.plan.get("space") or {}, view.spaces.get(view.stages[0])
    has_own = bool(view.plan.get("recipe"))
    for name, value in view.result.best.values.items():
        row = [name, text_of(value)]
        if has_own:
            row.append(text_of(view.own_value(name)))
            row.append(_as_text(given.get(name), searched, name))
        yield row


def _as_text(given, searched, name):
    values = searched.dimensions.get(name) if searched else None
    text = ", ".join(map(text_of, given)) if isinstance(given, list) else str(given)
    if values is not None and isinstance(values, Range) and str(values) != text:
        return f"{values} of {text}"
    return text


def _winner_header(view):
    return ("Field", "Winner", *(("Recipe", "Searched") if view.plan.get("recipe") else ()))


def _winner(view):
    rows = [(_breakable(name), *rest) for name, *rest in _winner_rows(view)]
    body = table(_winner_header(view), rows, class_="fields")
    if not view.plan.get("recipe"):
        return body
    command = f"recipes train {view.result.out / 'best.json'} IMAGES --out runs/best"
    return join([body, tag("code", command, class_="hint")])


def _parallel(view):
    result = view.result
    figures = []
    for stage in view.stages:
        trials = view.of_stage(stage)
        chart = charts.parallel_coordinates(
            trials,
            axes(trials, view.spaces.get(stage)),
            view.best_of(stage),
            result.objective,
            result.direction,
        )
        title = None
        if len(view.stages) > 1:
            title = tag("h3", f"{stage.capitalize()}: {_lengths(trials)}")
        body = tag("div", chart, class_="scroll wide", tabindex="0")
        figures.append(tag("div", title, body, class_="block"))
    legend = [
        tag("span", "worst", tag("i", class_="scale", style="display:inline-block"), "best"),
        tag("span", charts.line_swatch("trial best"), "the best of its stage"),
        tag("span", charts.line_swatch("trial pruned"), "ended early"),
        tag("span", charts.line_swatch("trial lost", cross=True), "diverged or failed"),
    ]
    note = (
        "A line is a trial: its value on each axis, and at the right what it reached, better "
        "higher up (what was ended early may lie below the last axis). Axes are logarithmic where "
        "the space is."
    )
    return join(
        [
            tag("p", note, class_="note"),
            tag("p", join(legend), class_="legend wide"),
            *figures,
        ]
    )


def _lengths(trials):
    lengths = [trial.planned_epochs for trial in trials]
    words = " to ".join(map(str, sorted({min(lengths), max(lengths)})))
    return f"{counted(len(trials), 'trial')} of {words} epochs"


def _importance_rows(view):
    ranked = sorted(
        (trial for trial in view.of_stage(view.stages[0]) if trial.state == COMPLETED),
        key=lambda trial: trial.value,
        reverse=view.result.direction == "max",
    )
    good = ranked[: max(3, len(ranked) // 4)]
    for one in view.result.importance():
        values = [trial.values[one.name] for trial in good if one.name in trial.values]
        yield one, _spread_of(values)


def _spread_of(values):
    """Return where some values lie: from the lowest to the highest, or which they are."""
    numbers = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    different = sorted(set(values)) if numbers else sorted(set(map(text_of, values)))
    if numbers and len(different) > 3:
        return f"{text_of(different[0])} to {text_of(different[-1])}"
    return ", ".join(map(text_of, different)) or "–"


def _trend(one, direction):
    if one.trend is None or abs(one.trend) < 0.2:
        return "–"
    return "higher" if (one.trend > 0) == (direction == "max") else "lower"


def _breakable(name):
    """Return the name of a field that may be broken after its dots and underscores."""
    return Markup(join(re.split(r"(?<=[._])", name), "<wbr>"))


def _importance(view):
    rows = []
    for one, good in _importance_rows(view):
        bar = tag("td", "too few trials", class_="bar quiet")
        if one.share is not None:
            bar = tag(
                "td",
                plots.interval_bar(one.share, None),
                f"{100 * one.share:.0f}%",
                class_="bar",
            )
        rows.append(
            (_breakable(one.name), bar, tag("td", _trend(one, view.result.direction)), good)
        )
    header = ("Field", tag("th", "Importance", scope="col"), tag("th", "Better if", scope="col"),
              "In the best trials")  # fmt: skip
    return join([tag("p", _IMPORTANCE_NOTE, class_="note"), table(header, rows, class_="fields")])


_IMPORTANCE_NOTE = (
    "Importance: the share of the variance of the trials' ranks that lies between groups of like "
    "values of the field, less what chance gives; of the first stage. Fields that matter only "
    "together are not seen. With few trials it is a rough guide."
)


def _progress(view):
    result = view.result
    chart = charts.progress_chart(
        result.trials, result.best_so_far(), result.best, result.objective, result.direction
    )
    title = tag("h3", f"Best {result.objective} so far, by trial")
    note = "Grey: ended early. A cross: no value. Stages of other lengths are not comparable."
    figures = [tag("figure", title, chart, tag("figcaption", note))]
    test = view.range_test
    if test is not None and test.rates:
        found = charts.range_test_chart(test, _searched_rates(view))
        rates = ", ".join(f"{name} {text_of(rate)}" for name, rate in test.suggestions.items())
        figures.append(
            tag(
                "figure",
                tag("h3", "Range test: loss by learning rate"),
                found,
                tag("figcaption", f"Dots, rates suggested for the recipe as it is: {rates}. Shaded:"
                    " what is searched."),
            )
        )  # fmt: skip
    return tag("div", join(figures), class_="grid")


def _searched_rates(view):
    space = view.spaces.get(view.stages[0])
    values = space.dimensions.get(RATE) if space else None
    if values is None:
        return None
    if isinstance(values, Range):
        return values.low, values.high
    return min(values.values), max(values.values)


_BATCH_HEADER = (
    "Batch size", "Trials", "Seconds a trial", "Seconds an epoch", "Best", "Median",
)  # fmt: skip
_BATCH_NOTE = (
    "Completed trials of the winner's stage; medians. An epoch is one after the first, in which "
    "the network is compiled. Other fields differ between trials too: this says what a size costs, "
    "and only roughly what it gains."
)


def _batch_rows(view):
    for cost in view.batch_costs:
        yield (
            str(cost.size),
            str(cost.trials),
            f"{cost.seconds:.1f}",
            "–" if cost.epoch_seconds is None else f"{cost.epoch_seconds:.2f}",
            show(view.result.objective, cost.best),
            show(view.result.objective, cost.median),
        )


def _batch_size(view):
    if not view.batch_costs:
        return None
    note = tag("p", _BATCH_NOTE, class_="note")
    return join([note, table(_BATCH_HEADER, list(_batch_rows(view)))])


def _curves(view):
    runs = view.leaders
    longest = max((len(run.epochs) for run in runs), default=0)
    if not longest:
        return None
    epochs = list(range(1, longest + 1))
    names = [f"run{index % 4 + 1} dash1" for index in range(len(runs))]
    objective = view.result.objective
    wanted = _CURVES
    if objective not in [key for key, _, _ in _CURVES]:
        wanted = ((objective, objective, None), *_CURVES)
    figures = []
    for key, title, upper in wanted:
        series = [
            [_finite(run.epochs[e].get(key)) if e < len(run.epochs) else None
             for e in range(longest)]
            for run in runs
        ]  # fmt: skip
        if all(value is None for curve in series for value in curve):
            continue
        chart = plots.line_chart(epochs, series, label=f"{title} of the best trials", upper=upper,
                                 names=names, dots=[None] * len(runs))  # fmt: skip
        figures.append(tag("figure", tag("h3", title), chart))
    legend = join(
        tag("span", plots.swatch(name), run.label) for name, run in zip(names, runs, strict=True)
    )
    note = "By epoch. Training figures are of augmented images, alike or not from trial to trial."
    return join(
        [
            tag("p", note, class_="note"),
            tag("p", legend, class_="legend wide"),
            tag("div", join(figures), class_="grid"),
        ]
    )


def _finite(value):
    return value if isinstance(value, (int, float)) and abs(value) < float("inf") else None


def _diagnoses(view):
    blocks = []
    for run in (*view.leaders, *view.seeds):
        items = [
            tag(
                "li",
                tag("strong", _word(finding["name"])),
                f": {finding['message']}.",
                tag("span", f"What to do: {finding['advice']}.", class_="note"),
                class_=_KINDS[finding["severity"]],
            )
            for finding in run.findings
        ] or [tag("li", _sentence(run.note), class_="info" if run.note[:3] != "not" else "good")]
        label = f"Winner, {run.label}" if run in view.seeds else _sentence(run.label)[:-1]
        blocks.append(tag("div", tag("h3", label), tag("ul", join(items), class_="verdicts")))
    return tag("div", join(blocks), class_="diagnoses") if blocks else None


def _word(name):
    words = {"overfit": "over-fit", "underfit": "under-fit"}
    return words.get(name, name.replace("_", " ")).capitalize()


def _sentence(words):
    return f"{words[:1].upper()}{words[1:]}."


_SEED_HEADER = ("Seed", "Validation accuracy", "Epochs", "Seconds")


def _seed_rows(view):
    seeds = view.result.seeds
    for number, (accuracy, run) in enumerate(zip(seeds.accuracies, view.seeds, strict=True)):
        seconds = [epoch.get("seconds") for epoch in run.epochs]
        known = seconds and None not in seconds
        yield (str(number), f"{100 * accuracy:.2f}%", str(len(run.epochs)),
               f"{sum(seconds):.0f}" if known else "–")  # fmt: skip
    spread = "" if seeds.deviation is None else f" ± {100 * seeds.deviation:.2f}"
    yield "mean ± s.d." if spread else "mean", f"{100 * seeds.mean:.2f}{spread}%", "", ""


def _seeds(view):
    if not view.result.seeds:
        return None
    return table(_SEED_HEADER, list(_seed_rows(view)))


def _before_rows(view):
    found = view.preflight
    if not found:
        return
    figures = found.get("figures", {})
    for name, key in (
        ("First loss", "initial_loss"),
        ("Loss of guessing, log C", "log_classes"),
        ("One batch, fitted to", "overfit_loss"),
        ("Lowest possible", "overfit_floor"),
    ):
        if figures.get(key) is not None:
            yield name, f"{figures[key]:.3g}"
    yield "Checks", ", ".join(name.replace("_", " ") for name in found.get("checks", ()))


def _before(view):
    rows = list(_before_rows(view))
    if not rows:
        return None
    notes = [
        tag("li", tag("strong", finding["name"].replace("_", " ").capitalize()),
            f": {finding['message']}.", class_=_KINDS[finding["severity"]])
        for finding in view.preflight.get("findings", ())
    ]  # fmt: skip
    return join([definitions(rows), tag("ul", join(notes), class_="verdicts") if notes else None])


def _trial_header(view):
    names = list(dict.fromkeys(name for trial in view.result.trials for name in trial.values))
    return ["Trial", "State", view.result.objective, "Epochs", "Seconds", *names], names


def _ordered(view):
    """Return the trials, the last stage first, in it the best first, then those without an end."""
    sign = -1 if view.result.direction == "max" else 1
    stages = view.stages

    def order(trial):
        value = trial.value
        ended = {COMPLETED: 0, PRUNED: 1}.get(trial.state, 2)
        return -stages.index(trial.stage), ended, 0.0 if value is None else sign * value

    return sorted(view.result.trials, key=order)


def _trial_row(trial, names, objective) -> list[Any]:
    return [
        trial.name,
        trial.state,
        show(objective, trial.value),
        f"{trial.epochs} of {trial.planned_epochs}",
        f"{trial.seconds:.1f}",
        *(text_of(trial.values[name]) if name in trial.values else "–" for name in names),
    ]


def _trials(view):
    header, names = _trial_header(view)
    rows = []
    for trial in _ordered(view):
        row = _trial_row(trial, names, view.result.objective)
        kind = trial.state if trial.state in (COMPLETED, PRUNED) else "lost"
        row[1] = tag("td", tag("span", trial.state, class_=f"state {kind}", title=trial.reason))
        if trial == view.result.best:
            row[0] = tag("strong", trial.name)
        rows.append(row)
    heads = [tag("th", name.rpartition(".")[2], scope="col", title=name, class_="number")
             for name in names]  # fmt: skip
    header = [*header[:1], tag("th", "State", scope="col"), *header[2:5], *heads]
    shown, rest = rows[:_SHOWN], rows[_SHOWN:]
    more = None
    if rest:
        words = f"The other {counted(len(rest), 'trial')}"
        more = tag("details", tag("summary", words), table(header, rest, class_="trials"))
    return join([table(header, shown, class_="trials"), more])


_SECTIONS = (
    ("winner", "The winner", _winner),
    ("trials", "Trials", _parallel),
    ("importance", "What each field is worth", _importance),
    ("progress", "Progress and range test", _progress),
    ("batch-size", "What a batch size costs", _batch_size),
    ("curves", "Learning curves of the best", _curves),
    ("diagnosis", "Diagnosis", _diagnoses),
    ("seeds", "The winner over seeds", _seeds),
    ("before", "Before the search", _before),
    ("table", "All trials", _trials),
)


def search_markdown(view: SearchView, running: str | None = None) -> str:
    """Return the report as Markdown: the same figures, without pictures."""
    escape = markdown.escape
    parts = [f"# Search: {escape(view.name)}"]
    if running:
        parts.append(f"{escape(running)} is still to come.")
    parts.append(escape(_what(view)))
    parts.append("\n".join(f"- {escape(words)}" for _, words in verdicts(view)))
    parts += ["## The winner", markdown.table(_winner_header(view), list(_winner_rows(view)))]
    rows = [
        (one.name, "–" if one.share is None else f"{100 * one.share:.0f}%",
         _trend(one, view.result.direction), good)
        for one, good in _importance_rows(view)
    ]  # fmt: skip
    header = ("Field", "Importance", "Better if", "In the best trials")
    parts += ["## What each field is worth", _IMPORTANCE_NOTE, markdown.table(header, rows)]
    if view.range_test is not None:
        parts.append("## Range test")
        parts.append("\n".join(f"- {escape(line)}" for line in view.range_test.lines()))
    if view.batch_costs:
        parts += ["## What a batch size costs", _BATCH_NOTE,
                  markdown.table(_BATCH_HEADER, list(_batch_rows(view)))]  # fmt: skip
    parts.append("## Diagnosis")
    for run in (*view.leaders, *view.seeds):
        lines = [
            f"- {escape(_word(finding['name']))}: {escape(finding['message'])}. "
            f"What to do: {escape(finding['advice'])}."
            for finding in run.findings
        ] or [f"- {escape(_sentence(run.note))}"]
        parts += [f"### {escape(run.label)}", "\n".join(lines)]
    if view.result.seeds:
        parts += ["## The winner over seeds", markdown.table(_SEED_HEADER, list(_seed_rows(view)))]
    before = list(_before_rows(view))
    if before:
        lines = [f"- {escape(name)}: {escape(value)}" for name, value in before]
        parts += ["## Before the search", "\n".join(lines)]
    header, names = _trial_header(view)
    rows = [_trial_row(trial, names, view.result.objective) for trial in _ordered(view)]
    parts += ["## All trials", markdown.table(header, rows)]
    return "\n\n".join(part for part in parts if part) + "\n"
