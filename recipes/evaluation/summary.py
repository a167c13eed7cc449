"""What a run says in a few numbers and plain sentences, for the page and for the text report."""

from typing import NamedTuple

from recipes.evaluation.metrics import most_confused
from recipes.evaluation.run_files import RunFiles
from recipes.evaluation.wording import decimals, interval, milliseconds, percent, points, size
from recipes.wording import counted

# Fewer test images than this leave an interval wider than about 10 points.
_FEW_IMAGES = 200
# Where chance alone may give more than this, a low calibration error proves little.
_MUCH_NOISE = 0.05
# What an int8 file should keep to.
_ACCURACY_LOSS, _SIZE_RATIO = 0.01, 0.3


class Headline(NamedTuple):
    """One of the numbers that lead the report."""

    label: str
    value: str
    detail: str


class Verdict(NamedTuple):
    """A sentence, and whether it is `"good"`, a warning (`"warn"`) or `"info"`."""

    level: str
    text: str


def headlines(run: RunFiles) -> list[Headline]:
    """Return the leading numbers that the run has."""
    found = []
    if run.judged:
        split, judged = run.judged
        found.append(
            Headline(
                f"{split.capitalize()} accuracy",
                percent(judged["accuracy"]),
                f"95% interval {interval(judged['accuracy_interval'])}, n = {judged['images']:,}",
            )
        )
        before = (
            (run.metrics.get("test_uncalibrated") or {}).get("ece") if split == "test" else None
        )
        change = f"{decimals(before)} → " if before is not None else ""
        found.append(
            Headline(
                "Calibration error (ECE)",
                change + decimals(judged["ece"]),
                f"chance alone gives up to {decimals(_noise(judged))}"
                if _noise(judged) is not None
                else f"n = {judged['images']:,}",
            )
        )
    small, single = exported(run, "int8"), exported(run, "float32")
    if small:
        ratio = _ratio(small, single)
        found.append(
            Headline(
                "int8 file",
                size(small.get("bytes")),
                f"{ratio:.2f} of the float32 file ({size(single['bytes'])})"
                if ratio
                else small["file"],
            )
        )
        change = loss(run, small)
        if change is not None:
            found.append(
                Headline(
                    "int8 accuracy",
                    percent(small["accuracy"]),
                    f"{points(change)} points from float",
                )
            )
    fast = small or single
    if fast and fast.get("latency_ms"):
        latency = fast["latency_ms"]
        threads = counted(latency["threads"], "thread") if latency.get("threads") else ""
        detail = f"{fast.get('quantization') or 'float32'}, median; 90% under " + milliseconds(
            latency.get("p90")
        )
        found.append(
            Headline(
                "Latency an image",
                milliseconds(latency.get("median")),
                f"{detail}, {threads}" if threads else detail,
            )
        )
    return found


def verdicts(run: RunFiles) -> list[Verdict]:
    """Return what the numbers mean, in sentences, most important first."""
    found = [Verdict("warn", f"{note[0].upper()}{note[1:]}.") for note in run.notes]
    if run.judged:
        found += _accuracy_verdicts(run)
        found += _calibration_verdicts(run)
    small = exported(run, "int8")
    if small:
        found += _export_verdicts(run, small)
    for finding in run.findings:
        level = "info" if finding["severity"] == "note" else "warn"
        text = f"{finding['message'][0].upper()}{finding['message'][1:]}: {finding['advice']}."
        found.append(Verdict(level, text))
    problems = run.data.get("problems") or []
    if problems:
        found.append(
            Verdict(
                "warn",
                f"The data has {counted(len(problems), 'known problem')}, listed below.",
            )
        )
    return found


def exported(run: RunFiles, quantization: str) -> dict | None:
    """Return the entry of export.json of a quantization (`"float32"` is none), or `None`."""
    for entry in (run.export or {}).get("files") or []:
        if (entry.get("quantization") or "float32") == quantization:
            return entry
    return None


def loss(run: RunFiles, entry: dict) -> float | None:
    """Return the accuracy of an exported file minus that of the Keras model, same images."""
    reference = ((run.export or {}).get("keras") or {}).get("accuracy")
    if reference is None or entry.get("accuracy") is None:
        return None
    return entry["accuracy"] - reference


def _noise(judged: dict) -> float | None:
    return (judged.get("ece_noise_floor") or {}).get("upper")


def _ratio(small: dict | None, single: dict | None) -> float | None:
    if not small or not single or not small.get("bytes") or not single.get("bytes"):
        return None
    return small["bytes"] / single["bytes"]


def _accuracy_verdicts(run):
    split, judged = run.judged
    images = judged["images"]
    right = round(judged["accuracy"] * images)
    found = [
        Verdict(
            "info",
            f"Right on {right:,} of {counted(images, f'{split} image')} "
            f"({percent(judged['accuracy'])}). On many more images like these it would be right on "
            f"{interval(judged['accuracy_interval'])} of them (95% confidence).",
        )
    ]
    if images < _FEW_IMAGES:
        found.append(
            Verdict("warn", f"{counted(images, f'{split} image')} are few: the interval is wide.")
        )
    known = [row for row in judged["per_class"] if row["recall"] is not None]
    if len(known) > 1:
        hardest = min(known, key=lambda row: row["recall"])
        if hardest["recall"] < 1:
            names = [row["name"] for row in judged["per_class"]]
            index = judged["per_class"].index(hardest)
            name, count = most_confused(judged["confusion"][index], index, names)
            found.append(
                Verdict(
                    "info",
                    f"Hardest class: {hardest['name']}, found in {percent(hardest['recall'], 0)} "
                    f"of its {counted(hardest['support'], 'image')}; most often taken for "
                    f"{name} ({counted(count, 'time')}).",
                )
            )
    return found


def _calibration_verdicts(run):
    judged = run.judged[1]
    images, ece, noise = f"{judged['images']:,} images", judged["ece"], _noise(judged)
    found = []
    if noise is not None and ece <= noise and noise > _MUCH_NOISE:
        found.append(
            Verdict(
                "info",
                f"Nothing speaks against its calibration, but {images} are too few to tell: the "
                f"expected calibration error is {decimals(ece)}, and chance gives a perfectly "
                f"calibrated model up to {decimals(noise)}.",
            )
        )
    elif noise is not None and ece <= noise:
        found.append(
            Verdict(
                "good",
                f"Calibrated: the expected calibration error {decimals(ece)} is within what chance "
                f"gives a perfectly calibrated model on {images} (up to {decimals(noise)}).",
            )
        )
    elif noise is not None:
        found.append(
            Verdict(
                "warn",
                f"Not fully calibrated: confidence and accuracy differ by {percent(ece)} on "
                f"average, more than chance gives on {images} (up to {percent(noise)}); the model "
                f"is {_tendency(judged)}.",
            )
        )
    fit = run.metrics.get("temperature") or {}
    if fit.get("at_bound"):
        found.append(
            Verdict(
                "warn",
                "The validation images do not determine a temperature (its fit ran to the limit "
                "of its range, as when there are few of them or no mistakes), so none was applied; "
                "do not trust the probabilities.",
            )
        )
    elif fit:
        was = "overconfident" if fit["value"] > 1 else "underconfident"
        if abs(fit["value"] - 1) < 0.02:
            was = "well calibrated as trained"
        number = counted(fit.get("images") or 0, "validation image")
        found.append(
            Verdict(
                "info",
                f"Before calibration the network was {was}: the temperature fitted on {number} is "
                f"{decimals(fit['value'], 2)}. It is part of the saved and exported models.",
            )
        )
    return found


def _tendency(judged):
    table = judged["reliability"]
    surplus = sum(
        count * (confidence - accuracy)
        for count, confidence, accuracy in zip(
            table["count"], table["confidence"], table["accuracy"], strict=True
        )
        if count
    )
    return "overconfident" if surplus > 0 else "underconfident"


def _export_verdicts(run, small):
    found = []
    single, change = exported(run, "float32"), loss(run, small)
    ratio = _ratio(small, single)
    where = f" in {ratio:.2f} of the bytes of the float32 file" if ratio else ""
    if change is not None:
        kept = change >= -_ACCURACY_LOSS
        reference = run.export["keras"]["accuracy"]
        found.append(
            Verdict(
                "good" if kept else "warn",
                f"The int8 file {'keeps' if kept else 'loses'} accuracy: "
                f"{percent(small['accuracy'])} against {percent(reference)} of the Keras model"
                f"{where}{_paired(small)}.",
            )
        )
    if ratio and ratio > _SIZE_RATIO:
        found.append(
            Verdict("warn", f"The int8 file is large: {ratio:.2f} of the float32 file's bytes.")
        )
    if small.get("flex_operations"):
        number = counted(small["flex_operations"], "operation")
        found.append(
            Verdict("warn", f"The int8 file needs the Flex delegate for {number} of TensorFlow.")
        )
    if small.get("ece") is not None and (run.export.get("keras") or {}).get("ece") is not None:
        drift = small["ece"] - run.export["keras"]["ece"]
        if drift > 0.01:
            found.append(
                Verdict(
                    "warn",
                    f"The int8 file is less calibrated: ECE {decimals(small['ece'])} against "
                    f"{decimals(run.export['keras']['ece'])} of the Keras model.",
                )
            )
    return found


def _paired(entry):
    """The interval of the paired difference, where the export measured one."""
    bounds = (entry.get("accuracy_difference") or {}).get("interval")
    if not bounds:
        return ""
    return f"; the difference is {points(bounds[0])} to {points(bounds[1])} points, 95% confidence"
