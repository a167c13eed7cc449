"""Whether a search finds a better recipe: the winner against the recipe as it is, over seeds."""

import dataclasses
import statistics
from pathlib import Path

from recipes import Run, get_recipe, load_data
from recipes.resuming import refuse_other
from recipes.training import train
from tuning import search

# Nothing that changes what an epoch costs: no batch size, no width.
SPACE = {
    "optimizer.learning_rate": "log 0.03..3",
    "optimizer.weight_decay": "log 5e-4..5e-2",
    "schedule.warmup": "0..0.4",
    "augmentation.label_smoothing": "0, 0.05, 0.1, 0.2",
    "augmentation.cutout": "0, 6, 10",
    "augmentation.crop_padding": "0, 1, 2",
    "training.ema": "none, 0.9, 0.95, 0.99",
}


def compare(options):
    """Search, then train the recipe and the winner over seeds; return what was found."""
    recipe = get_recipe(options.recipe).override({"training.epochs": options.epochs})
    data = load_data(options.source, validation=options.validation)
    if options.test:
        # The splits that are trained on stay what they are.
        larger = load_data(options.test).splits["test"]
        data = dataclasses.replace(data, splits={**data.splits, "test": larger})
    out = Path(options.out)
    found = search(
        recipe,
        data,
        SPACE,
        trials=options.trials,
        epochs_per_trial=options.trial_epochs,
        refine=options.refine,
        out=out / "search",
    )
    sides = {"default": recipe, "winner": found.recipe}
    runs = {
        side: [final(chosen, data, out / side, seed) for seed in range(options.seeds)]
        for side, chosen in sides.items()
    }
    return {
        "recipe": recipe.name,
        "epochs": options.epochs,
        "trials": len(found.trials),
        "states": {
            state: sum(trial.state == state for trial in found.trials)
            for state in sorted({trial.state for trial in found.trials})
        },
        "search_seconds": round(sum(trial.seconds for trial in found.trials), 1),
        "values": found.best.values,
        "images": {name: len(split) for name, split in data.splits.items()},
        **{side: row(these) for side, these in runs.items()},
        "test_difference": spread(
            [
                winner.metrics["test"]["accuracy"] - default.metrics["test"]["accuracy"]
                for winner, default in zip(runs["winner"], runs["default"], strict=True)
            ]
        ),
    }


def final(recipe, data, folder, seed):
    """Return a training at full length, read if it is there."""
    directory = folder / f"seed{seed}"
    recipe = recipe.override({"training.seed": seed})
    begun = directory.exists()
    if begun:
        run = Run(directory)
        # The test images may be others, which the fingerprint does not tell.
        refuse_other("other images", data.counts, run.data["counts"], run)
    return train(recipe, data, directory, resume=begun, progress=False)


def row(runs):
    """Return what several runs reached."""
    return {
        "test": spread([run.metrics["test"]["accuracy"] for run in runs]),
        "validation": spread([run.metrics["validation"]["accuracy"] for run in runs]),
        "train_seconds": [run.metrics["train_seconds"] for run in runs],
    }


def spread(values):
    """Return values with their mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"values": values, "mean": statistics.fmean(values), "deviation": deviation}


def lines(result):
    """Yield what to print."""
    states = ", ".join(f"{count} {state}" for state, count in result["states"].items())
    yield f"{result['trials']} trials ({states}), {result['search_seconds']:.0f} s"
    yield "winner: " + ", ".join(f"{name}={value}" for name, value in result["values"].items())
    yield f"images: {result['images']}; {result['epochs']} epochs each"
    for side in ("default", "winner"):
        for name in ("test", "validation"):
            yield f"{side:<8} {name:<11}{_accuracy(result[side][name])}"
        seconds = ", ".join(f"{value:.0f}" for value in result[side]["train_seconds"])
        yield f"{side:<8} training   {seconds} s"
    yield f"test, winner less default: {_accuracy(result['test_difference'])}"


def _accuracy(found):
    values = ", ".join(f"{100 * value:.2f}" for value in found["values"])
    deviation = "" if found["deviation"] is None else f" ± {100 * found['deviation']:.2f}"
    return f"{100 * found['mean']:.2f}{deviation} % ({values})"
