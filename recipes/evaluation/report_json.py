"""The report as JSON: every number with its definition and the number of images behind it."""

from typing import Any

from recipes.evaluation import summary
from recipes.evaluation.definitions import (
    BIN_MEANINGS,
    CLASS_MEANINGS,
    DEFINITIONS,
    EPOCH_MEANINGS,
    FILE_MEANINGS,
    NOISE_MEANING,
    RUN_DEFINITIONS,
)
from recipes.evaluation.intervals import mean_interval, wilson
from recipes.evaluation.metrics import most_confused
from recipes.evaluation.run_files import RunFiles

FORMAT_VERSION = 1
SPLITS = {
    "test": "test images, calibrated",
    "test_uncalibrated": "test images, before calibration (T = 1)",
    "validation": "validation images, calibrated on these same images",
}


def json_report(run: RunFiles) -> dict[str, Any]:
    """Return the whole report as plain values.

    Returns:
        `numbers` is a list of `key`, `name`, `split`, `value`, `interval` (or `None`), `n` (or
        `None`, for what no images are counted for) and `definition`; `tables` holds `rows` with
        the `definitions` of their columns and the `n` of all rows together; `recipe`, `data` and
        `environment` are the files of the run as they are.
    """
    judged = run.judged
    tables = {
        "epochs": _epochs(run),
        "classes": _classes(run),
        "confusion": _confusion(run),
        "reliability": _bins(judged[1]["reliability"], judged[0]) if judged else None,
        "reliability_uncalibrated": _bins(run.uncalibrated, "test") if run.uncalibrated else None,
        "mistakes": _mistakes(run),
        "files": _files(run),
    }
    return {
        "format_version": FORMAT_VERSION,
        "name": run.recipe.get("name"),
        "finished": run.metrics is not None,
        "epochs_planned": run.epochs_planned,
        "class_names": run.class_names,
        "remarks": [{"level": level, "text": text} for level, text in summary.verdicts(run)],
        "findings": run.findings,
        "numbers": numbers(run),
        "tables": {name: content for name, content in tables.items() if content},
        "data": run.data,
        "recipe": run.recipe,
        "environment": run.environment,
    }


def numbers(run: RunFiles) -> list[dict[str, Any]]:
    """Return each number of the run with its split, interval, n and definition."""
    metrics = run.metrics or {}
    found = []
    for split, meaning in SPLITS.items():
        measures = metrics.get(split) or {}
        n = (measures or {}).get("images") or ((metrics.get("test") or {}).get("images"))
        for definition in DEFINITIONS:
            if definition.key in measures:
                found.append(
                    {
                        "key": definition.key,
                        "name": definition.name,
                        "split": split,
                        "value": measures[definition.key],
                        "interval": interval_of(run, split, definition.key),
                        "n": n,
                        "definition": f"{definition.meaning} On the {meaning}.",
                    }
                )
        for bound, value in (measures.get("ece_noise_floor") or {}).items():
            found.append(
                {
                    "key": f"ece_noise_floor.{bound}",
                    "name": f"ECE from chance alone, {bound}",
                    "split": split,
                    "value": value,
                    "interval": None,
                    "n": n,
                    "definition": NOISE_MEANING,
                }
            )
    return found + [
        {
            "key": definition.key,
            "name": definition.name,
            "split": None,
            "value": value,
            "interval": None,
            "n": (metrics.get("temperature") or {}).get("images")
            if definition.key == "temperature"
            else None,
            "definition": definition.meaning,
        }
        for definition in RUN_DEFINITIONS
        if (value := run_number(run, definition.key)) is not None
    ]


def run_number(run: RunFiles, key: str) -> float | None:
    """Return a number of `RUN_DEFINITIONS`, or `None`."""
    value = (run.metrics or {}).get(key)
    return value.get("value") if isinstance(value, dict) else value


def interval_of(run: RunFiles, split: str, key: str) -> list[float] | None:
    """Return a number's 95% interval: recorded, or Wilson's of a share, Student's of a mean."""
    measures = (run.metrics or {}).get(split) or {}
    if measures.get(f"{key}_interval"):
        return measures[f"{key}_interval"]
    if key == "top5_accuracy":
        return wilson(measures.get(key), measures.get("images"))
    if split == "test" and run.outcomes is not None and key in ("nll", "brier"):
        return mean_interval(getattr(run.outcomes, key))
    return None


def class_rows(run: RunFiles) -> list[dict[str, Any]]:
    """Return a row a class, hardest first: its scores, and what it is most often taken for."""
    if not run.judged:
        return []
    judged = run.judged[1]
    names = [row["name"] for row in judged["per_class"]]
    rows = []
    for index, row in enumerate(judged["per_class"]):
        name, count = most_confused(judged["confusion"][index], index, names) or (None, None)
        rows.append(
            {
                **row,
                "recall_interval": wilson(row["recall"], row["support"]),
                "taken_for": name,
                "taken_for_count": count,
            }
        )
    return sorted(rows, key=lambda row: (row["recall"] is None, row["recall"] or 0))


def bin_rows(table: dict) -> list[dict[str, Any]]:
    """Return a row for each bin of confidence that holds images."""
    keys = ("lower", "upper", "count", "confidence", "accuracy")
    rows = [
        dict(zip(keys, row, strict=True)) for row in zip(*(table[key] for key in keys), strict=True)
    ]
    return [
        {**row, "accuracy_interval": wilson(row["accuracy"], row["count"])}
        for row in rows
        if row["count"]
    ]


def _classes(run):
    rows = class_rows(run)
    if not rows:
        return None
    split, judged = run.judged
    return {"split": split, "n": judged["images"], "definitions": CLASS_MEANINGS, "rows": rows}


def _confusion(run):
    if not run.judged:
        return None
    split, judged = run.judged
    return {
        "split": split,
        "n": judged["images"],
        "definitions": {
            "counts": "Images by true class (outer list) and predicted class (inner), in the "
            "order of class_names."
        },
        "counts": judged["confusion"],
    }


def _bins(table, split):
    rows = bin_rows(table)
    n = sum(row["count"] for row in rows)
    return {"split": split, "n": n, "definitions": BIN_MEANINGS, "rows": rows}


def _epochs(run):
    if not run.history:
        return None
    counts = run.data.get("counts") or {}
    return {
        "n": {split: sum(counts[split]) for split in ("train", "validation") if counts.get(split)},
        "definitions": EPOCH_MEANINGS,
        "rows": run.history,
    }


def _mistakes(run):
    if not run.mistakes:
        return None
    return {
        "split": "test",
        "n": (run.judged or (None, {}))[1].get("images"),
        "definitions": {
            "true": "Name of the labelled class.",
            "predicted": "Name of the class the model gives.",
            "confidence": "The calibrated probability it gives that class.",
        },
        "rows": [
            {"true": m.true, "predicted": m.predicted, "confidence": m.probability}
            for m in run.mistakes
        ],
    }


def _files(run):
    rows = (run.export or {}).get("files")
    if not rows:
        return None
    single = summary.exported(run, "float32")
    kept = []
    for row in rows:
        ratio = None
        if single and single.get("bytes") and row.get("bytes"):
            ratio = row["bytes"] / single["bytes"]
        known = {key: row[key] for key in FILE_MEANINGS if key in row}
        kept.append({**known, "size_ratio": ratio, "accuracy_change": summary.loss(run, row)})
    return {
        "split": run.export.get("split", "test"),
        "n": run.export.get("images"),
        "definitions": FILE_MEANINGS,
        "rows": kept,
    }
