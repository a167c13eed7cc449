"""What the input pipeline costs beside the training step: ResNet-20 and a strong policy."""

import json
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import augment
from recipes import Recipe, build_model, load_data
from recipes.config import ModelConfig, TrainingConfig
from recipes.hardware import choose_precision
from recipes.training import compile_for_soft_labels, make_optimizer

CLASSES = 10


def run(options):
    """Measure and print: the pipeline alone, the step alone on one batch, and their ratio."""
    data = load_data("fashion-mini")
    train = data.splits["train"]
    batches = tf.data.Dataset.from_tensor_slices((train.images, train.labels.astype(np.int32)))
    batches = batches.shuffle(len(train.labels), seed=0).repeat()
    batches = batches.batch(options.batch_size, drop_remainder=True)
    pipeline = strong_pipeline()
    if not options.json:
        print(pipeline)
    iterator = iter(pipeline.map(batches, num_parallel_calls=options.cores))
    start = time.perf_counter()
    images, targets = next(iterator)
    first_seconds = time.perf_counter() - start
    model, precision = trained_model(data, options.batch_size)
    fixed = tf.data.Dataset.from_tensors((images, targets)).repeat()
    sides = {
        "pipeline": lambda: next(iterator),
        "step": stepper(model, fixed),
    }
    seconds = {name: [] for name in sides}
    for turn in range(options.rounds + 1):
        for name, side in sides.items():
            found = timed(side, options.seconds)
            if turn:
                seconds[name].append(found)
    report(seconds, first_seconds, precision, options)


def strong_pipeline():
    """Return RandAugment, erasing with noise, MixUp or CutMix with smoothed labels."""
    return augment.Pipeline(
        [
            augment.RandAugment(n=2, m=9),
            augment.RandomErasing(probability=0.25),
            augment.MixUpOrCutMix(classes=CLASSES, label_smoothing=0.1),
        ],
        seed=0,
    )


def trained_model(data, batch_size):
    """Return ResNet-20, compiled as the recipes compile it, and its precision."""
    precision = choose_precision("auto")[0]
    recipe = Recipe(
        name="benchmark",
        model=ModelConfig(name="resnet20"),
        training=TrainingConfig(epochs=10_000, batch_size=batch_size),
    )
    keras.config.set_dtype_policy(precision)
    model = build_model(
        "resnet20", input_shape=data.image_shape, classes=CLASSES, classifier_activation=None
    )
    keras.config.set_dtype_policy("float32")
    compile_for_soft_labels(model, make_optimizer(recipe, model, 10_000))
    return model, precision


def stepper(model, dataset, steps=8):
    """Return a function that trains for some steps and returns how many."""

    def run():
        model.fit(dataset, steps_per_epoch=steps, shuffle=False, verbose=0)
        return steps

    return run


def timed(side, seconds):
    """Run for about `seconds`; return wall and CPU seconds of one batch."""
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while count == 0 or time.perf_counter() - wall < seconds:
        made = side()
        count += made if isinstance(made, int) else 1
    return (time.perf_counter() - wall) / count, (time.process_time() - cpu) / count


def report(seconds, first_seconds, precision, options):
    """Print medians and the median ratio of rounds side by side."""
    pairs = list(zip(seconds["pipeline"], seconds["step"], strict=True))
    result = {
        "batch_size": options.batch_size,
        "cores": options.cores,
        "precision": precision,
        "first_seconds": round(first_seconds, 2),
    }
    for place, clock in enumerate(("wall", "cpu")):
        for name, values in seconds.items():
            middle = statistics.median(value[place] for value in values)
            result[f"{name}_{clock}_milliseconds"] = round(1e3 * middle, 3)
        ratio = statistics.median(pipeline[place] / step[place] for pipeline, step in pairs)
        result[f"share_{clock}"] = round(ratio, 4)
    if options.json:
        print(json.dumps(result))
        return
    print(f"ResNet-20, 28x28x1, batch {options.batch_size}, {options.cores} core, {precision}")
    for clock, unit in (("cpu", "of processor time"), ("wall", "on the clock")):
        print(
            f"pipeline {result[f'pipeline_{clock}_milliseconds']:.2f} ms, step "
            f"{result[f'step_{clock}_milliseconds']:.1f} ms {unit}: "
            f"{100 * result[f'share_{clock}']:.1f} %"
        )
    print(f"first batch of the pipeline after {first_seconds:.1f} s")
