"""One report for several runs: what they reached, what of it is more than chance, what differs."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.errors import RunError
from recipes.evaluation.definitions import (
    BIN_MEANINGS,
    DEFINITIONS,
    DIFFERENCE_MEANINGS,
    EPOCH_MEANINGS,
    NOISE_MEANING,
    RUN_DEFINITIONS,
)
from recipes.evaluation.intervals import holm, mean_interval, wilson
from recipes.evaluation.metrics import accuracy_difference
from recipes.evaluation.report_json import FORMAT_VERSION, bin_rows, interval_of, run_number
from recipes.evaluation.run_files import RunFiles, read_run
from recipes.files import write_json, write_text
from recipes.wording import counted

# More runs than this make curves nobody can tell apart.
MOST_RUNS = 12
_FINGERPRINT = 12


def write_comparison(run_directories: Sequence[str | os.PathLike], out: str | os.PathLike) -> Path:
    """Write `compare.html`, `compare.md` and `compare.json` of several runs of the same classes.

    The first run is the reference. Runs that were judged on the same test images are compared
    image by image, which tells far smaller differences from chance than two separate intervals;
    others are shown beside each other, and the page says why. The same files give the same bytes.

    Args:
        run_directories: 2 to 12 run directories, as `train` writes them; unfinished ones give
            their curves.
        out: Folder to write to, made where it is missing.

    Returns:
        The path of `compare.html`.

    Raises:
        RunError: If the runs cannot be read or are of different classes, or `out` cannot be
            written to.

    Example:
        >>> write_comparison(["runs/a", "runs/b"], "runs/a-b")              # doctest: +SKIP
        PosixPath('runs/a-b/compare.html')
    """
    from recipes.evaluation.comparison_markdown import markdown_comparison
    from recipes.evaluation.comparison_page import html_comparison

    runs = read_runs(run_directories)
    content = compare_runs(runs)
    page, text = html_comparison(content), markdown_comparison(content)
    path = Path(out) / "compare.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path.with_suffix(".json"), content)
        write_text(path.with_suffix(".md"), text)
        write_text(path, page)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def read_runs(directories: Sequence[str | os.PathLike]) -> list[RunFiles]:
    """Read the runs, and refuse what cannot be compared.

    Raises:
        RunError: One line that says what is expected and what came.
    """
    if isinstance(directories, (str, os.PathLike)):
        directories = [directories]
    paths = [Path(directory).resolve() for directory in directories]
    if not 2 <= len(paths) <= MOST_RUNS:
        raise RunError(f"expected 2 to {MOST_RUNS} runs to compare, received {len(paths)}")
    for index, path in enumerate(paths):
        if path in paths[:index]:
            raise RunError(f"expected different runs, received {directories[index]} twice")
    runs = [read_run(directory) for directory in directories]
    known = [(path, run.class_names) for path, run in zip(directories, runs, strict=True)]
    known = [(path, names) for path, names in known if names]
    for path, names in known[1:]:
        _check_classes(*known[0], path, names)
    return runs


def compare_runs(runs: Sequence[RunFiles]) -> dict[str, Any]:
    """Return the whole comparison as plain values; the first run is the reference.

    Returns:
        What `compare.json` holds: `runs`, `numbers` (each with its definition, and of each run the
        value, interval and n), `pairs` (differences of the second minus the first, paired where
        the test images are the same), `classes`, `reliability`, `curves`, `settings` (fields of
        the recipes that differ) and `environments`.
    """
    labels = _labels([run.directory for run in runs])
    split = "test" if any((run.metrics or {}).get("test") for run in runs) else "validation"
    names = next((run.class_names for run in runs if run.class_names), [])
    return {
        "format_version": FORMAT_VERSION,
        "split": split,
        "class_names": names,
        "runs": [_run(run, label, split) for run, label in zip(runs, labels, strict=True)],
        "numbers": _numbers(runs, split),
        "pairs": _pairs(runs, labels, names),
        "classes": _classes(runs, split, names),
        "reliability": {
            "definitions": BIN_MEANINGS,
            "runs": [_reliability(run, split) for run in runs],
        },
        "curves": {
            "definitions": EPOCH_MEANINGS,
            "runs": [{"epochs": run.history, "kept": run_number(run, "selected_epoch")}
                     for run in runs],
        },
        "settings": _differing([_settings(run.recipe) for run in runs]),
        "data": _rows([_data(run) for run in runs]),
        "environments": _rows([_environment(run) for run in runs]),
    }  # fmt: skip


def _check_classes(first, expected, path, names):
    if names == expected:
        return
    if sorted(names) == sorted(expected):
        raise RunError(
            f"{path} has its classes in another order than {first}: "
            f"expected {_listed(expected)}, received {_listed(names)}"
        )
    raise RunError(
        f"{path} is of other classes than {first}: expected the {len(expected)} classes "
        f"{_listed(expected)}, received {len(names)}: {_listed(names)}"
    )


def _listed(names):
    return ", ".join(map(str, names[:6])) + (", …" if len(names) > 6 else "")


def _labels(directories):
    """The shortest ends of the paths that tell them apart."""
    parts = [directory.resolve().parts for directory in directories]
    for length in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-length:]) for part in parts]
        if len(set(labels)) == len(labels):
            return labels
    return labels


def _run(run, label, split):
    judged = (run.metrics or {}).get(split) or {}
    return {
        "label": label,
        "recipe": run.recipe.get("name"),
        "model": (run.recipe.get("model") or {}).get("name"),
        "source": run.data.get("source"),
        "started": run.environment.get("started"),
        "epochs": len(run.history),
        "epochs_planned": run.epochs_planned,
        "finished": run.metrics is not None,
        "images": judged.get("images"),
        "notes": run.notes,
    }


def _numbers(runs, split):
    def row(definition, values):
        return {
            "key": definition.key,
            "name": definition.name,
            "split": split,
            "definition": definition.meaning,
            "runs": values,
        }

    found = []
    for definition in DEFINITIONS:
        values = []
        for run in runs:
            judged = (run.metrics or {}).get(split) or {}
            values.append(
                {
                    "value": judged.get(definition.key),
                    "interval": interval_of(run, split, definition.key),
                    "n": judged.get("images"),
                }
            )
        found.append(row(definition, values))
        if definition.key == "ece":
            found.append(_before(runs, split))
    floors = [
        (((run.metrics or {}).get(split) or {}).get("ece_noise_floor") or {}, run) for run in runs
    ]
    found.append(
        {
            "key": "ece_noise_floor.upper",
            "name": "ECE that chance alone may give",
            "split": split,
            "definition": NOISE_MEANING,
            "runs": [
                {
                    "value": floor.get("upper"),
                    "interval": None,
                    "n": ((run.metrics or {}).get(split) or {}).get("images"),
                }
                for floor, run in floors
            ],
        }
    )
    for definition in RUN_DEFINITIONS:
        values = [
            {"value": run_number(run, definition.key), "interval": None, "n": None} for run in runs
        ]
        found.append({**row(definition, values), "split": None})
    return [row for row in found if any(entry["value"] is not None for entry in row["runs"])]


def _before(runs, split):
    """The calibration error as trained, before the temperature."""
    values = []
    for run in runs:
        judged = (run.metrics or {}).get("test_uncalibrated") or {} if split == "test" else {}
        n = ((run.metrics or {}).get(split) or {}).get("images")
        values.append({"value": judged.get("ece"), "interval": None, "n": n})
    return {
        "key": "ece_uncalibrated",
        "name": "ECE before calibration",
        "split": split,
        "definition": "The same of the network as trained, without temperature scaling.",
        "runs": values,
    }


def _pairs(runs, labels, names):
    """Every pair of runs, earlier one first, with p-values adjusted for being several."""
    pairs = []
    for second in range(len(runs)):
        for first in range(second):
            reason = _why_not_paired(runs[first], runs[second], labels[first], labels[second])
            pair = {"reference": labels[first], "run": labels[second], "paired": reason is None}
            if reason:
                pairs.append({**pair, "reason": reason})
                continue
            before, after = runs[first].outcomes, runs[second].outcomes
            pair |= {"n": len(after.labels), "differences": _differences(before, after)}
            if first == 0:
                pair["classes"] = _class_differences(before, after, names)
                pair["confusion"] = _confusion_difference(before, after, len(names))
            pairs.append(pair)
    tests = [pair["differences"]["accuracy"] for pair in pairs if pair["paired"]]
    for test, adjusted in zip(tests, holm([test["p_value"] for test in tests]), strict=True):
        test["p_adjusted"] = adjusted
    return {"definitions": DIFFERENCE_MEANINGS, "rows": pairs}


def _why_not_paired(first, second, first_label, second_label):
    """Return why two runs cannot be compared image by image, in one line, or `None`."""
    for run, label in ((first, first_label), (second, second_label)):
        if run.outcomes is None:
            return f"{label} has no predictions of test images"
    prints = [run.data.get("fingerprint") for run in (first, second)]
    if None in prints:
        label = (first_label, second_label)[prints.index(None)]
        return f"{label} does not say which images it was judged on (no fingerprint in data.json)"
    if prints[0] != prints[1]:
        shown = [text[:_FINGERPRINT] for text in prints]
        return (
            f"{first_label} and {second_label} were not judged on the same test images: "
            f"data fingerprint {shown[0]} and {shown[1]}"
        )
    if not np.array_equal(first.outcomes.labels, second.outcomes.labels):
        counts = [counted(len(run.outcomes.labels), "image") for run in (first, second)]
        return (
            f"{first_label} and {second_label} hold predictions of different test images: "
            f"{counts[0]} and {counts[1]}, whose labels differ"
        )
    return None


def _differences(before, after):
    found = {"accuracy": accuracy_difference(after.correct, before.correct)}
    accuracy = found["accuracy"]
    accuracy["only_run"] = accuracy.pop("only_a")
    accuracy["only_reference"] = accuracy.pop("only_b")
    del accuracy["images"]
    for key in ("nll", "brier"):
        change = getattr(after, key) - getattr(before, key)
        found[key] = {"difference": float(change.mean()), "interval": mean_interval(change)}
    return found


def _class_differences(before, after, names):
    rows = []
    for index, name in enumerate(names):
        chosen = after.labels == index
        row = {"name": name, "n": int(chosen.sum()), "difference": None, "interval": None}
        if row["n"]:
            test = accuracy_difference(after.correct[chosen], before.correct[chosen])
            row |= {"difference": test["difference"], "interval": test["interval"]}
        rows.append(row)
    return rows


def _confusion_difference(before, after, classes):
    """Change of the share of each true class (row) that is given each class (column)."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (after.labels, after.predicted), 1)
    np.add.at(counts, (before.labels, before.predicted), -1)
    support = np.bincount(after.labels, minlength=classes)[:, np.newaxis]
    return (counts / np.maximum(support, 1)).tolist()


def _classes(runs, split, names):
    rows = []
    for index, name in enumerate(names):
        values = []
        for run in runs:
            scores = ((run.metrics or {}).get(split) or {}).get("per_class")
            recall, support = (
                (scores[index][k] for k in ("recall", "support")) if scores else 2 * [None]
            )
            values.append({"recall": recall, "interval": wilson(recall, support), "n": support})
        rows.append({"name": name, "runs": values})
    meaning = {"recall": "Share of the class's images that are found; its interval is Wilson's."}
    return {"split": split, "definitions": meaning, "rows": rows}


def _reliability(run, split):
    judged = (run.metrics or {}).get(split)
    return {
        "after": judged and bin_rows(judged["reliability"]),
        "before": bin_rows(run.uncalibrated) if run.uncalibrated and split == "test" else None,
        "n": judged and judged["images"],
    }


def _settings(recipe):
    found = {"name": recipe.get("name")}
    for section, fields in recipe.items():
        if isinstance(fields, dict):
            found |= {f"{section}.{name}": value for name, value in fields.items()}
    return found


def _data(run):
    known, shape = run.data, run.data.get("image_shape")
    counts = known.get("counts") or {}
    return {
        "source": known.get("source"),
        "image_shape": " × ".join(map(str, shape)) if shape else None,
        "color": known.get("color"),
        "fit": known.get("fit"),
        **{f"{split} images": sum(values) for split, values in counts.items()},
        "split seed": known.get("seed"),
        "fingerprint": known.get("fingerprint"),
    }


def _environment(run):
    known, machine = run.environment, run.environment.get("machine") or {}
    memory = machine.get("memory_gib")
    return {
        "seed": known.get("seed"),
        "precision": known.get("precision"),
        "commit": known.get("commit"),
        "processor": machine.get("processor"),
        "cores": machine.get("cores"),
        "memory": f"{memory} GiB" if memory else None,
        "GPUs": ", ".join(machine.get("gpus") or []) or None,
        "Python": known.get("python"),
        **dict(sorted((known.get("versions") or {}).items())),
    }


def _rows(tables):
    """Return a row a field, with the value of each run and whether they differ."""
    fields = list(dict.fromkeys(name for table in tables for name in table))
    rows = []
    for name in fields:
        values = [table.get(name) for table in tables]
        if any(value is not None for value in values):
            differs = any(value != values[0] for value in values)
            rows.append({"field": name, "values": values, "differs": differs})
    return rows


def _differing(tables):
    return [
        {"field": row["field"], "values": row["values"]} for row in _rows(tables) if row["differs"]
    ]
