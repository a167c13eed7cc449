"""Sections on how well the model does: classes, confusion, reliability, mistakes, numbers."""

from recipes.evaluation import plots
from recipes.evaluation.definitions import DEFINITIONS, IMAGES_MEANING, NOISE_MEANING
from recipes.evaluation.metrics import confused_pairs, wilson_interval
from recipes.evaluation.page import Markup, join, picture, table, tag
from recipes.evaluation.run_files import RunFiles
from recipes.evaluation.wording import counted, decimals, interval, percent

# More classes than this make a matrix nobody can read; the mistakes are listed instead.
LARGEST_MATRIX = 30
# Of many classes the table shows the hardest; the rest unfolds.
_CLASSES_SHOWN = 30
_MOST_CONFUSED = 10


def classes(run: RunFiles) -> Markup | None:
    """Return precision, recall and F1 of each class, hardest first."""
    if not run.judged:
        return None
    rows = sorted(
        run.judged[1]["per_class"], key=lambda row: (row["recall"] is None, row["recall"] or 0)
    )
    header = ("Class", "Recall, with its 95% interval", "Precision", "F1", "Images")

    def cells(row):
        support, recall = row["support"], row["recall"]
        bar = tag("td", None if recall is not None else "–", class_="bar")
        if recall is not None:
            bounds = wilson_interval(round(recall * support), support)
            bar = tag(
                "td",
                plots.interval_bar(recall, bounds),
                percent(recall),
                class_="bar",
                title=f"95% interval {interval(bounds)}",
            )
        return (
            row["name"],
            bar,
            percent(row["precision"]),
            decimals(row["f1"]),
            f"{support:,}",
        )

    shown = table(header, map(cells, rows[:_CLASSES_SHOWN]), text_columns=2)
    rest = rows[_CLASSES_SHOWN:]
    more = None
    if rest:
        more = tag(
            "details",
            tag("summary", f"The other {counted(len(rest), 'class', 'classes')}"),
            table(header, map(cells, rest), text_columns=2),
        )
    note = (
        "Recall is the share of a class's images that are found, precision the share of the "
        "predictions of a class that are right. Hardest class first."
    )
    return join([tag("p", note, class_="note"), shown, more])


def confusion(run: RunFiles) -> Markup | None:
    """Return the confusion matrix as a heat map, and the most frequent mistakes."""
    if not run.judged:
        return None
    counts = run.judged[1]["confusion"]
    names = [row["name"] for row in run.judged[1]["per_class"]]
    matrix = _matrix(counts, names) if len(names) <= LARGEST_MATRIX else None
    pairs = confused_pairs(counts, names, _MOST_CONFUSED)
    rows = [(p["true"], p["predicted"], f"{p['count']:,}", percent(p["share"])) for p in pairs]
    listed = (
        table(("True class", "Taken for", "Images", "of the class"), rows, text_columns=2)
        if rows
        else tag("p", "There is no mistake.")
    )
    note = (
        f"Each row is a true class; numbers are percent of its {run.judged[0]} images. Blue is "
        "right, orange is wrong, its depth scaled to the largest mistake."
        if matrix
        else f"A matrix of {len(names)} classes would not be readable; the most frequent mistakes:"
    )
    if matrix:
        heading = tag("h3", "Most frequent mistakes")
        listed = tag("div", matrix, tag("div", heading, listed), class_="split")
    return join([tag("p", note, class_="note"), listed])


def reliability(run: RunFiles) -> Markup | None:
    """Return reliability diagrams before and after temperature scaling."""
    if not run.judged:
        return None
    split, judged = run.judged
    figures = []
    if run.uncalibrated and split == "test":
        before = decimals((run.metrics.get("test_uncalibrated") or {}).get("ece"))
        figures.append(
            plots.reliability_chart(
                run.uncalibrated, title=f"As trained: ECE {before}", label="Reliability as trained"
            )
        )
    value = (run.metrics.get("temperature") or {}).get("value")
    at = f" at temperature {decimals(value, 2)}" if value else ""
    figures.append(
        plots.reliability_chart(
            judged["reliability"],
            title=f"Calibrated{at}: ECE {decimals(judged['ece'])}",
            label="Reliability after temperature scaling",
        )
    )
    note = (
        f"Of the {split} images to which the model gives a confidence of, say, 80%, about 80% "
        "should be right: bars (accuracy, with its 95% interval) then end at the orange marks "
        "(mean confidence of the bin), near the dashed line. Below: how many images have which "
        "confidence."
    )
    return join(
        [
            tag("p", note, class_="note"),
            tag("div", join(tag("figure", chart) for chart in figures), class_="grid pair"),
        ]
    )


def mistakes(run: RunFiles) -> Markup | None:
    """Return the most confident mistakes as pictures."""
    if not run.mistakes:
        return None
    figures = []
    for mistake in run.mistakes:
        source, small = picture(mistake.pixels)
        figures.append(
            tag(
                "figure",
                tag(
                    "img",
                    src=source,
                    class_="pixels" if small else None,
                    alt=f"{mistake.true}, predicted {mistake.predicted}",
                ),
                tag(
                    "figcaption",
                    tag("span", mistake.predicted, class_="wrong"),
                    tag("span", f"labelled {mistake.true}"),
                    tag("span", f"confidence {percent(mistake.probability)}", class_="quiet"),
                ),
            )
        )
    note = (
        "Wrongly classified test images, the surest first; in orange what the model says. Look "
        "here for wrong or doubtful labels."
    )
    return join([tag("p", note, class_="note"), tag("div", join(figures), class_="gallery")])


def numbers(run: RunFiles) -> Markup | None:
    """Return every number with its definition."""
    if not run.judged:
        return None
    metrics = run.metrics
    columns = [
        (title, metrics[key])
        for key, title in (
            ("test", "Test"),
            ("test_uncalibrated", "Test, T = 1"),
            ("validation", "Validation"),
        )
        if metrics.get(key)
    ]

    def row(name, values, meaning):
        return (name, *values, tag("td", meaning, class_="meaning"))

    counts = (f"{found['images']:,}" if "images" in found else None for _, found in columns)
    rows = [row("Images", counts, IMAGES_MEANING)]
    for definition in DEFINITIONS:
        if any(definition.key in found for _, found in columns):
            shown = (definition.show(found) for _, found in columns)
            rows.append(row(definition.name, shown, definition.meaning))
    noise = [found.get("ece_noise_floor") for _, found in columns]
    if any(noise):
        shown = (n and f"{decimals(n['mean'], 4)}, {decimals(n['upper'], 4)}" for n in noise)
        rows.append(row("ECE from chance alone", shown, NOISE_MEANING))
    note = _temperature_note(metrics.get("temperature"))
    header = (
        "Number",
        *(title for title, _ in columns),
        tag("th", "Meaning", scope="col", class_="meaning"),
    )
    return join([table(header, rows), tag("p", note, class_="note") if note else None])


def _temperature_note(fit):
    if not fit:
        return None
    return (
        f"Temperature {decimals(fit['value'], 4)}, fitted on "
        f"{counted(fit.get('images') or 0, 'validation image')}: their negative log-likelihood "
        f"went from {decimals(fit['nll_before'], 4)} to {decimals(fit['nll_after'], 4)}. It "
        "divides the logits and never changes the predicted class. It flatters the calibration of "
        "the validation images, not that of the test images."
    )


def _matrix(counts, names):
    """Return the confusion matrix as a table; colour depth through the variable `--v`."""
    sums = [sum(row) for row in counts]
    shares = [
        [count / total if total else 0 for count in row]
        for row, total in zip(counts, sums, strict=True)
    ]
    worst = max((s for i, row in enumerate(shares) for j, s in enumerate(row) if i != j), default=0)
    head = join(tag("th", tag("span", name), scope="col", title=name) for name in names)
    rows = []
    for i, name in enumerate(names):
        cells = []
        for j, share in enumerate(shares[i]):
            if not counts[i][j]:
                cells.append(tag("td", class_="zero"))
                continue
            depth = 0.12 + 0.78 * share if i == j else 0.1 + 0.7 * share / worst
            kind = "right" if i == j else "wrong"
            strong = " strong" if i == j and share > 0.45 else ""
            tip = f"{name} taken for {names[j]}: {counts[i][j]:,} of {sums[i]:,}"
            cells.append(
                tag("td", _short(share), class_=kind + strong, style=f"--v:{depth:.2f}", title=tip)
            )
        support = tag("td", f"{sums[i]:,}", class_="support")
        rows.append(tag("tr", tag("th", name, scope="row", title=name), join(cells), support))
    corner = tag("th", "true ↓  predicted →", class_="quiet")
    heading = tag("tr", corner, head, tag("th", "n", class_="support"))
    content = tag(
        "table",
        tag("thead", heading),
        tag("tbody", join(rows)),
        class_="confusion many" if len(names) > 14 else "confusion",
    )
    return tag("div", content, class_="scroll", tabindex="0")


def _short(share):
    """Whole percent without the sign; below one percent a single decimal without its zero."""
    return f"{100 * share:.0f}" if share >= 0.00995 else f"{100 * share:.1f}".removeprefix("0")
