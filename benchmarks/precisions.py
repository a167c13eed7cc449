"""What each precision of `export_tflite` costs and gains, on one trained run and its test images.

    python benchmarks/precisions.py runs/fashion-fast idx:/usr/share/datasets/fashion-mnist

Accuracy is compared image by image with that of the float32 file; latency is taken in turns, as a
ratio to it. "16x8" has no fast kernels on x86 and takes minutes: `--slow-images` bounds it.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from recipes import Run
from recipes.evaluation.classifier import KerasClassifier, LiteRTClassifier
from recipes.evaluation.metrics import accuracy_difference
from recipes.training import load_recipe_data
from tuning import benchmark, export_tflite
from tuning.calibration_data import calibration_indices
from tuning.tflite import CALIBRATED, PRECISIONS
from tuning.verification import compare_probabilities

_SLOW = ("16x8",)


def main():
    """Export, judge and time every precision; print a Markdown table."""
    options = _parser().parse_args()
    data = load_recipe_data(Run(options.run).recipe, options.source)
    train, test = data.splits["train"], data.splits["test"]
    calibration = train.load(calibration_indices(train.labels, options.calibration))
    images, labels = test.load(np.arange(len(test))), np.asarray(test.labels)
    model = KerasClassifier(Path(options.run) / "model.keras").model
    with tempfile.TemporaryDirectory() as folder:
        paths = {
            precision: export_tflite(
                model,
                Path(folder) / f"{precision}.tflite",
                precision=precision,
                calibration_images=calibration if precision in CALIBRATED else None,
            )
            for precision in options.precisions
        }
        costs = benchmark(list(paths.values()), runs=options.runs, rounds=options.rounds)
        reference = LiteRTClassifier(paths["float32"]).predict(images)
        rows = []
        for (precision, path), cost in zip(paths.items(), costs.files, strict=True):
            count = options.slow_images if precision in _SLOW else len(images)
            chosen = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
            received = LiteRTClassifier(path).predict(images[chosen])
            rows.append(_row(precision, cost, received, reference[chosen], labels[chosen]))
    print(json.dumps(rows, indent=2) if options.json else _table(rows))


def _row(precision, cost, received, reference, labels):
    found = compare_probabilities(received, reference, labels)
    noise = np.sum((received - reference) ** 2)
    return {
        "precision": precision,
        "images": len(labels),
        "accuracy": found.file_accuracy["value"],
        "difference": accuracy_difference(
            received.argmax(axis=1) == labels, reference.argmax(axis=1) == labels
        ),
        "agreement": found.agreement,
        "decibels": float(10 * np.log10(np.sum(reference**2) / noise)) if noise else None,
        "bytes": cost.bytes,
        "gzip_bytes": cost.gzip_bytes,
        "ratio": cost.ratio,
        "ratio_interval": list(cost.ratio_interval),
        "memory_mb": cost.memory_mb,
        "float_operations": cost.float_operations,
    }


def _table(rows):
    whole = rows[0]
    lines = [
        "| precision | accuracy | difference, points (95 %) | agrees | dB | kB (share) | gzip kB | "
        "time, ratio (95 %) | MB | float ops |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        low, high = (100 * bound for bound in row["difference"]["interval"])
        fast, slow = row["ratio_interval"]
        part = "" if row["images"] == whole["images"] else f" of {row['images']:,}"
        lines.append(
            f"| `{row['precision']}` | {100 * row['accuracy']:.2f} %{part} | "
            f"{100 * row['difference']['difference']:+.2f} ({low:+.2f} to {high:+.2f}) | "
            f"{100 * row['agreement']:.2f} % | "
            + ("" if row["decibels"] is None else f"{row['decibels']:.1f}")
            + f" | {row['bytes'] / 1000:.0f} ({row['bytes'] / whole['bytes']:.3f}) | "
            f"{row['gzip_bytes'] / 1000:.0f} | {row['ratio']:.2f} ({fast:.2f} to {slow:.2f}) | "
            f"{row['memory_mb']} | {row['float_operations']} |"
        )
    return "\n".join(lines)


def _parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", help="finished run")
    parser.add_argument("source", help="its images, as for recipes train")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), metavar="PRECISION")
    parser.add_argument("--calibration", type=int, default=300, metavar="IMAGES")
    parser.add_argument("--slow-images", type=int, default=10_000, metavar="IMAGES")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    main()
