"""Transfer against training from scratch, by how many images there are.

    python benchmarks/transfer.py idx:/usr/share/datasets/fashion-mnist --out runs/transfer.json

EfficientNet-Lite0 with its ImageNet weights (extra "pretrained") on 10, 50 and 200 images a class
of Fashion-MNIST, enlarged from 28 to 96 pixels (224, what the network was trained on, would take
five times as long and add nothing to such images):

  probe    a linear head on frozen features, its L2 penalty chosen on validation images
  tuned    that head, then the whole network (LP-FT), batch normalisation frozen, at a learning rate
           that was not tuned
  scratch  the same network from random weights, for half as many steps again, at the best of
           three learning rates by validation accuracy (chosen for each number of images on seed 0)

A seed decides which images are drawn, the random weights and the order. 500 validation images and
the test images are the same throughout; nothing is chosen by the test images. Each result is
written to --out as soon as it is there; run again, it goes on where it was.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from augment.training import training_transform
from recipes import load_data
from recipes.files import read_json, write_json
from recipes.hardware import describe_machine
from recipes.transfer import fine_tune, linear_probe, transfer_model, unfreeze

BACKBONE = "efficientnet_lite0"
METHODS = ("probe", "tuned", "scratch")
BATCH = 32
VALIDATION = 500
TUNED_RATE, RATE_DECAY = 3e-4, 0.7
SCRATCH_RATES = (3e-4, 1e-3, 3e-3)


def main():
    options = _options()
    tf.get_logger().setLevel("ERROR")  # each cell is a new model: it warns of retracing
    settings = {
        name: getattr(options, name)
        for name in ("source", "size", "steps", "scratch_steps", "test_images", "weights")
    }
    results = _Results(options.out, settings)
    images = _Images(options)
    cells = [
        (each, seed, method)
        for each in options.per_class
        for seed in range(options.seeds)
        for method in METHODS
    ]
    todo = [cell for cell in cells if not results.has(*cell)]
    started = time.perf_counter()
    for number, cell in enumerate(todo, start=1):
        row = _measure(options, images, results, *cell)
        results.add(row)
        left = (time.perf_counter() - started) / number * (len(todo) - number) / 60
        each, seed, method = cell
        print(
            f"[{number}/{len(todo)}] {each} a class, seed {seed}, {method}: "
            f"{100 * row['accuracy']:.2f} % in {row['seconds']:.0f} s; about {left:.0f} min left",
            file=sys.stderr,
        )
    summary = _summary(results, options)
    print(json.dumps(summary, indent=2) if options.json else _table(summary))


def _options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="idx:FOLDER of Fashion-MNIST, or what load_data takes")
    parser.add_argument("--out", type=Path, default=Path("runs/transfer.json"))
    parser.add_argument("--per-class", type=int, nargs="+", default=[10, 50, 200])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96, help="pixels a side (default: 96)")
    parser.add_argument("--steps", type=int, default=240, help="of fine-tuning, 32 images each")
    parser.add_argument("--scratch-steps", type=int, default=360)
    parser.add_argument("--test-images", type=int, default=5000)
    parser.add_argument("--weights", default="imagenet", help="imagenet, or a file")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


class _Results:
    """Rows of finished cells, in a file that is whole at any time."""

    def __init__(self, path, settings):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self.content = {"settings": settings, "machine": describe_machine(), "rows": []}
        if path.exists():
            self.content = read_json(path)
            if self.content["settings"] != settings:
                sys.exit(f"{path} holds results of other settings: {self.content['settings']}")

    @property
    def rows(self):
        return self.content["rows"]

    def find(self, each, seed, method, rate=None):
        for row in self.rows:
            same = (row["per_class"], row["seed"], row["method"]) == (each, seed, method)
            if same and (rate is None or row["learning_rate"] == rate):
                return row
        return None

    def has(self, each, seed, method):
        return self.find(each, seed, method) is not None

    def add(self, row):
        self.rows.append(row)
        write_json(self.path, self.content)


class _Images:
    """Enlarged images: a pool to draw training images from, validation and test images."""

    def __init__(self, options):
        data = load_data(options.source)
        self.size = options.size
        self.classes = len(data.class_names)
        self.pool = data.splits["train"]
        self.validation = self._take(data.splits["validation"], range(VALIDATION))
        self.test = self._take(data.splits["test"], range(options.test_images))

    def draw(self, each, seed):
        """Return `each` training images of each class."""
        generator = np.random.default_rng(seed)
        labels = self.pool.labels
        chosen = [
            generator.choice(np.flatnonzero(labels == kind), each, replace=False)
            for kind in range(self.classes)
        ]
        return self._take(self.pool, np.concatenate(chosen))

    def _take(self, split, indices):
        indices = np.asarray(indices)[: len(split)]
        side = (self.size, self.size)
        parts = []
        for start in range(0, len(indices), 500):
            small = split.load(indices[start : start + 500])
            large = tf.image.resize(small, side, method="bilinear")
            parts.append(tf.cast(tf.round(large), tf.uint8).numpy())
        images = np.concatenate(parts)
        if images.shape[-1] == 1:
            images = np.repeat(images, 3, axis=-1)
        return images, split.labels[indices]


def _measure(options, images, results, each, seed, method):
    if method == "scratch":
        return _measure_scratch(options, images, results, each, seed)
    _begin(seed)
    train = images.draw(each, seed)
    model = _model(options, images, options.weights)
    started = time.perf_counter()
    linear_probe(model, train, images.validation, say=None)
    if method == "tuned":
        batches = _batches(train, images, options.steps, seed)
        _train(model, batches, TUNED_RATE, rate_decay=RATE_DECAY)
    rate = TUNED_RATE if method == "tuned" else None
    return _row(model, images, each, seed, method, rate, time.perf_counter() - started)


def _measure_scratch(options, images, results, each, seed):
    """Train from scratch; on seed 0 at each learning rate, of which the best is kept."""
    if seed == 0:
        rows = []
        for rate in SCRATCH_RATES:
            row = results.find(each, seed, "scratch candidate", rate)
            if row is None:
                row = _scratch(options, images, each, seed, rate)
                results.add({**row, "method": "scratch candidate"})
            rows.append(row)
        best = max(rows, key=lambda row: row["validation_accuracy"])
        return {**best, "method": "scratch"}
    rate = results.find(each, 0, "scratch")["learning_rate"]
    return _scratch(options, images, each, seed, rate)


def _scratch(options, images, each, seed, rate):
    _begin(seed)
    train = images.draw(each, seed)
    model = _model(options, images, None)
    unfreeze(model, batch_norm="train", say=None)
    started = time.perf_counter()
    batches = _batches(train, images, options.scratch_steps, seed)
    _train(model, batches, rate, batch_norm="train")
    return _row(model, images, each, seed, "scratch", rate, time.perf_counter() - started)


def _begin(seed):
    keras.backend.clear_session()  # or the graphs of all cells stay in memory
    keras.utils.set_random_seed(seed)


def _model(options, images, weights):
    return transfer_model(
        BACKBONE,
        images.classes,
        input_shape=(options.size, options.size, 3),
        weights=weights,
        classifier_activation=None,
    )


def _batches(train, images, steps, seed):
    """Return `steps` shuffled, flipped and shifted batches of the training images."""
    transform = training_transform(
        classes=images.classes, flip="horizontal", crop_padding=images.size // 12
    )
    count = len(train[0])
    pairs = tf.data.Dataset.from_tensor_slices(train).shuffle(count, seed=seed).repeat()
    numbered = tf.data.Dataset.zip((pairs.batch(BATCH), tf.data.Dataset.counter()))
    batches = numbered.map(
        lambda pair, number: transform(*pair, tf.stack([tf.cast(number, tf.int32), seed]))
    )
    return batches.take(steps).prefetch(2)


def _train(model, batches, rate, **arguments):
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    fine_tune(
        model,
        batches,
        head_epochs=0,
        tune_epochs=1,
        learning_rate=rate,
        weight_decay=0.01,
        loss=loss,
        say=None,
        verbose=0,
        **arguments,
    )


def _row(model, images, each, seed, method, rate, seconds):
    accuracies = {
        name: float((model.predict(x, batch_size=100, verbose=0).argmax(axis=1) == y).mean())
        for name, (x, y) in (("validation_accuracy", images.validation), ("accuracy", images.test))
    }
    return {
        "per_class": each,
        "seed": seed,
        "method": method,
        "learning_rate": rate,
        **{name: round(value, 5) for name, value in accuracies.items()},
        "seconds": round(seconds, 1),
    }


def _summary(results, options):
    cells = {}
    for each in options.per_class:
        for method in METHODS:
            rows = [results.find(each, seed, method) for seed in range(options.seeds)]
            values = [row["accuracy"] for row in rows]
            cells[f"{each} {method}"] = {
                "per_class": each,
                "method": method,
                "accuracy": round(statistics.mean(values), 5),
                "standard_deviation": _deviation(values),
                "seconds": round(statistics.mean(row["seconds"] for row in rows), 1),
            }
    return {
        **results.content,
        "seeds": options.seeds,
        "cells": list(cells.values()),
        "crossover": {
            f"{first} over {second}": _crossover(cells, options.per_class, first, second)
            for first, second in (("tuned", "probe"), ("scratch", "probe"), ("scratch", "tuned"))
        },
    }


def _deviation(values):
    return round(statistics.stdev(values), 5) if len(values) > 1 else None


def _crossover(cells, sizes, first, second):
    """Return from how many images a class on `first` is at least as accurate, or `None`."""
    found = None
    for each in sorted(sizes, reverse=True):
        if cells[f"{each} {first}"]["accuracy"] < cells[f"{each} {second}"]["accuracy"]:
            break
        found = each
    return found


def _table(summary):
    lines = [
        f"test accuracy, mean +- standard deviation over {summary['seeds']} seeds; seconds a run",
        f"{'images a class':<16}" + "".join(f"{method:>26}" for method in METHODS),
    ]
    sizes = dict.fromkeys(cell["per_class"] for cell in summary["cells"])
    for each in sizes:
        row = f"{each:<16}"
        for cell in (cell for cell in summary["cells"] if cell["per_class"] == each):
            spread = cell["standard_deviation"]
            spread = "" if spread is None else f" +- {100 * spread:.2f}"
            text = f"{100 * cell['accuracy']:.2f}{spread} % {cell['seconds']:5.0f} s"
            row += f"{text:>26}"
        lines.append(row)
    for name, each in summary["crossover"].items():
        where = f"from {each} images a class on" if each else f"not up to {max(sizes)} a class"
        lines.append(f"{name}: {where}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
