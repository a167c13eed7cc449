"""The comparison of several runs as Markdown: the same numbers, without pictures."""

from typing import Any

from recipes.evaluation.comparison_text import (
    DIFFERENCE_NOTE,
    difference_rows,
    largest_changes,
    plain,
    show,
    show_interval,
    verdicts,
)
from recipes.evaluation.markdown import escape, table
from recipes.evaluation.wording import date, percent, points, points_interval
from recipes.wording import counted


def markdown_comparison(content: dict[str, Any]) -> str:
    """Return the whole text from what `compare_runs` gives."""
    runs = content["runs"]
    rows = [
        (run["label"], run["recipe"], run["model"], run["source"], date(run["started"]))
        for run in runs
    ]
    parts = [
        f"# {counted(len(runs), 'run')} compared",
        table(("Run", "Recipe", "Model", "Data", "Started"), rows, text_columns=5),
        f"The reference is {escape(runs[0]['label'])}.",
        "\n".join(f"- {escape(text)}" for _, text in verdicts(content)),
        *(build(content) for build in _SECTIONS),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(content):
    rows = [
        (number["name"], *(_figure(number["key"], entry) for entry in number["runs"]),
         number["definition"])
        for number in content["numbers"]
    ]  # fmt: skip
    images = (f"{run['images']:,}" if run["images"] else None for run in content["runs"])
    rows.insert(0, (f"{content['split'].capitalize()} images (n)", *images, "Of each run."))
    return f"## Final figures\n\n{table((*_header(content, 'Number'), 'Meaning'), rows)}"


def _figure(key, entry):
    words, bounds = show(key, entry["value"]), show_interval(key, entry["interval"])
    return f"{words} ({bounds})" if bounds else words


def _differences(content):
    rows = []
    for row in difference_rows(content):
        if row.get("reason"):
            continue
        accuracy, nll, brier = (
            f"{row[key][0]} ({row[key][1]})" for key in ("accuracy", "nll", "brier")
        )
        rows.append(
            (row["run"], row["reference"], row["n"], accuracy, row["only_run"],
             row["only_reference"], row["p"], row["p_adjusted"], nll, brier)
        )  # fmt: skip
    if not rows:
        return None
    header = ("Run", "against", "Images", "Δ accuracy, points", "only it right", "only the other",
              "p", "p, Holm", "Δ NLL", "Δ Brier")  # fmt: skip
    return f"## Paired differences\n\n{DIFFERENCE_NOTE}\n\n{table(header, rows, text_columns=2)}"


def _classes(content):
    rows = content["classes"]["rows"]
    if not any(entry["recall"] is not None for row in rows for entry in row["runs"]):
        return None
    labels = [run["label"] for run in content["runs"]]
    changes = {
        (pair["run"], row["name"]): row
        for pair in content["pairs"]["rows"]
        for row in pair.get("classes") or []
    }

    def cell(label, name, entry):
        change = changes.get((label, name))
        if entry["recall"] is None:
            return None
        if not change or change["difference"] is None:
            return percent(entry["recall"])
        moved = f"{points(change['difference'])}; {points_interval(change['interval'])}"
        return f"{percent(entry['recall'])} ({moved})"

    body = [
        (
            row["name"],
            *(cell(label, row["name"], e) for label, e in zip(labels, row["runs"], strict=True)),
        )
        for row in rows
    ]
    note = "In brackets the change from the reference in points, with its paired 95% interval."
    return f"## Recall of each class\n\n{note}\n\n{table(_header(content, 'Class'), body)}"


def _confusion(content):
    parts = []
    for pair in content["pairs"]["rows"]:
        if pair.get("confusion"):
            changes = largest_changes(pair["confusion"], content["class_names"])
            rows = [(*names, points(change)) for *names, change in changes]
            title = escape(f"{pair['run']} − {pair['reference']}")
            parts.append(f"### {title}")
            header = ("True class", "Given", "Δ points")
            parts.append(table(header, rows, text_columns=2) if rows else "The same shares.")
    return "\n\n".join(["## Largest changes of the confusion matrix", *parts]) if parts else None


def _settings(content):
    if not content["settings"]:
        return "## Recipes\n\nThe recipes are the same in every field."
    return f"## Recipes, what differs\n\n{_facts(content, content['settings'])}"


def _data(content):
    return f"## Data\n\n{_facts(content, content['data'])}" if content["data"] else None


def _environments(content):
    rows = content["environments"]
    return f"## Environments\n\n{_facts(content, rows)}" if rows else None


def _facts(content, rows):
    body = [(row["field"], *(plain(value) for value in row["values"])) for row in rows]
    return table(_header(content, "Field"), body)


def _header(content, first):
    return (first, *(run["label"] for run in content["runs"]))


_SECTIONS = (_figures, _differences, _classes, _confusion, _settings, _data, _environments)
