"""How well confidences match outcomes: before and after temperature scaling, and in the int8 file.

    python benchmarks/calibration.py idx:/usr/share/datasets/fashion-mnist

Trains two ResNets on the same images: one that ends overconfident (hard labels, images as they are,
little weight decay), and one with smoothed labels, which ends underconfident. Each is measured on
the test images, which neither training nor the temperature has seen: the network's own softmax, the
calibrated Keras model, and the int8 TFLite file as it lies on disk. Runs that are already in the
folder are read, not repeated.
"""

import argparse
import json
from pathlib import Path

import keras

from recipes import Run, evaluate, get_recipe
from recipes.config import parse_settings
from recipes.evaluation.classifier import load_keras_model
from tuning.pipeline import resume_and_export, train_and_export

OVERCONFIDENT = (
    "augmentation.label_smoothing=0",
    "augmentation.flip=none",
    "augmentation.crop_padding=0",
    "augmentation.cutout=0",
    "optimizer.weight_decay=0.0005",
)
# Name of the row: settings of the recipe.
MODELS = {"overconfident": OVERCONFIDENT, "label-smoothed": ("augmentation.label_smoothing=0.1",)}
# Largest difference of the ECE of the int8 file from that of the calibrated Keras model.
TARGET = 0.01


def main():
    """Train what is missing, then measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source")
    parser.add_argument("--recipe", default="fashion-fast")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples of the intervals")
    parser.add_argument("--out", default="runs/calibration", help="folder for the runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = []
    for name, settings in MODELS.items():
        recipe = get_recipe(options.recipe).override(parse_settings([*settings, *options.set]))
        run = _run(recipe, options.source, Path(options.out, name))
        rows += [{"model": name, **row} for row in measure(run, options.bootstrap)]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'model':<16}{'probabilities':<22}accuracy  ECE (95 % interval)         NLL     T")
    for row in rows:
        low, high = row["ece_interval"]
        print(
            f"{row['model']:<16}{row['probabilities']:<22}{row['accuracy']:.4f}    "
            f"{row['ece']:.4f} ({low:.4f} to {high:.4f})  {row['nll']:.4f}  "
            f"{row['temperature']:.3f}"
        )
    for name in MODELS:
        ece = {row["probabilities"]: row["ece"] for row in rows if row["model"] == name}
        change = abs(ece["int8 file"] - ece["calibrated"])
        verdict = "within" if change <= TARGET else "NOT within"
        print(f"{name}: the int8 file's ECE differs by {change:.4f}, {verdict} {TARGET}")


def measure(run: Run, bootstrap: int) -> list[dict]:
    """Return a row each for the network's softmax, the calibrated model and the int8 file."""
    data, model = run.load_data(), load_keras_model(run.path("model.keras"))
    logits = keras.Model(model.inputs, model.layers[-1].input)
    judged = {
        "softmax": evaluate(logits, data, from_logits=True, bootstrap=bootstrap),
        "calibrated": evaluate(model, data, bootstrap=bootstrap),
        "int8 file": evaluate(run.path("model.tflite"), data, bootstrap=bootstrap),
    }
    temperature = run.metrics["temperature"]["value"]
    return [
        {
            "probabilities": kind,
            "images": found.images,
            "accuracy": found.accuracy.value,
            "ece": found.ece.value,
            "ece_interval": list(found.ece.interval),
            "ece_noise": found.ece_noise_floor["mean"],
            "nll": found.nll.value,
            "temperature": 1.0 if kind == "softmax" else temperature,
        }
        for kind, found in judged.items()
    ]


def _run(recipe, source, directory):
    if not directory.exists():
        return train_and_export(recipe, source, directory)
    run = Run(directory)
    return run if run.finished and run.export else resume_and_export(directory)


if __name__ == "__main__":
    main()
