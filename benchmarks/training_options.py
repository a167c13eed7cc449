"""What the options of the training path cost and gain, each against none of them, in one run.

    python benchmarks/training_options.py                      # time
    python benchmarks/training_options.py --accuracy --seeds 3 # accuracy on the bundled images
    python benchmarks/training_options.py --memory             # peak memory of gathered gradients

Every side is compiled as `recipes train` does and fed by its pipeline. The sides take turns, in
another order each round; the ratio of an image's time to that of the plain side (float32, one step
a call, no XLA) is taken within the round, and the median over rounds is printed with quartiles.
What a first call costs, tracing and compiling, is printed apart.
"""

import argparse
import json
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time

from recipes._quiet import import_tensorflow

OPTIONS = {
    "plain": {},
    "bfloat16": {"training.precision": "mixed_bfloat16"},
    "steps_per_execution=8": {"training.steps_per_execution": 8},
    "jit_compile": {"training.jit_compile": True},
    "bfloat16, jit_compile": {
        "training.precision": "mixed_bfloat16",
        "training.jit_compile": True,
    },
    "accumulation_steps=2": {"training.accumulation_steps": 2},
    "accumulation_steps=4": {"training.accumulation_steps": 4},
}


def main():
    """Measure and print."""
    options = _parser().parse_args()
    import_tensorflow()
    if options.one:
        return print(json.dumps(fit_and_look(options.width, json.loads(options.one))))
    if options.memory:
        return report_memory(options)
    if options.accuracy:
        return report_accuracy(options)
    for width in options.width:
        report_times(width, options)
    return None


def base_recipe(width):
    """Return the recipe that every side changes."""
    from recipes import get_recipe

    settings = {"model.width": width, "training.precision": "float32", "training.epochs": 1000}
    return get_recipe("fashion-mini").override(settings)


class Side:
    """A compiled model and its endless pipeline."""

    def __init__(self, recipe, data):
        from recipes.compiling import compile_model
        from recipes.distributed.devices import Devices
        from recipes.network import Network
        from recipes.training import training_pipeline

        chosen, devices = recipe.training, Devices()
        self.model = Network(recipe, data).build(chosen.precision)
        compile_model(recipe, self.model, None, 1000, devices)
        pipeline = training_pipeline(recipe, data, chosen.batch_size)
        self.pipeline = devices.distribute(pipeline, chosen.accumulation_steps)
        self.parts = chosen.accumulation_steps

    def run(self, updates):
        """Fit for some updates of the weights; return the seconds."""
        started = time.perf_counter()
        steps = updates * self.parts
        self.model.fit(self.pipeline, steps_per_epoch=steps, shuffle=False, verbose=0)
        return time.perf_counter() - started


def report_times(width, options):
    """Print a table for the network of a width."""
    from recipes import load_data

    data, recipe = load_data("fashion-mini"), base_recipe(width)
    sides, first, seconds = {}, {}, {}
    for name in options.options:
        sides[name] = Side(recipe.override(OPTIONS[name]), data)
        first[name] = sides[name].run(options.updates)
        seconds[name] = []
    order = random.Random(0)
    for _ in range(options.rounds):
        for name in order.sample(list(sides), len(sides)):
            seconds[name].append(sides[name].run(options.updates))
    images = options.updates * recipe.training.batch_size
    count = sides[options.options[0]].model.count_params()
    print(f"\nresnet9 of width {width}, {count:,} parameters, batch {recipe.training.batch_size}:")
    print("| option | images/s | time, ratio (quartiles) | first call, s |\n|---|---|---|---|")
    for name, taken in seconds.items():
        ratios = [one / plain for one, plain in zip(taken, seconds["plain"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rate = images / statistics.median(taken)
        extra = first[name] - statistics.median(taken)
        print(f"| `{name}` | {rate:,.0f} | {middle:.2f} ({low:.2f} to {high:.2f}) | {extra:.1f} |")


def report_accuracy(options):
    """Print a table of test accuracies of the bundled images."""
    from recipes import load_data, train

    data = load_data("fashion-mini")
    print("| option | test accuracy, each seed | mean | difference |\n|---|---|---|---|")
    plain = None
    for name in options.options:
        found = []
        for seed in range(options.seeds):
            settings = {"training.epochs": options.epochs, "training.seed": seed}
            recipe = base_recipe(options.width[0]).override({**OPTIONS[name], **settings})
            with tempfile.TemporaryDirectory() as folder:
                run = train(recipe, data, f"{folder}/run", progress=False, say=lambda line: None)
                found.append(100 * run.metrics["test"]["accuracy"])
        mean = statistics.mean(found)
        plain = mean if plain is None else plain
        each = ", ".join(f"{value:.1f}" for value in found)
        print(f"| `{name}` | {each} | {mean:.2f} % | {mean - plain:+.2f} |", flush=True)


def report_memory(options):
    """Print the peak memory that training adds, each in a process of its own."""
    print("| batch | steps for it | memory that training adds, MB |\n|---|---|---|")
    for steps in (1, 2, 4, 8):
        settings = {"training.batch_size": 1024, "training.accumulation_steps": steps}
        command = [sys.executable, __file__, "--one", json.dumps(settings)]
        command += ["--width", str(options.width[0])]
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        megabytes = json.loads(answer.stdout.splitlines()[-1])
        print(f"| 1024 | {steps} | {megabytes:,.0f} |", flush=True)


def fit_and_look(widths, settings):
    """Return the megabytes by which four updates raise the peak memory of this process."""
    from recipes import load_data

    side = Side(base_recipe(widths[0]).override(settings), load_data("fashion-mini"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    side.run(4)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _parser():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, nargs="+", default=[32, 8], help="of resnet9")
    parser.add_argument("--options", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    parser.add_argument("--updates", type=int, default=16, help="of the weights, a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--accuracy", action="store_true", help="train, and judge on test images")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--memory", action="store_true", help="measure peak memory")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
