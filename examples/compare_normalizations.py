"""Normalisations compared: batch, layer, instance, group and none, by batch size and over seeds.

    python examples/compare_normalizations.py --out normalizations.json
    python examples/compare_normalizations.py --norms batch group --batch-sizes 2 64 --seeds 5

The experiment of Wu and He ("Group Normalization", 2018, figure 5) on a small residual network:
batch normalisation takes its statistics over the batch, so small batches make them noisy; the
others look at one image at a time. What makes it fair:

* All have the same network, the same batches in the same order and the same number of images.
  Residual branches start at 0, without which "none" diverges (by the scale of their last
  normalisation; "none" has none, and starts its last kernel at 0). For a seed all start at the same
  weights but "none", whose kernels of 0 are not drawn, so that those after them are other draws.
* Learning rates are scaled with the batch size. For each normalisation and batch size the best of
  `--learning-rates` is chosen by validation images, with a seed that is not used again.
* The test images are looked at once, at the end of each run; nothing is chosen by them.

Prints accuracy in percent: mean ± standard deviation over the seeds.
"""

import argparse
import itertools
import json
import sys
import time

import keras
import numpy as np

from callbacks import WarmupDecay
from recipes import RecipesError, load_data
from recipes.files import write_json
from recipes.layers import (
    NORMALIZATIONS,
    BasicResidual,
    ChannelNormalization,
    ConvNormActivation,
    initializer,
)


def main(arguments=None):
    """Train all networks and print the table; return the exit code."""
    options = parse(arguments)
    keras.config.set_dtype_policy("float32")
    try:
        check(options)
        data = load_data(options.source)
        rows = [
            compare(data, norm, batch_size, options)
            for norm, batch_size in itertools.product(options.norms, options.batch_sizes)
        ]
    except RecipesError as error:
        print(f"compare_normalizations: {error}", file=sys.stderr)
        return 2
    if options.out:
        write_json(options.out, {"options": vars(options), "rows": rows})
    print(json.dumps(rows) if options.json else table(rows))
    return 0


def parse(arguments):
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("source", nargs="?", default="fashion-mini", help="images")
    norms = ["batch", "layer", "instance", "group", "none"]
    parser.add_argument("--norms", nargs="+", default=norms, choices=NORMALIZATIONS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[2, 8, 64])
    parser.add_argument("--seeds", type=int, default=3, help="runs for each cell of the table")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--images", type=int, help="training images to use; default all")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    parser.add_argument(
        "--learning-rates",
        nargs="+",
        type=float,
        default=[0.03, 0.1, 0.3],
        help="for batches of 64; scaled with the batch size",
    )
    parser.add_argument("--out", help="JSON file for the results")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser.parse_args(arguments)


def check(options):
    """Raise `RecipesError` if a number is too small."""
    for name in ("seeds", "epochs", "width"):
        if getattr(options, name) < 1:
            raise RecipesError(f"--{name} must be at least 1, received: {getattr(options, name)}")
    if min(options.batch_sizes) < 1:
        raise RecipesError(f"--batch-sizes must be at least 1, received: {options.batch_sizes}")
    if min(options.learning_rates) <= 0:
        raise RecipesError(f"--learning-rates must be above 0, received: {options.learning_rates}")


def compare(data, norm, batch_size, options):
    """Return one cell of the table: the accuracies of all seeds at the best learning rate."""
    start = time.monotonic()
    keras.utils.clear_session()
    trainer = Trainer(data, norm, batch_size, options)
    rates = options.learning_rates
    trials = {}
    if len(rates) > 1:
        trials = {rate: trainer.run(rate, options.seeds)[0] for rate in rates}
    best = max(rates, key=trials.get) if trials else rates[0]
    row = {
        "norm": norm,
        "batch_size": batch_size,
        "learning_rate": best,
        "validation_accuracies": {str(rate): value for rate, value in trials.items()},
        "test_accuracies": [trainer.run(best, seed)[1] for seed in range(options.seeds)],
        "seconds": round(time.monotonic() - start, 1),
    }
    print(f"{norm}, batches of {batch_size}: {summary(row)}", file=sys.stderr)
    return row


class Peak(keras.optimizers.schedules.LearningRateSchedule):
    """Warmup and decay to a peak that can be set anew, without tracing the network again."""

    def __init__(self, steps):
        self.peak = keras.Variable(1.0, trainable=False, name="peak")
        self.shape = WarmupDecay(1.0, steps, warmup=0.1)

    def __call__(self, step):
        """Return the learning rate of a step."""
        return self.peak * self.shape(step)


class Trainer:
    """One network, which is trained from new starting weights in each run."""

    def __init__(self, data, norm, batch_size, options):
        split = data.splits["train"]
        count = min(options.images or len(split), len(split))
        if count < batch_size:
            raise RecipesError(f"batches of {batch_size} need as many images, received: {count}")
        # Evenly spaced, so that all classes are in; the same images for all.
        chosen = np.linspace(0, len(split) - 1, count).astype(int)
        self.images, self.labels = split.load(chosen), split.labels[chosen]
        self.data, self.norm, self.batch_size, self.options = data, norm, batch_size, options
        steps = count // batch_size
        self.schedule = Peak(options.epochs * steps)
        self.model = build(data, norm, options.width)
        self.model.compile(
            keras.optimizers.SGD(self.schedule, momentum=0.9, nesterov=True),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=min(32, steps),
        )
        self.model.optimizer.build(self.model.trainable_variables)

    def run(self, rate, seed):
        """Return validation and test accuracy of the network, trained from its beginning."""
        keras.utils.set_random_seed(seed)
        self.model.set_weights(build(self.data, self.norm, self.options.width).get_weights())
        for variable in self.model.optimizer.variables:
            variable.assign(np.zeros(variable.shape))
        self.schedule.peak.assign(rate * self.batch_size / 64)
        order = np.random.default_rng(seed)
        whole = len(self.labels) // self.batch_size * self.batch_size
        for _ in range(self.options.epochs):
            shuffled = order.permutation(len(self.labels))[:whole]
            self.model.fit(
                self.images[shuffled],
                self.labels[shuffled],
                batch_size=self.batch_size,
                shuffle=False,
                verbose=0,
            )
        return tuple(
            accuracy(self.model, self.data.splits[name]) for name in ("validation", "test")
        )


def build(data, norm, width):
    """Return a residual network of eight layers, logits out."""
    shared = {"norm": norm, "norm_groups": max(1, width // 4)}
    inputs = keras.Input(data.image_shape, name="images")
    x = ChannelNormalization(*data.statistics(), name="normalization")(inputs)
    x = ConvNormActivation(width, **shared, name="stem")(x)
    for stage, strides in enumerate((1, 2, 2)):
        x = BasicResidual(
            width * 2**stage,
            strides,
            zero_init_residual=True,
            **shared,
            name=f"stage{stage + 1}",
        )(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    outputs = keras.layers.Dense(
        len(data.class_names), kernel_initializer=initializer("zeros"), name="logits"
    )(x)
    return keras.Model(inputs, outputs, name=f"resnet8_{norm}")


def accuracy(model, split):
    """Return the share of images that are classified rightly; diverged networks get none right."""
    right = 0
    for start in range(0, len(split), 250):
        chosen = np.arange(start, min(start + 250, len(split)))
        logits = np.asarray(model(split.load(chosen), training=False))
        finite = np.isfinite(logits).all(-1)
        right += np.sum((logits.argmax(-1) == split.labels[chosen]) & finite)
    return float(right / len(split))


def summary(row):
    """Return mean and standard deviation in percent."""
    values = 100 * np.array(row["test_accuracies"])
    spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{spread}"


def table(rows):
    """Return the accuracies as a table, a line a normalisation and a column a batch size."""
    norms = list(dict.fromkeys(row["norm"] for row in rows))
    sizes = list(dict.fromkeys(row["batch_size"] for row in rows))
    cells = {(row["norm"], row["batch_size"]): summary(row) for row in rows}
    lines = ["| batch size | " + " | ".join(map(str, sizes)) + " |"]
    lines.append("|---" * (len(sizes) + 1) + "|")
    for norm in norms:
        lines.append(f"| {norm} | " + " | ".join(cells[norm, size] for size in sizes) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
