"""Train a recipe over several seeds; print test accuracy as mean and spread.

    python benchmarks/over_seeds.py fashion-fast idx:/usr/share/datasets/fashion-mnist --seeds 3
    python benchmarks/over_seeds.py fashion-mini fashion-mini --seeds 3 \\
        --set training.precision=float32

The validation images are the same for every seed, and so is the test set; nothing is chosen by the
test set. Runs that are already in the folder are read, not repeated, so an interrupted series goes
on where it was; those of another recipe or of other images are refused.
"""

import argparse
import json
import statistics
from pathlib import Path

from recipes import Run, get_recipe
from recipes.config import parse_settings
from recipes.resuming import refuse_other
from recipes.training import load_recipe_data
from tuning.pipeline import resume_and_export, train_and_export


def main():
    """Train, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("source")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--out", default="runs/seeds", help="folder for the runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    recipe = get_recipe(options.recipe).override(parse_settings(options.set))
    name = "-".join([recipe.name, *sorted(options.set)]).replace("/", "_")
    data = load_recipe_data(recipe, options.source)
    runs = [
        _run(recipe.override({"training.seed": seed}), data, Path(options.out, name, f"seed{seed}"))
        for seed in range(options.seeds)
    ]
    rows = [_row(run) for run in runs]
    result = {
        "recipe": recipe.name,
        "settings": options.set,
        "runs": rows,
        "machine": runs[0].environment["machine"],
        **{
            name: _spread([row[name] for row in rows])
            for name in ("test_accuracy", "validation_accuracy", "int8_accuracy", "train_seconds")
        },
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for row in rows:
        print(row)
    for name in ("test_accuracy", "validation_accuracy", "int8_accuracy", "train_seconds"):
        mean, spread = result[name]["mean"], result[name]["standard_deviation"]
        print(f"{name:<22}{mean:.4f} +- {spread:.4f} (standard deviation, {len(rows)} seeds)")


def _run(recipe, data, directory):
    if not directory.exists():
        return train_and_export(recipe, data, directory)
    run = Run(directory)
    refuse_other("another recipe", recipe, run.recipe, run)
    refuse_other("other images", data.fingerprint, run.data["fingerprint"], run)
    return run if run.finished and run.export else resume_and_export(directory, data=data)


def _row(run):
    files = {file["quantization"]: file for file in run.export["files"]}
    return {
        "seed": run.recipe.training.seed,
        "test_accuracy": run.metrics["test"]["accuracy"],
        "validation_accuracy": run.metrics["validation"]["accuracy"],
        "int8_accuracy": files["int8"]["accuracy"],
        "test_ece": run.metrics["test"]["ece"],
        "train_seconds": run.metrics["train_seconds"],
        "epochs": run.metrics["epochs"],
    }


def _spread(values):
    return {
        "mean": round(statistics.mean(values), 5),
        "standard_deviation": round(statistics.stdev(values), 5) if len(values) > 1 else 0.0,
    }


if __name__ == "__main__":
    main()
