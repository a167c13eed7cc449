"""Degradation: more layers make a plain network worse, even at what it trains on.

    python examples/degradation.py
    python examples/degradation.py idx:/usr/share/datasets/fashion-mnist --epochs 20 --out runs/deep

The experiment that residual networks were invented for (He et al., 2016, section 4.2 and figure 6).
Networks of 20 and 56 layers are trained alike, without and with shortcuts. If depth only brought
overfitting, the deep plain network would have the lower error on its training images; it has the
higher one. With shortcuts, which add no parameter, it has not.

Prints a table, draws the curves if matplotlib is installed, and leaves each run in a folder; runs
that are finished there are not repeated, and interrupted ones go on.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from recipes import Recipe, RecipesError, evaluate, load_data, train
from recipes.config import (
    AugmentationConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)
from recipes.files import atomic_path

NETWORKS = ("plain20", "plain56", "resnet20", "resnet56")


def main(arguments=None):
    """Train the networks and compare them; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("source", nargs="?", default="fashion-mini", help="images")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="what to compare")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for the runs and the curves")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    folder = Path(options.out or tempfile.mkdtemp())
    try:
        data = load_data(options.source)
        rows = [
            measure(run(recipe(name, options.epochs, options.seed), data, folder / name), data)
            for name in options.networks
        ]
    except RecipesError as error:
        print(f"degradation: {error}", file=sys.stderr)
        return 2
    if options.json:
        result = {"source": options.source, "epochs": options.epochs, "seed": options.seed}
        print(json.dumps({**result, "networks": rows}, indent=2))
    else:
        print(table(rows))
    say(f"runs: {folder}")
    for path in draw(rows, folder):
        say(f"curves: {path}")
    return 0


def recipe(network, epochs, seed):
    """Return how each network is trained: as in the paper, but for a cosine instead of steps."""
    return Recipe(
        name=f"degradation-{network}",
        model=ModelConfig(name=network),
        optimizer=OptimizerConfig(name="sgd", learning_rate=0.1, weight_decay=1e-3),
        schedule=ScheduleConfig(name="cosine", warmup=0.1),
        augmentation=AugmentationConfig(flip="horizontal", crop_padding=2),
        # The last epoch, not the best: what is chosen by validation images is no training error.
        training=TrainingConfig(epochs=epochs, batch_size=128, keep="last", seed=seed),
    )


def run(chosen, data, directory):
    """Return the finished run in `directory`: read, gone on with, or trained anew."""
    return train(chosen, data, directory, resume=(directory / "recipe.json").exists())


def measure(finished, data):
    """Return the errors of a finished run, on training images without augmentation, too."""
    training = evaluate(finished.directory, data, split="train")
    return {
        "network": finished.recipe.model.name,
        "training_error": round(1 - training["accuracy"], 4),
        "test_error": round(1 - finished.metrics["test"]["accuracy"], 4),
        "seconds": finished.metrics["train_seconds"],
        # By epoch, while training: on augmented images, and with weights that still move.
        "training_curve": [round(1 - epoch["accuracy"], 4) for epoch in finished.history],
        "validation_curve": [round(1 - epoch["val_accuracy"], 4) for epoch in finished.history],
    }


def table(rows):
    """Return the errors in percent, a line a network."""
    lines = [f"{'network':<12}{'training error':>16}{'test error':>13}{'seconds':>10}"]
    lines += [
        f"{row['network']:<12}{100 * row['training_error']:>14.2f} %"
        f"{100 * row['test_error']:>11.2f} %{row['seconds']:>10.0f}"
        for row in rows
    ]
    return "\n".join(lines)


def draw(rows, folder):
    """Draw training (thin) and validation error (bold) by epoch; return the files' paths."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        say("no curves: matplotlib is not installed")
        return []
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot(
        xlabel="epoch", ylabel="error in %", title="thin: training, bold: validation"
    )
    for index, row in enumerate(rows):
        epochs = range(1, len(row["training_curve"]) + 1)
        for curve, width in (("training_curve", 0.8), ("validation_curve", 2.0)):
            label = row["network"] if curve == "validation_curve" else None
            errors = [100 * error for error in row[curve]]
            axes.plot(epochs, errors, color=f"C{index}", linewidth=width, label=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    axes.grid(alpha=0.3)
    paths = [folder / "degradation.png", folder / "degradation.svg"]
    for path in paths:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:], dpi=150)
    return paths


def say(line):
    """Print a line that is not the result."""
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
