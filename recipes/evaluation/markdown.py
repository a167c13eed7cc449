"""The report as Markdown: the same numbers, without pictures."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from recipes.evaluation import summary
from recipes.evaluation.definitions import (
    DEFINITIONS,
    NOISE_MEANING,
    RUN_DEFINITIONS,
    written_interval,
)
from recipes.evaluation.metrics import confused_pairs
from recipes.evaluation.page import clean
from recipes.evaluation.report_json import bin_rows, class_rows, interval_of, run_number
from recipes.evaluation.run_files import RunFiles
from recipes.evaluation.wording import (
    NONE,
    date,
    decimals,
    interval,
    milliseconds,
    percent,
    points,
    size,
)

_FILE_COLUMNS = (
    "File",
    "Size",
    "gzip",
    "Accuracy",
    "Δ points",
    "ECE",
    "Same class",
    "Largest Δ",
    "Latency",
)
_EPOCH_COLUMNS = (
    "Epoch",
    "Loss",
    "Accuracy",
    "Val. loss",
    "Val. accuracy",
    "Val. ECE",
    "Learning rate",
)
# A table of more columns is no longer one that people read.
_MOST_COLUMNS = 30
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


def escape(value: Any) -> str:
    """Return `value` as Markdown text on one line.

    Example:
        >>> escape("a_b | <c>")
        'a\\\\_b \\\\| \\\\<c\\\\>'
    """
    if value is None:
        return NONE
    return _SPECIAL.sub(r"\\\1", " ".join(clean(value).split()))


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], text_columns: int = 1) -> str:
    """Return a table; columns after the text columns are set to the right."""
    marks = ["---" if index < text_columns else "---:" for index in range(len(header))]
    lines = [[escape(cell) for cell in header], marks]
    lines += [[escape(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_report(run: RunFiles) -> str:
    """Return the whole report as Markdown."""
    parts = [
        f"# {escape(run.recipe.get('name', 'Run'))}",
        " · ".join(
            escape(fact)
            for fact in (
                (run.recipe.get("model") or {}).get("name"),
                run.data.get("source"),
                date(run.environment.get("started")),
            )
            if fact
        ),
    ]
    leading = summary.headlines(run)
    if leading:
        parts.append(table(("", "", ""), leading, text_columns=3))
    parts.append("\n".join(f"- {escape(text)}" for _, text in summary.verdicts(run)))
    parts += [part for build in _SECTIONS if (part := build(run))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _files(run):
    rows = (run.export or {}).get("files")
    if not rows:
        return None
    body = [
        (
            row["file"],
            size(row.get("bytes")),
            size(row.get("gzip_bytes")),
            percent(row.get("accuracy")),
            points(summary.loss(run, row)),
            decimals(row.get("ece")),
            percent(row.get("agreement")),
            decimals(row.get("max_difference"), 4),
            milliseconds((row.get("latency_ms") or {}).get("median")),
        )
        for row in rows
    ]
    return f"## Exported files\n\n{table(_FILE_COLUMNS, body)}"


def _curves(run):
    if not run.history:
        return None
    selected = (run.metrics or {}).get("selected_epoch")
    body = [
        (
            f"{epoch['epoch']}{' (kept)' if epoch['epoch'] == selected else ''}",
            decimals(epoch.get("loss"), 4),
            percent(epoch.get("accuracy")),
            decimals(epoch.get("val_loss"), 4),
            percent(epoch.get("val_accuracy")),
            decimals(epoch.get("val_ece")),
            f"{epoch['learning_rate']:.3g}" if epoch.get("learning_rate") is not None else None,
        )
        for epoch in run.history
    ]
    note = (
        "Training loss and accuracy are means over the epoch, on augmented images while the "
        "weights move; validation is measured after it."
    )
    return f"## Epochs\n\n{note}\n\n{table(_EPOCH_COLUMNS, body, text_columns=0)}"


def _classes(run):
    if not run.judged:
        return None
    body = [
        (
            row["name"],
            percent(row["recall"]),
            interval(row["recall_interval"]),
            percent(row["precision"]),
            decimals(row["f1"]),
            row["support"],
            f"{row['taken_for']} ({row['taken_for_count']:,})" if row["taken_for"] else None,
        )
        for row in class_rows(run)
    ]
    header = ("Class", "Recall", "95% interval", "Precision", "F1", "Images", "Most taken for")
    return f"## Classes, hardest first\n\n{table(header, body)}"


def _confused(run):
    if not run.judged:
        return None
    names = [row["name"] for row in run.judged[1]["per_class"]]
    pairs = confused_pairs(run.judged[1]["confusion"], names)
    body = [(p["true"], p["predicted"], p["count"], percent(p["share"])) for p in pairs]
    if not body:
        return None
    header = ("True class", "Taken for", "Images", "of the class")
    return f"## Most frequent mistakes\n\n{table(header, body, text_columns=2)}"


def _numbers(run):
    if not run.judged:
        return None
    split, judged = run.judged
    before = run.metrics.get("test_uncalibrated") if split == "test" else None
    body = [
        (
            definition.name,
            definition.show(judged),
            written_interval(definition, interval_of(run, split, definition.key)),
            definition.show(before),
            definition.meaning,
        )
        for definition in DEFINITIONS
        if definition.key in judged
    ]
    noise = judged.get("ece_noise_floor")
    if noise:
        words = f"{decimals(noise['mean'], 4)}, {decimals(noise['upper'], 4)}"
        body.append(("ECE from chance alone", words, None, None, NOISE_MEANING))
    for definition in RUN_DEFINITIONS:
        value = run_number(run, definition.key)
        if value is not None:
            words = definition.show({definition.key: value})
            body.append((definition.name, words, None, None, definition.meaning))
    header = (
        "Number",
        f"{split.capitalize()}, n = {judged['images']:,}",
        "95% interval",
        "Before calibration",
        "Meaning",
    )
    return f"## Numbers and their meaning\n\n{table(header, body)}"


def _reliability(run):
    if not run.judged:
        return None
    split, judged = run.judged
    parts = [f"## Reliability\n\nOf the {split} images, by the probability of the predicted class."]
    tables = [("Calibrated", judged["reliability"])]
    if run.uncalibrated and split == "test":
        tables.insert(0, ("As trained", run.uncalibrated))
    header = ("Confidence", "Images", "Mean confidence", "Accuracy", "95% interval of it")
    for title, found in tables:
        rows = [
            (
                f"{decimals(row['lower'], 2)} to {decimals(row['upper'], 2)}",
                row["count"],
                decimals(row["confidence"]),
                decimals(row["accuracy"]),
                " to ".join(decimals(bound) for bound in row["accuracy_interval"]),
            )
            for row in bin_rows(found)
        ]
        parts += [f"### {title}", table(header, rows)]
    return "\n\n".join(parts)


def _progress(run):
    names = run.class_names
    rows = [
        (epoch["epoch"], *(percent(value, 0) for value in epoch["val_recall"]))
        for epoch in run.history
        if len(epoch.get("val_recall") or []) == len(names)
    ]
    if not names or not rows or len(names) > _MOST_COLUMNS:
        return None
    note = "Recall of each class on the validation images."
    return f"## Classes by epoch\n\n{note}\n\n{table(('Epoch', *names), rows, text_columns=0)}"


def _mistakes(run):
    if not run.mistakes:
        return None
    rows = [(m.true, m.predicted, percent(m.probability)) for m in run.mistakes]
    header = ("Labelled", "Predicted", "Confidence")
    return f"## Most confident mistakes\n\n{table(header, rows, text_columns=2)}"


def _data(run):
    counts = run.data.get("counts")
    if not counts:
        return None
    rows = [
        (name, *(of[index] if index < len(of) else None for of in counts.values()))
        for index, name in enumerate(run.class_names)
    ]
    rows.append(("All classes", *(sum(of) for of in counts.values())))
    parts = ["## Data", table(("Class", *(split.capitalize() for split in counts)), rows)]
    problems = run.data.get("problems") or []
    if problems:
        lines = (f"- {escape(problem.get('message', ''))}" for problem in problems)
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _provenance(run):
    fields = [
        (f"{section}.{name}", value)
        for section, values in run.recipe.items()
        if isinstance(values, dict)
        for name, value in values.items()
    ]
    machine = run.environment.get("machine") or {}
    facts = [
        ("data.fingerprint", run.data.get("fingerprint")),
        ("processor", machine.get("processor")),
        ("cores", machine.get("cores")),
        ("precision", run.environment.get("precision")),
        ("commit", run.environment.get("commit")),
        ("python", run.environment.get("python")),
        *sorted((run.environment.get("versions") or {}).items()),
    ]
    known = [(name, value) for name, value in facts if value is not None]
    return (
        f"## Recipe and environment\n\n{table(('Field', 'Value'), fields + known, text_columns=2)}"
    )


_SECTIONS = (
    _files,
    _curves,
    _classes,
    _progress,
    _confused,
    _reliability,
    _mistakes,
    _numbers,
    _data,
    _provenance,
)
