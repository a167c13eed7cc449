"""The comparison of several runs as one HTML page that needs nothing else."""

from typing import Any

from recipes.evaluation import plots
from recipes.evaluation.comparison_text import (
    CURVES,
    DIFFERENCE_NOTE,
    LARGEST_MATRIX,
    difference_rows,
    largest_changes,
    plain,
    show,
    show_interval,
    verdicts,
)
from recipes.evaluation.page import Markup, definitions, document, join, table, tag
from recipes.evaluation.wording import date, decimals, interval, percent, points, points_interval
from recipes.wording import counted

# Colours that differ with every kind of colour blindness are few; then the line is broken.
_COLORS = 4
_CLASSES_SHOWN = 30
_RUNS_BESIDE_MEANINGS = 4
_IMAGES_MEANING = "The n of everything from the accuracy to the calibration errors."


def html_comparison(content: dict[str, Any]) -> Markup:
    """Return the whole page from what `compare_runs` gives."""
    sections = [(name, title, build(content)) for name, title, build in _SECTIONS]
    sections = [section for section in sections if section[2]]
    links = join((tag("a", name.capitalize(), href=f"#{name}") for name, _, _ in sections), " ")
    labels = [run["label"] for run in content["runs"]]
    title = f"{counted(len(labels), 'run')} compared"
    parts = [
        tag("header", tag("h1", title), _legend(content), tag("nav", links, aria_label="Sections")),
        tag("ul", join(tag("li", text, class_=kind) for kind, text in verdicts(content)),
            class_="verdicts"),
        *(tag("section", tag("h2", title), body, id=name) for name, title, body in sections),
        tag("footer", "Made from the files of the run directories by keras-recipes."),
    ]  # fmt: skip
    return document(f"{' · '.join(labels)} · comparison", join(parts, "\n"))


def style_of(index: int) -> str:
    """Return the style classes of the curve of a run."""
    return f"run{index % _COLORS + 1} dash{index // _COLORS + 1}"


def _legend(content):
    rows = []
    for index, run in enumerate(content["runs"]):
        state = None
        if not run["finished"]:
            of = f" of {run['epochs_planned']}" if run["epochs_planned"] else ""
            state = tag("span", f"unfinished after epoch {run['epochs']}{of}", class_="pill")
        facts = (run["recipe"], run["model"], run["source"], date(run["started"]))
        words = " · ".join(str(fact) for fact in facts if fact)
        if index == 0:
            words += " · the reference"
        name = tag("strong", run["label"])
        about = tag("span", name, state, " ", tag("span", words, class_="note"))
        rows.append(tag("li", plots.swatch(style_of(index)), about))
    return tag("ul", join(rows), class_="runs")


def _heading(content, index):
    """A run as the head of a column: its line and its name."""
    label = content["runs"][index]["label"]
    return tag("th", plots.swatch(style_of(index)), label, scope="col", class_="number run")


def _cell(value, below=None):
    if value is None:
        return tag("td", "–", class_="number")
    small = tag("span", below, class_="below") if below else None
    return tag("td", value, small, class_="number")


def _figures(content):
    runs = range(len(content["runs"]))
    # Beside many runs the meanings would be out of sight.
    beside = len(runs) <= _RUNS_BESIDE_MEANINGS
    rows, meanings = [], [(f"{content['split'].capitalize()} images", _IMAGES_MEANING)]
    images = (f"{run['images']:,}" if run["images"] else None for run in content["runs"])
    rows.append((meanings[0][0], *map(_cell, images)))
    for number in content["numbers"]:
        key = number["key"]
        cells = (
            _cell(show(key, entry["value"]), show_interval(key, entry["interval"]))
            for entry in number["runs"]
        )
        rows.append((number["name"], *cells))
        meanings.append((number["name"], number["definition"]))
    header = ["Number", *(_heading(content, index) for index in runs)]
    below = None
    if beside:
        header.append(tag("th", "Meaning", scope="col", class_="meaning"))
        rows = [
            (*row, tag("td", meaning, class_="meaning"))
            for row, (_, meaning) in zip(rows, meanings, strict=True)
        ]
    else:
        inside = tag("div", definitions(meanings), class_="meanings")
        below = tag("details", tag("summary", "What the numbers mean"), inside)
    note = "Below a number is its 95% interval over draws of the images, where it is known."
    return join([tag("p", note, class_="note"), table(header, rows), below])


def _differences(content):
    rows = difference_rows(content)
    if not rows:
        return None
    reference = content["runs"][0]["label"]
    leading = [row for row in rows if row["reference"] == reference]
    others = [row for row in rows if row["reference"] != reference]
    parts = [tag("p", DIFFERENCE_NOTE, class_="note"), _difference_table(leading)]
    if others:
        words = f"The other {counted(len(others), 'pair')}"
        parts.append(tag("details", tag("summary", words), _difference_table(others)))
    return join(parts)


def _difference_table(rows):
    header = ("Run", "against", "Images", "Δ accuracy, points", "only it right",
              "only the other", "p", "p, Holm", "Δ NLL", "Δ Brier")  # fmt: skip
    body = []
    for row in rows:
        if row.get("reason"):
            reason = tag("td", row["reason"], colspan="8", class_="quiet")
            body.append((row["run"], tag("td", row["reference"]), reason))
            continue
        keys = ("accuracy", "only_run", "only_reference", "p", "p_adjusted", "nll", "brier")
        cells = (
            _cell(*row[key]) if isinstance(row[key], tuple) else _cell(row[key]) for key in keys
        )
        body.append((row["run"], tag("td", row["reference"]), f"{row['n']:,}", *cells))
    return table(header, body, text_columns=2)


def _curves(content):
    runs = content["curves"]["runs"]
    longest = max((run["epochs"][-1]["epoch"] for run in runs if run["epochs"]), default=0)
    if not longest:
        return None
    epochs = list(range(1, longest + 1))
    figures = []
    for key, title, upper in CURVES:
        series = []
        for run in runs:
            known = {epoch["epoch"]: epoch.get(key) for epoch in run["epochs"]}
            series.append([_number(known.get(epoch)) for epoch in epochs])
        if all(value is None for curve in series for value in curve):
            continue
        chart = plots.line_chart(
            epochs,
            series,
            label=f"{title} of every run",
            upper=upper,
            names=[style_of(index) for index in range(len(runs))],
            dots=[run["kept"] for run in runs],
        )
        figures.append(tag("figure", tag("h3", title), chart))
    legend = join(
        tag("span", plots.swatch(style_of(index)), run["label"])
        for index, run in enumerate(content["runs"])
    )
    note = (
        "By epoch; the dot is the epoch whose weights were kept. Training loss and accuracy are of "
        "augmented images: runs that augment otherwise are not comparable in them."
    )
    return join(
        [
            tag("p", note, class_="note"),
            tag("p", legend, class_="legend wide"),
            tag("div", join(figures), class_="grid"),
        ]
    )


def _classes(content):
    rows = content["classes"]["rows"]
    if not any(entry["recall"] is not None for row in rows for entry in row["runs"]):
        return None
    changes = {
        content["runs"].index(run): {row["name"]: row for row in pair["classes"]}
        for pair in content["pairs"]["rows"]
        if pair.get("classes")
        for run in content["runs"]
        if run["label"] == pair["run"]
    }

    def cells(row):
        for index, entry in enumerate(row["runs"]):
            change = changes.get(index, {}).get(row["name"])
            if change and change["difference"] is not None:
                low, high = change["interval"]
                mark = "better" if low > 0 else "worse" if high < 0 else None
                words = f"{points(change['difference'])} ({points_interval((low, high))})"
                below = tag("span", words, class_=mark)
            else:
                below = interval(entry["interval"]) if entry["interval"] else None
            yield _cell(None if entry["recall"] is None else percent(entry["recall"]), below)

    reference = [row["runs"][0]["recall"] for row in rows]
    order = sorted(range(len(rows)), key=lambda i: (reference[i] is None, reference[i] or 0))
    header = ("Class", *(_heading(content, index) for index in range(len(content["runs"]))),
              "Images")  # fmt: skip
    body = []
    for index in order:
        counts = sorted({e["n"] for e in rows[index]["runs"] if e["n"] is not None})
        body.append((rows[index]["name"], *cells(rows[index]), " / ".join(map(str, counts))))
    shown = table(header, body[:_CLASSES_SHOWN])
    rest = body[_CLASSES_SHOWN:]
    more = None
    if rest:
        more = tag("details", tag("summary", f"The other {counted(len(rest), 'class', 'classes')}"),
                   table(header, rest))  # fmt: skip
    note = (
        f"Recall: the share of the class's {content['split']} images that are found; hardest for "
        "the reference first. Below it, where the images are the same, its change from the "
        "reference in points with the paired 95% interval, coloured where that excludes 0; else "
        f"its own interval. Of {counted(len(rows), 'class', 'classes')}, chance colours about one "
        "in twenty."
    )
    return join([tag("p", note, class_="note"), shown, more])


def _confusion(content):
    names = content["class_names"]
    parts = []
    for pair in content["pairs"]["rows"]:
        if not pair.get("confusion"):
            continue
        title = f"{pair['run']} − {pair['reference']}"
        changes = largest_changes(pair["confusion"], names)
        listed = (
            table(("True class", "Given", "Δ points"),
                  [(*names_of, points(change)) for *names_of, change in changes], text_columns=2)
            if changes
            else tag("p", "They give every class the same shares.")
        )  # fmt: skip
        if len(names) <= LARGEST_MATRIX:
            matrix = _matrix(pair["confusion"], names)
            listed = tag(
                "div", matrix, tag("div", tag("h3", "Largest changes"), listed), class_="split"
            )
        parts.append(tag("div", tag("h3", title), listed, class_="block"))
    if not parts:
        return None
    note = (
        "Change of the share of each true class (row) that is given each class (column), in "
        "percentage points: blue where the run is better than the reference (more right, fewer "
        "mistakes), orange where it is worse."
    )
    return join([tag("p", note, class_="note"), *parts])


def _matrix(shares, names):
    worst = max((abs(share) for row in shares for share in row), default=0)
    head = join(tag("th", tag("span", name), scope="col", title=name) for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, share in enumerate(shares[i]):
            if not share:
                cells.append(tag("td", class_="zero"))
                continue
            kind = "right" if (share > 0) == (i == j) else "wrong"
            depth = 0.12 + 0.88 * abs(share) / worst
            tip = f"{name} given {names[j]}: {points(share)} points"
            text = f"{100 * share:+.0f}".replace("-", "−") if abs(share) >= 0.00995 else "·"
            cells.append(tag("td", text, class_=kind, style=f"--v:{depth:.2f}", title=tip))
        rows.append(tag("tr", tag("th", name, scope="row", title=name), join(cells)))
    corner = tag("th", "true ↓  given →", class_="quiet")
    content = tag(
        "table",
        tag("thead", tag("tr", corner, head)),
        tag("tbody", join(rows)),
        class_="confusion many" if len(names) > 14 else "confusion",
    )
    return tag("div", content, class_="scroll", tabindex="0")


def _reliability(content):
    eces = next((n["runs"] for n in content["numbers"] if n["key"] == "ece"), None)
    figures = []
    for index, found in enumerate(content["reliability"]["runs"]):
        if not found["after"]:
            continue
        label = content["runs"][index]["label"]
        columns = {
            key: [row[key] for row in found["after"]]
            for key in ("lower", "upper", "count", "confidence", "accuracy")
        }
        ece = decimals(eces[index]["value"]) if eces else "–"
        chart = plots.reliability_chart(
            columns,
            title=f"ECE {ece}, n = {found['n']:,}",
            label=f"Reliability of {label}",
        )
        heading = tag("h3", plots.swatch(style_of(index)), label)
        figures.append(tag("figure", heading, chart))
    if not figures:
        return None
    note = (
        f"Of the {content['split']} images to which a model gives a confidence of, say, 80%, about "
        "80% should be right: bars (accuracy, with its 95% interval) then end at the orange marks "
        "(mean confidence of the bin), near the dashed line. Below: how many images have which "
        "confidence."
    )
    return join([tag("p", note, class_="note"), tag("div", join(figures), class_="grid side")])


def _settings(content):
    if not content["settings"]:
        return tag("p", "The recipes are the same in every field.")
    header = ("Field", *(_heading(content, index) for index in range(len(content["runs"]))))
    rows = [(row["field"], *_values(row["values"])) for row in content["settings"]]
    return join(
        [
            tag("p", "Fields of the recipes that differ; all others are the same.", class_="note"),
            table(header, rows),
        ]
    )


def _facts(key):
    def build(content):
        rows = content[key]
        if not rows:
            return None
        header = ("Field", *(_heading(content, index) for index in range(len(content["runs"]))))
        differing = [(row["field"], *_values(row["values"])) for row in rows if row["differs"]]
        same = [row for row in rows if not row["differs"]]
        fold = None
        if same:
            words = f"The same in all: {', '.join(str(row['field']) for row in same)}"
            known = definitions((row["field"], plain(row["values"][0])) for row in same)
            fold = tag("details", tag("summary", words), known)
        shown = table(header, differing) if differing else tag("p", "No difference.")
        return join([shown, fold])

    return build


def _values(values):
    return [tag("td", plain(value), class_="value") for value in values]


def _number(value):
    return value if isinstance(value, (int, float)) and value == value else None


_SECTIONS = (
    ("figures", "Final figures", _figures),
    ("differences", "Paired differences", _differences),
    ("curves", "Learning curves", _curves),
    ("classes", "Classes", _classes),
    ("confusion", "Confusion, difference", _confusion),
    ("reliability", "Reliability", _reliability),
    ("recipes", "Recipes, what differs", _settings),
    ("data", "Data", _facts("data")),
    ("environments", "Environments", _facts("environments")),
)
