"""What our callbacks add to an epoch, against the same `fit` with nothing but `validation_data`.

Both sides train the network of a recipe on the pipeline of that recipe and validate on the same
images. `plain` is `fit(validation_data=...)`. `ours` has the callbacks that the recipe runs with:
averaged weights, validation, early stopping, calibration, classes, run log, progress, checkpoint.
They alternate, a `fit` of some epochs each; the first epoch of a `fit`, which traces, is left out.
An epoch counts from its begin to the begin of the next, so whatever a callback does is in it. The
ratio is taken within each round, by the clock and by processor time, which other work on the
machine does not lengthen as much. On a busy machine trust the third figure: the seconds inside the
callbacks, less those of the validation by Keras that they replace, as a share of the rest of the
epoch around them; both parts of it are taken within the same epochs.

    python benchmarks/callbacks_cost.py
    python benchmarks/callbacks_cost.py --recipe fashion-mini --rounds 5 --epochs 4 --json
"""

import argparse
import collections
import json
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import callbacks
from recipes import get_recipe, load_data
from recipes.evaluation.judging import EVALUATION_BATCH, evaluation_images
from recipes.hardware import choose_precision
from recipes.network import Network
from recipes.training import compile_for_soft_labels, make_optimizer, training_pipeline

TARGET = 0.05
# The validation of the plain side, among the seconds of callbacks.
STOCK = "validation_data"
HOOKS = ("on_train_batch_end", "on_epoch_begin", "on_epoch_end")


class Stopwatch(keras.callbacks.Callback):
    """Note clock and processor time at the begin of each epoch, and at the end of training.

    Args:
        seconds: What `clocked` counts; begun anew after the first epoch, which traces.
    """

    def __init__(self, seconds):
        super().__init__()
        self.marks = []
        self.seconds = seconds

    def on_test_begin(self, logs=None):
        self._test_started = time.perf_counter()

    def on_test_end(self, logs=None):
        taken = time.perf_counter() - self._test_started
        self.seconds[STOCK] = self.seconds.get(STOCK, 0.0) + taken

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            self.seconds.clear()
        self._mark()

    def on_train_end(self, logs=None):
        self._mark()

    def _mark(self):
        self.marks.append((time.perf_counter(), time.process_time()))

    def epochs(self):
        """Return (clock, processor) seconds of each epoch but the first."""
        marks = np.asarray(self.marks)
        return np.diff(marks, axis=0)[1:]


def clocked(callback, seconds):
    """Count in `seconds` what each hook of a callback takes by the clock; return the callback."""
    name = type(callback).__name__
    for hook in HOOKS:
        original = getattr(callback, hook)

        def timed(*arguments, _original=original, **named):
            started = time.perf_counter()
            _original(*arguments, **named)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started

        setattr(callback, hook, timed)
    return callback


class Bench:
    """A recipe's network, images and callbacks, ready to be trained either way."""

    def __init__(self, name):
        self.recipe = get_recipe(name)
        self.data = load_data(name, validation=self.recipe.data.validation)
        precision, _ = choose_precision(self.recipe.training.precision)
        keras.utils.set_random_seed(0)
        self.model = Network(self.recipe, self.data).build(precision)
        self.batch_size = self.recipe.training.batch_size
        self.steps = len(self.data.splits["train"]) // self.batch_size
        total = self.steps * self.recipe.training.epochs
        compile_for_soft_labels(self.model, make_optimizer(self.recipe, self.model, total))
        split = self.data.splits["validation"]
        targets = np.eye(len(self.data.class_names), dtype="float32")[split.labels]
        labelled = tf.data.Dataset.from_tensor_slices(targets).batch(EVALUATION_BATCH)
        self.validation_data = tf.data.Dataset.zip((evaluation_images(split), labelled))

    def ours(self, folder, seconds):
        """Return the callbacks of a recipe's run, clocked, in their order."""
        split = self.data.splits["validation"]
        average = callbacks.WeightAverage(self.recipe.training.ema or 0.99)
        validation = callbacks.Validation(evaluation_images(split), split.labels, average=average)
        calibration = callbacks.CalibrationMonitor(validation)
        classes = callbacks.PerClass(validation, self.data.class_names)
        stopping = callbacks.EarlyStopping("val_loss", average=average)
        log = callbacks.RunLog(
            os.path.join(folder, "log.jsonl"), images_per_epoch=self.steps * self.batch_size
        )
        bar = callbacks.Progress(self.recipe.training.epochs, self.steps)
        states = {"stopping": stopping, "average": average}
        checkpoint = callbacks.Checkpoint(folder, states)
        ours = (average, validation, calibration, classes, stopping, log, bar, checkpoint)
        return [clocked(callback, seconds) for callback in ours]

    def fit(self, epochs, more, validation_data, seconds):
        """Train; return (clock, processor) seconds of each epoch but the first."""
        watch = Stopwatch(seconds)
        self.model.fit(
            training_pipeline(self.recipe, self.data, self.batch_size),
            epochs=epochs,
            steps_per_epoch=self.steps,
            validation_data=validation_data,
            # First, so that an epoch ends after all the others have begun the next.
            callbacks=[watch, *more],
            shuffle=False,
            verbose=0,
        )
        return watch.epochs()


def measure(bench, *, rounds, epochs):
    """Return seconds of each side by round, and, of a mean epoch, those of each callback."""
    sides = {"plain": [], "ours": []}
    totals = collections.Counter()
    for round_ in range(rounds):
        # Who begins changes, in case the machine gets slower or faster.
        for side in ("plain", "ours") if round_ % 2 == 0 else ("ours", "plain"):
            seconds = {}
            if side == "plain":
                found = bench.fit(epochs + 1, [], bench.validation_data, seconds)
            else:
                with tempfile.TemporaryDirectory() as folder:
                    found = bench.fit(epochs + 1, bench.ours(folder, seconds), None, seconds)
            sides[side].append(found)
            totals.update(seconds)
    return sides, {name: value / (rounds * epochs) for name, value in totals.items()}


def added_share(sides, seconds):
    """Return what the callbacks add to a plain epoch, by the clock inside the epochs of each side.

    With `c` the seconds in callbacks and `e` those of an epoch of ours, `v` and `p` those of the
    validation by Keras and of a plain epoch: `(1 + c / (e - c)) / (1 + v / (p - v)) - 1`, which is
    `(c - v) / p` when training takes as long on both sides.

    Example:
        >>> sides = {"plain": [[[10.0, 0]]], "ours": [[[20.8, 0]]]}
        >>> round(added_share(sides, {STOCK: 1.0, "Validation": 2.0, "RunLog": 0.8}), 3)
        0.04
    """
    epoch = {
        side: np.mean(np.concatenate([np.asarray(found)[:, 0] for found in rounds]))
        for side, rounds in sides.items()
    }
    stock = seconds.get(STOCK, 0.0)
    ours = sum(value for name, value in seconds.items() if name != STOCK)
    with_ours = epoch["ours"] / (epoch["ours"] - ours)
    return float(with_ours / (epoch["plain"] / (epoch["plain"] - stock)) - 1)


def summarize(sides, seconds):
    """Return what an epoch takes on each side, and the ratios within rounds.

    Args:
        sides: For `plain` and `ours`, a round after the other, (clock, processor) seconds of its
            epochs, shape `(epochs, 2)`.
        seconds: Of each callback in an epoch, and of the validation that they replace.
    """
    medians = {
        side: np.asarray([np.median(found, axis=0) for found in rounds])
        for side, rounds in sides.items()
    }
    result = {}
    for column, by in enumerate(("clock", "processor")):
        plain, ours = medians["plain"][:, column], medians["ours"][:, column]
        ratios = ours / plain
        result[by] = {
            "plain_seconds": round(statistics.median(plain), 3),
            "ours_seconds": round(statistics.median(ours), 3),
            "ratio": round(statistics.median(ratios), 4),
            "ratios": [round(float(ratio), 4) for ratio in ratios],
        }
    result["added"] = round(added_share(sides, seconds), 4)
    result["meets_target"] = result["added"] <= TARGET
    return result


def print_table(result):
    settings = f"{result['rounds']} rounds of {result['epochs']} epochs each"
    print(f"{result['recipe']}, {result['cores']} cores, {settings}; seconds an epoch")
    for by in ("clock", "processor"):
        row = result[by]
        spread = ", ".join(f"{ratio:.3f}" for ratio in row["ratios"])
        print(
            f"{by:10} plain {row['plain_seconds']:.2f}  ours {row['ours_seconds']:.2f}  "
            f"ratio {row['ratio']:.3f} ({spread})"
        )
    whole = result["clock"]["ours_seconds"]
    for name, seconds in sorted(result["callbacks"].items(), key=lambda item: -item[1]):
        print(f"  {name:20} {seconds:7.3f} s  {100 * seconds / whole:5.1f} %")
    met = "yes" if result["meets_target"] else "no"
    print(f"added to an epoch: {100 * result['added']:.1f} %; under {TARGET:.0%}: {met}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="fashion-mini", help="one of bundled images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3, help="measured epochs a round and side")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    bench = Bench(arguments.recipe)
    sides, seconds = measure(bench, rounds=arguments.rounds, epochs=arguments.epochs)
    result = {
        "recipe": arguments.recipe,
        "rounds": arguments.rounds,
        "epochs": arguments.epochs,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
        **summarize(sides, seconds),
        "callbacks": {name: round(value, 4) for name, value in seconds.items()},
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(result)


if __name__ == "__main__":
    main()
