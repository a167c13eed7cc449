"""The sections of a search's page: tables, pictures and lists, each made from the view."""

import re

from recipes.evaluation import plots
from recipes.evaluation.page import Markup, definitions, join, table, tag
from recipes.wording import counted
from tuning import search_charts as charts
from tuning._search_dimensions import Range
from tuning._search_range_test import FIELD as RATE
from tuning._search_trials import COMPLETED, PRUNED
from tuning.search_axes import axes
from tuning.search_rows import (
    BATCH_HEADER,
    BATCH_NOTE,
    IMPORTANCE_NOTE,
    SEED_HEADER,
    batch_rows,
    before_rows,
    finding_title,
    importance_rows,
    ordered_trials,
    seed_rows,
    sentence,
    trend_words,
    trial_header,
    trial_row,
    winner_header,
    winner_rows,
)
from tuning.search_wording import text_of

_SHOWN = 30
_CURVES = (
    ("val_accuracy", "Validation accuracy", 1.0),
    ("val_loss", "Validation loss", None),
    ("accuracy", "Training accuracy", 1.0),
    ("loss", "Training loss", None),
    ("val_ece", "Calibration error (ECE)", 1.0),
)
_KINDS = {"error": "warn", "warning": "warn", "note": "info"}


def _winner(view):
    rows = [(_breakable(name), *rest) for name, *rest in winner_rows(view)]
    body = table(winner_header(view), rows, class_="fields")
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


def _breakable(name):
    """Return the name of a field that may be broken after its dots and underscores."""
    return Markup(join(re.split(r"(?<=[._])", name), "<wbr>"))


def _importance(view):
    rows = []
    for one, good in importance_rows(view):
        bar = tag("td", "too few trials", class_="bar quiet")
        if one.share is not None:
            bar = tag(
                "td",
                plots.interval_bar(one.share, None),
                f"{100 * one.share:.0f}%",
                class_="bar",
            )
        rows.append(
            (_breakable(one.name), bar, tag("td", trend_words(one, view.result.direction)), good)
        )
    header = ("Field", tag("th", "Importance", scope="col"), tag("th", "Better if", scope="col"),
              "In the best trials")  # fmt: skip
    return join([tag("p", IMPORTANCE_NOTE, class_="note"), table(header, rows, class_="fields")])


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


def _batch_size(view):
    if not view.batch_costs:
        return None
    note = tag("p", BATCH_NOTE, class_="note")
    return join([note, table(BATCH_HEADER, list(batch_rows(view)))])


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
                tag("strong", finding_title(finding["name"])),
                f": {finding['message']}.",
                tag("span", f"What to do: {finding['advice']}.", class_="note"),
                class_=_KINDS[finding["severity"]],
            )
            for finding in run.findings
        ] or [tag("li", sentence(run.note), class_="info" if run.note[:3] != "not" else "good")]
        label = f"Winner, {run.label}" if run in view.seeds else sentence(run.label)[:-1]
        blocks.append(tag("div", tag("h3", label), tag("ul", join(items), class_="verdicts")))
    return tag("div", join(blocks), class_="diagnoses") if blocks else None


def _seeds(view):
    if not view.result.seeds:
        return None
    return table(SEED_HEADER, list(seed_rows(view)))


def _before(view):
    rows = list(before_rows(view))
    if not rows:
        return None
    notes = [
        tag("li", tag("strong", finding["name"].replace("_", " ").capitalize()),
            f": {finding['message']}.", class_=_KINDS[finding["severity"]])
        for finding in view.preflight.get("findings", ())
    ]  # fmt: skip
    return join([definitions(rows), tag("ul", join(notes), class_="verdicts") if notes else None])


def _trials(view):
    header, names = trial_header(view)
    rows = []
    for trial in ordered_trials(view):
        row = trial_row(trial, names, view.result.objective)
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


SECTIONS = (
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
