"""Training throughput against a plain Keras `fit`, and against PyTorch, in the same run.

    python benchmarks/training_throughput.py --json

The same network, batch size, images and augmentation on every side:

* `recipe`: the training path of this package (fused batch normalisation; bfloat16 where the
  processor computes it);
* `recipe float32`: the same without bfloat16;
* `keras`: the same layers with `keras.layers.BatchNormalization`, float32, the same pipeline and
  optimizer;
* `keras by hand`: that network as one trains it with nothing of this package: Keras' augmentation
  layers in the dataset, its loss for class numbers and its SGD;
* `recipe, fixed batch`: the training path fed one batch in memory, which shows what the input
  pipeline costs;
* `torch`: the same network in PyTorch, channels last, eager, float32 and under bfloat16 autocast,
  on a fixed batch (only where `torch` is installed; it is no dependency).

The sides take turns, in another order each round, and the ratios of a side to `keras` and to
`keras by hand` are taken within the round. Printed are medians over the rounds, of the time on the
clock and of the processor time, which a busy neighbour on the machine disturbs less. Times include
everything that `fit` does, starting the pipeline among it, so a round should have some steps.
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

from recipes import FusedBatchNormalization, Recipe, build_model, load_data  # noqa: E402
from recipes.config import AugmentationConfig, ModelConfig, TrainingConfig  # noqa: E402
from recipes.hardware import choose_precision, describe_machine  # noqa: E402
from recipes.training import (  # noqa: E402
    compile_for_soft_labels,
    make_optimizer,
    training_pipeline,
)

# What the other sides are compared with, and under which name.
_BASES = {"keras": "ratio_to_keras", "keras by hand": "ratio_to_keras_by_hand"}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=32, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    recipe = Recipe(
        name="benchmark",
        model=ModelConfig(name=options.model),
        augmentation=AugmentationConfig(flip="horizontal", crop_padding=4),
        training=TrainingConfig(epochs=10_000, batch_size=options.batch_size),
    )
    data = load_data(color_arrays(), validation=0.01, test=0.0)
    sides = {
        "recipe": KerasSide(recipe, data, precision=choose_precision("auto")[0]),
        "recipe float32": KerasSide(recipe, data, precision="float32"),
        "keras": KerasSide(recipe, data, precision="float32", stock=True),
        "keras by hand": HandWrittenSide(recipe),
        "recipe, fixed batch": KerasSide(
            recipe, data, precision=choose_precision("auto")[0], fixed=True
        ),
    }
    sides.update(torch_sides(options))
    clock = {name: [] for name in sides}
    processor = {name: [] for name in sides}
    order = random.Random(0)
    for round_ in range(options.rounds + 1):
        for name in order.sample(list(sides), len(sides)):
            started = time.perf_counter(), time.process_time()
            sides[name].run(options.steps)
            ended = time.perf_counter(), time.process_time()
            if round_:  # the first round compiles
                clock[name].append(ended[0] - started[0])
                processor[name].append(ended[1] - started[1])
    report(clock, processor, options)


def color_arrays():
    """Return 4,096 random 32x32 colour images of 10 classes: speed does not depend on content."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (4096, 32, 32, 3), dtype=np.uint8)
    return images, np.arange(4096) % 10


class KerasSide:
    """A compiled model and an endless pipeline; `run(steps)` is one `fit`."""

    def __init__(self, recipe, data, *, precision, stock=False, fixed=False):
        keras.config.set_dtype_policy(precision)
        model = build_model(
            recipe.model.name, input_shape=data.image_shape, classes=10, classifier_activation=None
        )
        if stock:
            model = keras.models.clone_model(model, clone_function=to_stock)
        keras.config.set_dtype_policy("float32")
        steps = 10_000
        compile_for_soft_labels(model, make_optimizer(recipe, model, steps))
        pipeline = training_pipeline(recipe, data, recipe.training.batch_size)
        if fixed:
            pipeline = pipeline.take(1).cache().repeat()
        self.model, self.pipeline = model, pipeline

    def run(self, steps):
        """Fit for some steps."""
        self.model.fit(self.pipeline, steps_per_epoch=steps, shuffle=False, verbose=0)


class HandWrittenSide:
    """The network, pipeline and `fit` of stock Keras."""

    def __init__(self, recipe):
        images, labels = color_arrays()
        shape, padding = images.shape[1:], recipe.augmentation.crop_padding
        model = build_model(
            recipe.model.name, input_shape=shape, classes=10, classifier_activation=None
        )
        self.model = keras.models.clone_model(model, clone_function=to_stock)
        self.model.compile(
            keras.optimizers.SGD(
                keras.optimizers.schedules.CosineDecay(0.1, 10_000),
                momentum=0.9,
                nesterov=True,
                weight_decay=5e-4,
            ),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        augmentation = keras.Sequential(
            [
                keras.layers.RandomFlip("horizontal"),
                keras.layers.ZeroPadding2D(padding),
                keras.layers.RandomCrop(*shape[:2]),
            ]
        )
        self.pipeline = (
            tf.data.Dataset.from_tensor_slices((images, labels))
            .shuffle(len(images))
            .repeat()
            .batch(recipe.training.batch_size, drop_remainder=True)
            .map(
                lambda images, labels: (augmentation(images, training=True), labels),
                num_parallel_calls=tf.data.AUTOTUNE,
            )
            .prefetch(tf.data.AUTOTUNE)
        )

    def run(self, steps):
        """Fit for some steps."""
        self.model.fit(self.pipeline, steps_per_epoch=steps, verbose=0)


def to_stock(layer):
    """Return a copy of a layer, with stock batch normalisation for the fused one."""
    config = layer.get_config()
    if isinstance(layer, FusedBatchNormalization):
        return keras.layers.BatchNormalization.from_config(config)
    return layer.__class__.from_config(config)


def torch_sides(options):
    """Return the PyTorch sides, or none where torch is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    if options.model != "resnet20":
        return {}
    return {
        "torch float32": TorchSide(torch, options.batch_size, autocast=False),
        "torch bfloat16": TorchSide(torch, options.batch_size, autocast=True),
    }


class TorchSide:
    """ResNet-20 for CIFAR in PyTorch on a fixed batch, channels last, Nesterov SGD."""

    def __init__(self, torch, batch_size, *, autocast):
        self.torch, self.autocast = torch, autocast
        self.model = torch_resnet20(torch).to(memory_format=torch.channels_last)
        generator = np.random.default_rng(0)
        images = generator.standard_normal((batch_size, 3, 32, 32), dtype=np.float32)
        self.images = torch.from_numpy(images).to(memory_format=torch.channels_last)
        self.labels = torch.from_numpy(np.arange(batch_size) % 10)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )

    def run(self, steps):
        """Train for some steps."""
        torch = self.torch
        for _ in range(steps):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                loss = torch.nn.functional.cross_entropy(self.model(self.images), self.labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()


def torch_resnet20(torch):
    """Return ResNet-20 with option-A shortcuts, 269,722 parameters."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(outputs)
            self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(outputs)
            self.stride, self.extra = stride, outputs - inputs

        def forward(self, x):
            y = torch.relu(self.norm1(self.conv1(x)))
            y = self.norm2(self.conv2(y))
            if self.extra:
                x = x[:, :, :: self.stride, :: self.stride]
                x = nn.functional.pad(x, (0, 0, 0, 0, self.extra // 2, self.extra // 2))
            return torch.relu(y + x)

    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    for inputs, outputs in ((16, 16), (16, 32), (32, 64)):
        layers.append(Block(inputs, outputs, 1 if inputs == outputs else 2))
        layers += [Block(outputs, outputs, 1) for _ in range(2)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return nn.Sequential(*layers)


def report(clock, processor, options):
    """Print medians and ratios."""
    images = options.steps * options.batch_size
    rows = {}
    for name in clock:
        rows[name] = {
            "images_per_second": round(images / statistics.median(clock[name]), 1),
            "images_per_processor_second": round(images / statistics.median(processor[name]), 1),
        }
        for base, label in _BASES.items():
            rows[name][label] = _ratio(clock[base], clock[name])
            rows[name][f"processor_{label}"] = _ratio(processor[base], processor[name])
    result = {
        "model": options.model,
        "batch_size": options.batch_size,
        "rounds": options.rounds,
        "steps_a_round": options.steps,
        "sides": rows,
        "pipeline_cost": _ratio(clock["recipe"], clock["recipe, fixed batch"])["median"] - 1,
        "pipeline_processor_cost": (
            _ratio(processor["recipe"], processor["recipe, fixed batch"])["median"] - 1
        ),
        "machine": describe_machine(),
    }
    if options.json:
        print(json.dumps(result, indent=2))
        return
    print(f"{options.model}, batch {options.batch_size}, medians of {options.rounds} rounds")
    header = f"{'':<22}{'images/s':>9}{'x keras':>9}{'x by hand':>11}"
    print(f"{header}   both by processor time")
    for name, row in rows.items():
        wall = [row[label] for label in _BASES.values()]
        cpu = [row[f"processor_{label}"] for label in _BASES.values()]
        print(
            f"{name:<22}{row['images_per_second']:>9.0f}{wall[0]['median']:>9.2f}"
            f"{wall[1]['median']:>11.2f}   "
            + ", ".join(
                f"{one['median']:.2f} ({one['lower_quartile']:.2f} to {one['upper_quartile']:.2f})"
                for one in cpu
            )
        )
    print(
        f"what the input pipeline adds: {100 * result['pipeline_cost']:.1f} % of the time, "
        f"{100 * result['pipeline_processor_cost']:.1f} % of the processor time"
    )


def _ratio(base, other):
    """Return quartiles over the rounds of how many times as long `base` took as `other`."""
    ratios = [left / right for left, right in zip(base, other, strict=True)]
    lower, median, upper = statistics.quantiles(ratios, n=4)
    return {
        "median": round(median, 3),
        "lower_quartile": round(lower, 3),
        "upper_quartile": round(upper, 3),
    }


if __name__ == "__main__":
    main()
