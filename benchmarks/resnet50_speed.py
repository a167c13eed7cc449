"""ResNet-50 against `keras.applications.ResNet50`: building, inference, training, in one run.

    python benchmarks/resnet50_speed.py --json

Images of 224 pixels, batches of 16, the same optimizer and loss. The sides:

* `keras`: `keras.applications.ResNet50`, float32, as it is;
* `keras bfloat16`: the same built under the policy "mixed_bfloat16";
* `recipe`, `recipe bfloat16`: `build_model("resnet50")` of this package;
* `accelerated`, `accelerated bfloat16`: `accelerate(keras.applications.ResNet50(...))`, that is the
  very network of `keras` with fused batch normalisation.

The networks are not quite the same: that of `keras` has the stride of a block on its first 1x1
convolution and biases everywhere (3.86 G multiply-adds), ours the stride on the 3x3 (4.09 G), as in
torchvision, and the normalisation of the images inside. `accelerated` compares like with like.

The sides take turns, in another order each round, and the ratio of a side to `keras` is taken
within the round. Medians over the rounds are printed, for the time on the clock and for the
processor time, which a busy neighbour on the machine disturbs less. A ratio above 1 is faster than
`keras`. bfloat16 is slow where the processor has no arithmetic for it.
"""

import argparse
import json
import random
import statistics
import time

from recipes._quiet import import_tensorflow

import_tensorflow()

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from recipes import build_model  # noqa: E402
from recipes.hardware import choose_precision, describe_machine  # noqa: E402
from recipes.models.accelerate import accelerate  # noqa: E402

KINDS = ("training", "inference", "building")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--size", type=int, default=224, help="pixels a side")
    parser.add_argument("--steps", type=int, default=2, help="steps a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--builds", type=int, default=3, help="rounds of building")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    # TensorFlow takes the same step of six networks for one step traced six times, and warns.
    tf.get_logger().setLevel("ERROR")
    sides = {name: Side(make, options) for name, make in makers(options.size).items()}
    measured = {
        "building": measure(sides, "build", options.builds, 1),
        "inference": measure(sides, "infer", options.rounds, options.steps),
        "training": measure(sides, "train", options.rounds, options.steps),
    }
    report(measured, options)


def makers(size):
    """Return a function that builds the model of each side, by its name."""
    shape = (size, size, 3)

    def stock(policy):
        return with_policy(
            policy, lambda: keras.applications.ResNet50(weights=None, input_shape=shape)
        )

    def recipe(policy):
        return with_policy(policy, lambda: build_model("resnet50", input_shape=shape))

    half = "mixed_bfloat16"
    return {
        "keras": lambda: stock("float32"),
        "keras bfloat16": lambda: stock(half),
        "recipe": lambda: recipe("float32"),
        "recipe bfloat16": lambda: recipe(half),
        "accelerated": lambda: accelerate(stock("float32")),
        "accelerated bfloat16": lambda: accelerate(stock("float32"), precision=half),
    }


def with_policy(policy, make):
    """Return `make()` under a dtype policy."""
    keras.config.set_dtype_policy(policy)
    try:
        return make()
    finally:
        keras.config.set_dtype_policy("float32")


class Side:
    """One network, with a traced training step and a traced inference."""

    def __init__(self, make, options):
        self.make = make
        model = make()
        generator = np.random.default_rng(0)
        shape = (options.batch_size, options.size, options.size, 3)
        self.images = tf.constant(generator.integers(0, 256, shape).astype("float32"))
        labels = np.arange(options.batch_size) % 10
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy")
        self.model = model
        data = tf.data.Dataset.from_tensors((self.images, labels)).cache().repeat()
        self.data = iter(data)
        model.make_train_function()

    def build(self):
        """Build the network once more, and drop it."""
        self.make()

    def train(self):
        """Run one training step."""
        logs = self.model.train_function(self.data)
        np.asarray(keras.tree.flatten(logs)[0])  # Waits for the step.

    def infer(self):
        """Run one inference."""
        self.model.predict_on_batch(self.images)


def measure(sides, action, rounds, steps):
    """Return the seconds by the clock and of the processor of each side in each round."""
    clock = {name: [] for name in sides}
    processor = {name: [] for name in sides}
    order = random.Random(0)
    for round_ in range(rounds + 1):
        for name in order.sample(list(sides), len(sides)):
            run = getattr(sides[name], action)
            started = time.perf_counter(), time.process_time()
            for _ in range(steps):
                run()
            ended = time.perf_counter(), time.process_time()
            if round_:  # The first round traces and warms up.
                clock[name].append((ended[0] - started[0]) / steps)
                processor[name].append((ended[1] - started[1]) / steps)
    return {
        name: {
            "seconds": round(statistics.median(clock[name]), 4),
            "ratio": ratio(clock["keras"], clock[name]),
            "processor_seconds": round(statistics.median(processor[name]), 4),
            "processor_ratio": ratio(processor["keras"], processor[name]),
        }
        for name in sides
    }


def ratio(base, other):
    """Return quartiles over the rounds of how many times as long `base` took as `other`."""
    ratios = [left / right for left, right in zip(base, other, strict=True)]
    several = len(ratios) > 1
    lower, median, upper = statistics.quantiles(ratios, n=4) if several else ratios * 3
    return {
        "median": round(median, 3),
        "lower_quartile": round(lower, 3),
        "upper_quartile": round(upper, 3),
    }


def report(measured, options):
    """Print medians and ratios, and what was to be reached."""
    training, inference = measured["training"], measured["inference"]
    targets = {
        "training, float32, at least 1.3": training["recipe"],
        "training, bfloat16, at least 2.3": training["recipe bfloat16"],
        "inference, float32, at least 1.0": inference["recipe"],
    }
    result = {
        "batch_size": options.batch_size,
        "size": options.size,
        "rounds": options.rounds,
        "steps_a_round": options.steps,
        "precision_chosen_here": choose_precision("auto")[0],
        **measured,
        "targets": {
            name: {
                "ratio": row["ratio"]["median"],
                "processor_ratio": row["processor_ratio"]["median"],
            }
            for name, row in targets.items()
        },
        "machine": describe_machine(),
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(
        f"ResNet-50, {options.size} pixels, batch {options.batch_size}, "
        f"medians of {options.rounds} rounds; x keras: above 1 is faster"
    )
    for kind in KINDS:
        print(f"\n{kind:<22}{'seconds':>9}{'x keras':>9}   {'processor time, x keras':>24}")
        for name, row in measured[kind].items():
            wall, cpu = row["ratio"], row["processor_ratio"]
            print(
                f"{name:<22}{row['seconds']:>9.3f}{wall['median']:>9.2f}   "
                f"{cpu['median']:>9.2f} ({cpu['lower_quartile']:.2f} to "
                f"{cpu['upper_quartile']:.2f})"
            )
    print()
    for name, row in result["targets"].items():
        print(f"{name}: {row['ratio']:.2f} by the clock, {row['processor_ratio']:.2f} of processor")


if __name__ == "__main__":
    main()
