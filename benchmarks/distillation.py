"""A small network taught by a large one, against the same network trained alone.

    python benchmarks/distillation.py runs/fashion-fast/model.keras \\
        --test idx:/usr/share/datasets/fashion-mnist --out runs/distillation.json

The student is ResNet-9 of a quarter of its width, trained on the bundled 6,000 images as the recipe
`fashion-mini` trains (but for the number of epochs), in float32:

  alone   by the labels, smoothed by 0.1 as in the recipe
  taught  by `DistillationLoss` at its default temperature and weight, which were not tuned; the
          teacher sees the student's augmented images

A seed decides the student's random weights, the order and the augmentation, the same for both.
Nothing is chosen by the test images, on which neither student nor teacher was trained. A teacher
that saw more training images than the student brings what it learnt from them. Last, the training
step of both is timed in turns. Results go into the file as they come; run again, it goes on.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import keras

import recipes.layers  # noqa: F401  registers what the teacher's file holds
from callbacks import WeightAverage
from recipes import get_recipe, load_data
from recipes.evaluation.judging import evaluation_images
from recipes.files import write_json
from recipes.hardware import describe_machine
from recipes.network import Network
from recipes.training import compile_for_soft_labels, make_optimizer, training_pipeline
from tuning import DistillationLoss, LabelAccuracy, distillation_model

METHODS = ("alone", "taught")


def main(arguments=None):
    """Train, time, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", help=".keras file of a finished classifier of clothes")
    parser.add_argument("--test", default="fashion-mini", help="source whose test images judge")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5, help="of timing, 10 steps each")
    parser.add_argument("--temperature", type=float, default=DistillationLoss().temperature)
    parser.add_argument("--alpha", type=float, default=DistillationLoss().alpha)
    parser.add_argument("--out", type=Path, help="file for the results")
    options = parser.parse_args(arguments)
    case = Case(options)
    settings = {
        name: getattr(options, name) for name in ("width", "epochs", "temperature", "alpha", "test")
    }
    result = {"settings": settings, "machine": describe_machine(), "runs": []}
    if options.out and options.out.exists():
        result = json.loads(options.out.read_text())
        if result["settings"] != settings:
            parser.error(f"{options.out} holds results of other settings: {result['settings']}")
    done = {(run["seed"], run["method"]) for run in result["runs"]}
    for seed in range(options.seeds):
        for method in METHODS:
            if (seed, method) not in done:
                result["runs"].append(case.run(seed, method))
                _write(options.out, result)
                print(result["runs"][-1], flush=True)
    result["teacher_accuracy"] = case.accuracy(case.teacher)
    result["teacher_parameters"] = case.teacher.count_params()
    result["student_parameters"] = case.network(case.recipe(0)).count_params()
    result["step"] = case.time_steps(options.rounds)
    _write(options.out, result)
    print(_table(result))


class Case:
    """The data, the teacher, and what is done with them.

    Args:
        options: From the command line.
    """

    def __init__(self, options):
        self.options = options
        self.teacher = keras.models.load_model(options.teacher, compile=False)
        self.data = load_data("fashion-mini")
        self.test = load_data(options.test).splits["test"]

    def recipe(self, seed, method="alone"):
        """Return what a student is trained by."""
        changes = {
            "model.width": self.options.width,
            "training.epochs": self.options.epochs,
            "training.seed": seed,
        }
        if method == "taught":
            changes["augmentation.label_smoothing"] = 0.0
        return get_recipe("fashion-mini").override(changes)

    def network(self, recipe):
        """Return a student with random weights."""
        return Network(recipe, self.data).build("float32")

    def compiled(self, recipe, method):
        """Return a student, and the model to fit, which is the student or has the teacher too."""
        student = self.network(recipe)
        batch = recipe.training.batch_size
        steps = len(self.data.splits["train"]) // batch
        optimizer = make_optimizer(recipe, student, steps * recipe.training.epochs)
        if method == "alone":
            compile_for_soft_labels(student, optimizer)
            return student, student, steps
        model = distillation_model(student, self.teacher)
        loss = DistillationLoss(self.options.temperature, self.options.alpha)
        model.compile(optimizer, loss, metrics=[LabelAccuracy()])
        return student, model, steps

    def run(self, seed, method):
        """Train a student; return how well it does."""
        recipe = self.recipe(seed, method)
        keras.utils.set_random_seed(seed)
        student, model, steps = self.compiled(recipe, method)
        start = time.perf_counter()
        model.fit(
            training_pipeline(recipe, self.data, recipe.training.batch_size),
            epochs=recipe.training.epochs,
            steps_per_epoch=steps,
            callbacks=[WeightAverage(recipe.training.ema)],
            shuffle=False,
            verbose=0,
        )
        seconds = time.perf_counter() - start
        return {
            "seed": seed,
            "method": method,
            "accuracy": self.accuracy(student),
            "seconds": round(seconds, 1),
        }

    def accuracy(self, model):
        """Return the share of the test images that a model finds."""
        found = model.predict(evaluation_images(self.test), verbose=0).argmax(axis=1)
        return round(float((found == self.test.labels).mean()), 5)

    def time_steps(self, rounds, steps=10):
        """Return seconds a training step with and without teacher, and their ratio, in turns."""
        recipe = self.recipe(0)
        models = {method: self.compiled(recipe, method)[1] for method in METHODS}
        pipeline = training_pipeline(recipe, self.data, recipe.training.batch_size)
        batches = pipeline.take(steps).cache()
        for model in models.values():
            model.fit(batches, shuffle=False, verbose=0)  # compiles
        times = {method: [] for method in METHODS}
        for _ in range(rounds):
            for method, model in models.items():
                start = time.perf_counter()
                model.fit(batches, shuffle=False, verbose=0)
                times[method].append((time.perf_counter() - start) / steps)
        ratios = [b / a for a, b in zip(*times.values(), strict=True)]
        return {
            **{method: round(statistics.median(each), 4) for method, each in times.items()},
            "ratio": round(statistics.median(ratios), 3),
            "lowest": round(min(ratios), 3),
            "highest": round(max(ratios), 3),
            "rounds": rounds,
            "batch_size": recipe.training.batch_size,
        }


def _write(path, result):
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, result)


def _table(result):
    lines = []
    values = {}
    for method in METHODS:
        values[method] = [run["accuracy"] for run in result["runs"] if run["method"] == method]
        lines.append(f"{method:<8}{_spread(values[method])}: {values[method]}")
    gains = [b - a for a, b in zip(values["alone"], values["taught"], strict=True)]
    lines.append(f"gain    {_spread(gains)} by seed: {[round(gain, 5) for gain in gains]}")
    lines.append(f"teacher {100 * result['teacher_accuracy']:.2f} %")
    step = result["step"]
    lines.append(
        f"step of {step['batch_size']} images: {1000 * step['alone']:.1f} ms alone, "
        f"{1000 * step['taught']:.1f} ms taught, ratio {step['ratio']} "
        f"({step['lowest']} to {step['highest']}, {step['rounds']} rounds)"
    )
    return "\n".join(lines)


def _spread(values):
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.2f} +- {100 * deviation:.2f} %"


if __name__ == "__main__":
    main()
