"""What pruning costs in accuracy and saves in bytes, on a trained network and its own images.

The network of a finished run is pruned while it is trained on with the images, augmentation and
labels of its recipe, then exported. Accuracies are on all test images, of the Keras model and of
each file as LiteRT runs it; the difference is paired, with its 95 % interval. Bytes are of the file
as it is and as gzip leaves it. With --quantize-epochs the pruned network is then trained for int8,
its zeros kept, for networks that rounding after training hurts.

    python benchmarks/pruning.py RUN --epochs 2
    python benchmarks/pruning.py RUN --epochs 5 --quantize-epochs 1
    python benchmarks/pruning.py RUN --epochs 2 --cluster 16 --json
    python benchmarks/pruning.py RUN --fast
"""

import argparse
import gzip
import json
import os
import sys
import tempfile
import time
from pathlib import Path

# Run as a program, this folder comes first on the path, and `augment` would be a file of it.
_FOLDER = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != _FOLDER]
sys.path.insert(0, str(_FOLDER.parent))

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402
import numpy as np  # noqa: E402

import recipes.layers  # noqa: E402, F401  (registers what the file of a run holds)
from recipes.errors import RecipesError  # noqa: E402
from recipes.evaluation.classifier import KerasClassifier, LiteRTClassifier  # noqa: E402
from recipes.evaluation.metrics import accuracy_difference  # noqa: E402
from recipes.run import Run  # noqa: E402
from recipes.training import training_pipeline  # noqa: E402
from tuning import cluster, describe_weights, export_tflite, prune, quantize_aware  # noqa: E402

_FAST_IMAGES, _FAST_STEPS = 500, 10


class Exam:
    """Accuracies on the test images of a run, against those of its model.

    Args:
        run: Finished.
        fast: Look at a few images only.
    """

    def __init__(self, run, fast):
        self.data = run.load_data()
        split = self.data.splits["test"]
        count = min(len(split), _FAST_IMAGES) if fast else len(split)
        self.images, self.labels = split.load(np.arange(count)), split.labels[:count]
        train = self.data.splits["train"]
        self.calibration = train.load(np.linspace(0, len(train) - 1, 300).astype(int))
        self.reference = None

    def measure(self, name, model, folder):
        """Return rows on a model and its files: the first call gives the reference."""
        hits = self._hits(KerasClassifier(model))
        if self.reference is None:
            self.reference = hits
        rows = [{"name": name, "file": "keras", **self._accuracy(hits)}]
        for precision in ("float32", "int8"):
            path = folder / f"{name}_{precision}.tflite"
            images = self.calibration if precision == "int8" else None
            export_tflite(model, path, precision=precision, calibration_images=images)
            rows.append(self.measure_file(name, precision, path))
        return rows

    def measure_file(self, name, precision, path):
        """Return the row on a `.tflite` file."""
        content = path.read_bytes()
        return {
            "name": name,
            "file": precision,
            **self._accuracy(self._hits(LiteRTClassifier(path))),
            "bytes": len(content),
            "gzip_bytes": len(gzip.compress(content, mtime=0)),
        }

    def _hits(self, classifier):
        return classifier.predict(self.images).argmax(axis=1) == self.labels

    def _accuracy(self, hits):
        found = accuracy_difference(hits, self.reference)
        compared = {name: found[name] for name in ("difference", "interval")}
        return {"accuracy": float(hits.mean()), **compared}


def measure(options):
    """Prune, maybe cluster, export; return the result."""
    run = Run(options.run)
    exam = Exam(run, options.fast)
    model = keras.saving.load_model(Path(options.run) / "model.keras", compile=False)
    recipe = run.recipe
    batches = training_pipeline(recipe, exam.data, recipe.training.batch_size)
    steps = len(exam.data.splits["train"]) // recipe.training.batch_size
    steps = min(steps, _FAST_STEPS) if options.fast else steps
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        rows = exam.measure("dense", model, folder)
        say("dense", rows)
        started = time.perf_counter()
        pruned = prune(
            model,
            batches,
            sparsity=options.sparsity,
            epochs=options.epochs,
            steps_per_epoch=steps,
            learning_rate=options.learning_rate,
        )
        seconds["prune"] = round(time.perf_counter() - started, 1)
        rows += exam.measure("pruned", pruned, folder)
        say("pruned", rows[-3:])
        if options.cluster:
            started = time.perf_counter()
            small = cluster(
                pruned,
                batches,
                clusters=options.cluster,
                preserve_sparsity=True,
                epochs=1,
                steps_per_epoch=max(1, steps // 4),
            )
            seconds["cluster"] = round(time.perf_counter() - started, 1)
            rows += exam.measure("pruned, clustered", small, folder)
        if options.quantize_epochs:
            started = time.perf_counter()
            trained = quantize_aware(
                pruned,
                batches,
                preserve="sparsity",
                epochs=options.quantize_epochs,
                steps_per_epoch=steps,
            )
            seconds["quantize_aware"] = round(time.perf_counter() - started, 1)
            name = "pruned, trained for int8"
            rows.append(exam.measure_file(name, "int8", trained.export(folder / "trained.tflite")))
            say(name, rows[-1:])
    whole = rows[1]["bytes"]
    for row in rows:
        if "bytes" in row:
            row["share_of_dense_float"] = row["gzip_bytes"] / whole
    return {
        "recipe": recipe.name,
        "sparsity": options.sparsity,
        "epochs": options.epochs,
        "steps_per_epoch": steps,
        "learning_rate": options.learning_rate,
        "test_images": len(exam.labels),
        "zeros": describe_weights(pruned).total["zeros"],
        "history": dict(pruned.history.history),
        "seconds": seconds,
        "rows": rows,
    }


def say(name, rows):
    """Tell how far it is."""
    print(f"{name}: accuracy {rows[0]['accuracy']:.4f}", file=sys.stderr, flush=True)


def table(result):
    """Return the rows as text."""
    lines = [f"{'network':<26}{'file':<9}{'accuracy':>9}{'difference (95 %)':>28}{'bytes':>12}"]
    lines[0] += f"{'gzip':>12}{'of float':>10}"
    for row in result["rows"]:
        low, high = row["interval"]
        change = f"{row['difference']:+.2%} ({low:+.2%} to {high:+.2%})"
        line = f"{row['name']:<26}{row['file']:<9}{row['accuracy']:>9.2%}{change:>28}"
        if "bytes" in row:
            line += f"{row['bytes']:>12,}{row['gzip_bytes']:>12,}"
            line += f"{row['share_of_dense_float']:>10.3f}"
        lines.append(line)
    zeros, seconds = result["zeros"], result["seconds"]["prune"]
    lines.append(f"{zeros:.1%} of the weights of all kernels are 0; pruning took {seconds:.0f} s")
    return "\n".join(lines)


def main(arguments=None):
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("run", help="run directory")
    parser.add_argument("--sparsity", type=float, default=0.8)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--cluster", type=int, default=0, help="then cluster to so many values")
    parser.add_argument("--quantize-epochs", type=int, default=0, help="then train for int8")
    parser.add_argument("--fast", action="store_true", help="few images and steps: does it run?")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        result = measure(options)
    except RecipesError as error:
        print(f"pruning: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result, indent=2) if options.json else table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
