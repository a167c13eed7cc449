"""Sections on how well the model does: confusion, reliability, mistakes, numbers."""

from recipes.evaluation import plots
from recipes.evaluation.definitions import (
    BIN_MEANINGS,
    CLASS_MEANINGS,
    DEFINITIONS,
    EPOCH_MEANINGS,
    FILE_MEANINGS,
    IMAGES_MEANING,
    NOISE_MEANING,
    RUN_DEFINITIONS,
    written_interval,
)
from recipes.evaluation.metrics import confused_pairs
from recipes.evaluation.page import Markup, definitions, join, picture, table, tag
from recipes.evaluation.report_json import bin_rows, interval_of, run_number
from recipes.evaluation.run_files import RunFiles
from recipes.evaluation.wording import decimals, percent
from recipes.wording import counted

# More classes than this make a matrix nobody can read; the mistakes are listed instead.
LARGEST_MATRIX = 30
_MOST_CONFUSED = 10


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
            _bins(judged["reliability"], split),
        ]
    )


def _bins(reliability, split):
    """The calibrated diagram as numbers."""
    rows = [
        (
            f"{decimals(row['lower'], 2)} to {decimals(row['upper'], 2)}",
            f"{row['count']:,}",
            decimals(row["confidence"]),
            decimals(row["accuracy"]),
            f"{decimals(row['accuracy_interval'][0])} to {decimals(row['accuracy_interval'][1])}",
        )
        for row in bin_rows(reliability)
    ]
    header = ("Confidence", "Images", "Mean confidence", "Accuracy", "95% interval")
    words = f"The bins in numbers: calibrated, {split} images"
    return tag("details", tag("summary", words), table(header, rows))


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
        (key, title, metrics[key])
        for key, title in (
            ("test", "Test"),
            ("test_uncalibrated", "Test, T = 1"),
            ("validation", "Validation"),
        )
        if metrics.get(key)
    ]

    def row(name, values, meaning):
        return (name, *values, tag("td", meaning, class_="meaning"))

    def cell(definition, split, found):
        bounds = interval_of(run, split, definition.key)
        below = (
            tag("span", written_interval(definition, bounds), class_="below") if bounds else None
        )
        return tag("td", definition.show(found), below, class_="number")

    images = metrics.get("test", {}).get("images") if metrics.get("test") else None
    counts = (f"{found.get('images') or images:,}" for _, _, found in columns)
    rows = [row("Images (n)", counts, IMAGES_MEANING)]
    for definition in DEFINITIONS:
        if any(definition.key in found for _, _, found in columns):
            shown = (cell(definition, split, found) for split, _, found in columns)
            rows.append(row(definition.name, shown, definition.meaning))
    noise = [found.get("ece_noise_floor") for _, _, found in columns]
    if any(noise):
        shown = (n and f"{decimals(n['mean'], 4)}, {decimals(n['upper'], 4)}" for n in noise)
        rows.append(row("ECE from chance alone", shown, NOISE_MEANING))
    note = _temperature_note(metrics.get("temperature"))
    header = (
        "Number",
        *(title for _, title, _ in columns),
        tag("th", "Meaning", scope="col", class_="meaning"),
    )
    facts = [
        (f"{definition.name}: {definition.show({definition.key: value})}", definition.meaning)
        for definition in RUN_DEFINITIONS
        if (value := run_number(run, definition.key)) is not None
    ]
    below = "Below a number is its 95% interval over draws of the images, where it is known."
    return join(
        [
            tag("p", below, class_="note"),
            table(header, rows),
            tag("p", note, class_="note") if note else None,
            tag("div", definitions(facts), class_="meanings"),
            tag(
                "details",
                tag("summary", "What the columns and curves of the other sections mean"),
                tag("div", definitions(_meanings(run)), class_="meanings"),
            ),
        ]
    )


def _meanings(run):
    """Names and meanings of the columns that the page shows."""
    groups = [("Class", CLASS_MEANINGS), ("Bin of confidence", BIN_MEANINGS)]
    known = {key for epoch in run.history for key in epoch}
    epochs = {key: meaning for key, meaning in EPOCH_MEANINGS.items() if key in known}
    groups.append(("Epoch", epochs))
    if run.export:
        groups.append(("Exported file", FILE_MEANINGS))
    return [
        (f"{group}: {key.removeprefix('val_').replace('_', ' ')}"
         + (" (validation)" if key.startswith("val_") else ""), meaning)
        for group, meanings in groups
        for key, meaning in meanings.items()
    ]  # fmt: skip


def _temperature_note(fit):
    if not fit:
        return None
    images = counted(fit.get("images") or 0, "validation image")
    if fit.get("at_bound"):
        return f"No temperature was applied: {images} did not determine one."
    return (
        f"Temperature {decimals(fit['value'], 4)}, fitted on "
        f"{images}: their negative log-likelihood "
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
            depth = 0.12 + 0.88 * (share if i == j else share / worst)
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
