"""Trials an hour, against a plain script of KerasTuner with the same draws."""

import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks._search import plain
from recipes import get_recipe, load_data
from tuning import search

SPACE = {
    "optimizer.learning_rate": "log 0.03..3",
    "optimizer.weight_decay": "log 5e-4..5e-2",
    "schedule.warmup": "0..0.4",
    "augmentation.label_smoothing": "0, 0.05, 0.1, 0.2",
}
# What both sides do, and no more: no cutout and no averages of weights.
SETTINGS = {
    "schedule.name": "cosine",
    "augmentation.cutout": 0,
    "training.ema": None,
}
# Each switches one thing off that makes ours faster.
VARIANTS = {
    "search": {},
    "search, no pruning": {"prune": False},
    "search, no pruning, float32": {"prune": False, "precision": "float32"},
}


def compare(options):
    """Search on each side in turn; return what each took."""
    recipe = get_recipe("fashion-mini").override(
        {**SETTINGS, "training.epochs": options.trial_epochs, "model.width": options.width}
    )
    data = load_data("fashion-mini")
    rows, draws = {}, None
    with tempfile.TemporaryDirectory() as folder:
        for name in options.sides:
            chosen = dict(VARIANTS[name])
            precision = chosen.pop("precision", recipe.training.precision)
            began = _clocks()
            found = search(
                recipe.override({"training.precision": precision}),
                data,
                SPACE,
                trials=options.trials,
                epochs_per_trial=options.trial_epochs,
                # They are no trials, and the other side has none.
                preflight=False,
                range_test=False,
                out=Path(folder, name.replace(" ", "-")),
                say=print if options.verbose else lambda line: None,
                **chosen,
            )
            rows[name] = _row(began, [trial.value for trial in found.trials])
            rows[name]["epochs"] = sum(trial.epochs for trial in found.trials)
            draws = [trial.values for trial in found.trials]
        rows["plain"] = _plain(options, recipe, data, draws, Path(folder))
    for row in rows.values():
        for kind in ("", "processor_"):
            row[f"{kind}ratio"] = rows["plain"][f"{kind}seconds"] / row[f"{kind}seconds"]
    settings = {name: getattr(options, name) for name in ("trials", "trial_epochs", "width")}
    return {"settings": settings, "rows": rows}


def _plain(options, recipe, data, draws, folder):
    arrays = [
        (split.load(np.arange(len(split))), split.labels)
        for split in (data.splits["train"], data.splits["validation"])
    ]
    named = [{name.partition(".")[2]: value for name, value in draw.items()} for draw in draws]
    began = _clocks()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = plain.search(
            *arrays,
            named,
            width=options.width,
            epochs=options.trial_epochs,
            batch_size=recipe.training.batch_size,
            folder=folder,
        )
    row = _row(began, values)
    return {**row, "epochs": options.trial_epochs * len(draws)}


def _clocks():
    """Return the time, and the processor time, which other work on the machine hardly lengthens."""
    return time.perf_counter(), time.process_time()


def _row(began, values):
    known = [value for value in values if value is not None]
    seconds, processor = (now - then for now, then in zip(_clocks(), began, strict=True))
    return {
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "trials_an_hour": round(3600 * len(values) / seconds),
        "best": max(known),
    }


def lines(result):
    """Yield what to print."""
    yield ", ".join(f"{name} {value}" for name, value in result["settings"].items())
    yield (
        f"{'side':<30}{'seconds':>9}{'trials/h':>10}{'ratio':>8}{'processor s':>13}{'ratio':>8}"
        f"{'epochs':>8}{'best':>8}"
    )
    for name, row in result["rows"].items():
        yield (
            f"{name:<30}{row['seconds']:>9.1f}{row['trials_an_hour']:>10}{row['ratio']:>8.2f}"
            f"{row['processor_seconds']:>13.1f}{row['processor_ratio']:>8.2f}"
            f"{row['epochs']:>8}{100 * row['best']:>7.1f}%"
        )
