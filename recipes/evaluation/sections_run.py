"""Sections on how the run was made: files, curves, data, recipe, environment."""

from recipes.evaluation import plots, summary
from recipes.evaluation.page import Markup, definitions, join, table, tag
from recipes.evaluation.run_files import RunFiles
from recipes.evaluation.wording import date, decimals, duration, milliseconds, percent, points, size
from recipes.wording import counted

# Of many classes the table shows the hardest; the rest unfolds.
_CLASSES_SHOWN = 30
_PROBLEM_PATHS = 5


def exported_files(run: RunFiles) -> Markup | None:
    """Return the table of the exported files, each measured as it lies on disk."""
    rows = (run.export or {}).get("files")
    if not rows:
        return None
    single = summary.exported(run, "float32")
    header = ("File", "Size", "of float32", "gzip", "Accuracy", "Δ points", "ECE", "Same class",
              "Largest Δ", "Latency", "p90", "In → out")  # fmt: skip
    body = []
    keras = run.export.get("keras")
    for row in rows:
        latency = row.get("latency_ms") or {}
        ratio = row["bytes"] / single["bytes"] if single and single.get("bytes") else None
        body.append(
            (
                row["file"],
                size(row.get("bytes")),
                decimals(ratio, 2),
                size(row.get("gzip_bytes")),
                percent(row.get("accuracy")),
                points(summary.loss(run, row)),
                decimals(row.get("ece")),
                percent(row.get("agreement")),
                decimals(row.get("max_difference"), 4),
                milliseconds(latency.get("median")),
                milliseconds(latency.get("p90")),
                f"{row.get('input_dtype', '?')} → {row.get('output_dtype', '?')}",
            )
        )
    if keras:
        cells = (size(keras.get("bytes")), None, None, percent(keras.get("accuracy")), None)
        body.append(("model.keras", *cells, decimals(keras.get("ece")), *[None] * 5))
    return join([table(header, body), tag("p", export_note(run), class_="note")])


def export_note(run: RunFiles) -> str:
    """Return how the exported files were measured."""
    export = run.export or {}
    latency = (export["files"][0].get("latency_ms") or {}) if export.get("files") else {}
    words = [
        f"Each file was run by {export.get('runtime', 'the LiteRT interpreter')} on "
        f"{counted(export.get('images') or 0, export.get('split', 'test') + ' image')}. "
        "“Same class” is how often it predicts what model.keras predicts, “largest Δ” the largest "
        "difference of any probability."
    ]
    if latency:
        words.append(
            f"Latency: one image a call, {counted(latency.get('threads') or 1, 'thread')}, "
            f"{counted(latency.get('runs') or 0, 'run')}."
        )
    if export.get("calibration_images"):
        number = counted(export["calibration_images"], "training image")
        words.append(f"The int8 ranges come from {number}.")
    return " ".join(words)


def learning_curves(run: RunFiles) -> Markup | None:
    """Return loss, accuracy, calibration error and learning rate by epoch."""
    if not run.history:
        return None
    epochs = [epoch["epoch"] for epoch in run.history]
    marked = (run.metrics or {}).get("selected_epoch")

    def values(name):
        return [_number(epoch.get(name)) for epoch in run.history]

    legend = tag(
        "span",
        tag("span", tag("i", class_="one"), "training"),
        tag("span", tag("i", class_="two"), "validation"),
        class_="legend",
    )
    nothing = [None] * len(epochs)
    charts = (
        ("Loss", "loss", "val_loss", None),
        ("Accuracy", "accuracy", "val_accuracy", 1),
        ("Calibration error (ECE)", None, "val_ece", None),
        ("Learning rate", "learning_rate", None, None),
    )
    figures = []
    for title, first, second, upper in charts:
        series = [values(first) if first else nothing, values(second) if second else nothing]
        if all(value is None for curve in series for value in curve):
            continue
        chart = plots.line_chart(epochs, series, label=title, marked=marked, upper=upper)
        only = "validation" if second and not first else None
        extra = legend if first and second else tag("span", only, class_="legend") if only else None
        figures.append(tag("figure", tag("h3", title, extra), chart))
    note = (
        "Training loss and accuracy are means over the epoch, on augmented images while the "
        "weights move; validation is measured after it, on images left as they are. Training may "
        "therefore look worse."
    )
    if marked:
        note += f" The model kept is that of epoch {marked}."
    return join([tag("p", note, class_="note"), tag("div", join(figures), class_="grid")])


def data(run: RunFiles) -> Markup | None:
    """Return what is known of the images: shape, counts, problems."""
    if not run.data:
        return None
    shape = run.data.get("image_shape")
    facts = definitions(
        [
            ("Source", run.data.get("source")),
            ("Images", " × ".join(map(str, shape)) if shape else None),
            ("Colour", run.data.get("color")),
            ("Other aspect ratios", run.data.get("fit")),
            ("Seed of the splits", run.data.get("seed")),
            ("Fingerprint", _code(run.data.get("fingerprint"))),
        ]
    )
    counts = run.data.get("counts") or {}
    rows = [("All classes", *(f"{sum(counts[split]):,}" for split in counts))]
    for index, name in enumerate(run.class_names):
        rows.append(
            (name, *(f"{counts[s][index]:,}" if index < len(counts[s]) else None for s in counts))
        )
    listed = table(("Class", *(split.capitalize() for split in counts)), rows) if counts else None
    if listed and len(rows) > _CLASSES_SHOWN:
        listed = tag("details", tag("summary", "Images a class"), listed)
    found = [_problem(problem) for problem in run.data.get("problems") or []]
    problems = tag("ul", join(found), class_="verdicts") if found else None
    return join([facts, problems, listed])


def recipe(run: RunFiles) -> Markup:
    """Return every field of the recipe."""
    text = run.recipe.get("summary")
    rows = [
        (f"{section}.{name}", _plain(value))
        for section, fields in run.recipe.items()
        if isinstance(fields, dict)
        for name, value in fields.items()
    ]
    return join([tag("p", text, class_="note") if text else None, definitions(rows)])


def environment(run: RunFiles) -> Markup | None:
    """Return where, when and with which versions the run was made."""
    if not run.environment:
        return None
    known, machine = run.environment, run.environment.get("machine") or {}
    metrics = run.metrics or {}
    cores = machine.get("cores")
    memory = f"{machine['memory_gib']} GiB" if machine.get("memory_gib") else None
    speeds = [epoch.get("images_per_second") for epoch in run.history]
    speeds = sorted(speed for speed in speeds if speed)
    return definitions(
        [
            ("Started", date(known.get("started"))),
            ("Training time", duration(metrics.get("train_seconds"))),
            ("Epochs", f"{len(run.history)} of {run.epochs_planned}"),
            ("Training speed", f"{speeds[len(speeds) // 2]:,.0f} images/s" if speeds else None),
            ("Parameters", f"{metrics['parameters']:,}" if metrics.get("parameters") else None),
            ("Precision", known.get("precision")),
            ("Seed", known.get("seed")),
            ("Commit", _code(known.get("commit"))),
            ("Processor", machine.get("processor")),
            ("Cores, memory", ", ".join(str(fact) for fact in (cores, memory) if fact)),
            ("Instruction sets", ", ".join(machine.get("flags") or [])),
            ("GPUs", ", ".join(machine.get("gpus") or [])),
            ("Python", known.get("python")),
            *sorted((known.get("versions") or {}).items()),
        ]
    )


def _number(value):
    return value if isinstance(value, (int, float)) and value == value else None


def _problem(problem):
    paths = problem.get("paths") or []
    listed = None
    if paths:
        total = problem.get("count", len(paths))
        rest = f" and {total - _PROBLEM_PATHS:,} more" if total > _PROBLEM_PATHS else ""
        shown = join((tag("code", path) for path in paths[:_PROBLEM_PATHS]), ", ")
        listed = join([tag("br"), tag("span", shown, rest, class_="note")])
    return tag("li", problem.get("message", ""), listed, class_="warn")


def _code(value):
    return tag("code", value) if value else None


def _plain(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
