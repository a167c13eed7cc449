"""Sections on the single classes: their scores, hardest first, and their recall by epoch."""

import math

from recipes.evaluation import plots
from recipes.evaluation.page import Markup, join, table, tag
from recipes.evaluation.report_json import class_rows
from recipes.evaluation.run_files import RunFiles
from recipes.evaluation.wording import decimals, interval, percent
from recipes.wording import counted

# Of many classes the table shows the hardest; the rest unfolds.
_CLASSES_SHOWN = 30
_CURVES_SHOWN = 20


def classes(run: RunFiles) -> Markup | None:
    """Return the scores of each class and its most frequent mistake, hardest first."""
    if not run.judged:
        return None
    rows = class_rows(run)
    header = ("Class", "Recall, with its 95% interval", "Precision", "F1", "Images",
              tag("th", "Most often taken for", scope="col", class_="taken"))  # fmt: skip
    shown = table(header, map(_cells, rows[:_CLASSES_SHOWN]), text_columns=2)
    rest = rows[_CLASSES_SHOWN:]
    more = None
    if rest:
        more = tag(
            "details",
            tag("summary", f"The other {counted(len(rest), 'class', 'classes')}"),
            table(header, map(_cells, rest), text_columns=2),
        )
    note = (
        "Recall is the share of a class's images that are found, precision the share of the "
        "predictions of a class that are right, F1 their harmonic mean; the number of images is "
        "the n of the recall. Hardest class first."
    )
    return join([tag("p", note, class_="note"), shown, more])


def class_curves(run: RunFiles) -> Markup | None:
    """Return the validation recall of each class by epoch, the lowest last first."""
    names = run.class_names
    curves = [epoch.get("val_recall") for epoch in run.history]
    if not names or not any(isinstance(recall, list) for recall in curves):
        return None
    curves = [recall if isinstance(recall, list) else [] for recall in curves]
    by_class = [
        [recall[index] if index < len(recall) else None for recall in curves]
        for index in range(len(names))
    ]
    mean = [
        sum(known) / len(known)
        if (known := [value for value in recall if value is not None])
        else None
        for recall in curves
    ]
    kept = (run.metrics or {}).get("selected_epoch")
    epochs = [epoch["epoch"] for epoch in run.history]
    marked = epochs.index(kept) if kept in epochs else len(epochs) - 1
    order = sorted(
        range(len(names)),
        key=lambda index: (by_class[index][marked] is None, by_class[index][marked] or 0),
    )
    # One scale for all, so that the curves can be compared; from a round number below the lowest.
    shown = [by_class[index] for index in order[:_CURVES_SHOWN]]
    known = [value for curve in [*shown, mean] for value in curve if value is not None]
    lowest = math.floor(10 * min(known, default=0)) / 10
    lowest = min(lowest, 0.9)
    figures = [
        tag(
            "figure",
            tag("h3", names[index], " ", tag("span", percent(by_class[index][marked], 0))),
            plots.spark_line(
                by_class[index],
                mean,
                low=lowest,
                label=f"Recall of {names[index]} by epoch",
                marked=marked,
            ),
        )
        for index in order[:_CURVES_SHOWN]
    ]
    which = f"epoch {epochs[marked]}{', the one kept' if kept in epochs else ''}"
    note = (
        f"Recall of each class on the validation images, from {percent(lowest, 0)} (lower line) to "
        "100% (upper line), from the first epoch to the last; in grey the mean of the classes. The "
        f"number and the dot are of {which}."
    )
    if len(names) > _CURVES_SHOWN:
        note += f" Of {len(names)} classes, the {_CURVES_SHOWN} hardest."
    return join([tag("p", note, class_="note"), tag("div", join(figures), class_="sparks")])


def _cells(row):
    bar = tag("td", None if row["recall"] is not None else "–", class_="bar")
    if row["recall"] is not None:
        bounds = row["recall_interval"]
        bar = tag(
            "td",
            plots.interval_bar(row["recall"], bounds),
            percent(row["recall"]),
            class_="bar",
            title=f"95% interval {interval(bounds)}",
        )
    taken = None
    if row["taken_for"]:
        taken = f"{row['taken_for']} ({row['taken_for_count']:,})"
    return (
        row["name"],
        bar,
        percent(row["precision"]),
        decimals(row["f1"]),
        f"{row['support']:,}",
        tag("td", taken or "–", class_="taken"),
    )
