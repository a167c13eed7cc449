"""Int8 by training against int8 after training, and float, on test images.

    python benchmarks/quantization.py RUN idx:/usr/share/datasets/fashion-mnist [--fast]

RUN is a finished run of a recipe. Its model is quantized after training (300 training images for
the ranges, `export_tflite`) and by quantization-aware training on the recipe's own batches,
with their augmentation, at a small learning rate. Both files run in the LiteRT interpreter on the
test images; differences of accuracy are paired, with 95 % intervals. Nothing is chosen by the test
images. --fast trains one epoch of 100 steps in place of two whole ones.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from recipes import Run
from recipes.errors import RecipesError
from recipes.evaluation.classifier import KerasClassifier, LiteRTClassifier
from recipes.evaluation.metrics import accuracy_difference
from recipes.files import write_json
from recipes.hardware import describe_machine
from recipes.training import load_recipe_data, training_pipeline
from tuning import export_tflite, inspect_tflite, quantize_aware

FAST_STEPS = 100


def main(arguments=None):
    """Measure, print a table, and write it where --out says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("source")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--out", type=Path)
    try:
        result = measure(parser.parse_args(arguments))
    except RecipesError as error:
        print(f"quantization: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2))
    return 0


def measure(options):
    """Return a row for the float model and for each file."""
    run = Run(options.run)
    data = load_recipe_data(run.recipe, options.source)
    classifier = KerasClassifier(run.path("model.keras"))
    train, test = data.splits["train"], data.splits["test"]
    batch_size = min(run.recipe.training.batch_size, len(train))
    steps = len(train) // batch_size
    chosen = np.random.default_rng(0).choice(len(train), min(300, len(train)), replace=False)
    epochs = 1 if options.fast else options.epochs
    exam = _Exam(test.load(np.arange(len(test))), np.asarray(test.labels), classifier)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        after = export_tflite(
            classifier.model,
            Path(folder) / "after.tflite",
            precision="int8",
            calibration_images=train.load(np.sort(chosen)),
        )
        rows = [exam.row("after training", after, time.perf_counter() - start)]
        start = time.perf_counter()
        trained = quantize_aware(
            classifier.model,
            training_pipeline(run.recipe, data, batch_size),
            epochs=epochs,
            steps_per_epoch=min(steps, FAST_STEPS) if options.fast else steps,
            learning_rate=options.learning_rate,
        )
        aware = trained.export(Path(folder) / "aware.tflite")
        rows.append(exam.row("by training", aware, time.perf_counter() - start))
        rows.append(exam.row("its float model", trained.model, 0.0))
    result = {
        "images": len(test),
        "float_accuracy": float(exam.expected.mean()),
        "epochs": epochs,
        "fast": options.fast,
        "rows": rows,
        "by_training_against_after": exam.difference("by training", "after training"),
        "machine": describe_machine(),
    }
    if options.out:
        write_json(options.out, result)
    return result


class _Exam:
    def __init__(self, images, labels, classifier):
        self._images, self._labels, self._right = images, labels, {}
        self.expected = classifier.predict(images, 256).argmax(axis=1) == labels

    def row(self, name, made, seconds):
        """Measure a file, or a Keras model."""
        is_file = isinstance(made, Path)
        model = LiteRTClassifier(made, threads=2) if is_file else KerasClassifier(made)
        right = model.predict(self._images, 256).argmax(axis=1) == self._labels
        self._right[name] = right
        return {
            "name": name,
            "accuracy": float(right.mean()),
            "difference_from_float": accuracy_difference(right, self.expected),
            "seconds": round(seconds, 1),
            "bytes": made.stat().st_size if is_file else None,
            "float_operations": inspect_tflite(made)["float_operation_names"] if is_file else None,
        }

    def difference(self, one, other):
        return accuracy_difference(self._right[one], self._right[other])


if __name__ == "__main__":
    sys.exit(main())
