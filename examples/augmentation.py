"""Augmentation in plain `model.fit`: a policy, erasing and MixUp, compiled into one program.

    python examples/augmentation.py
    python examples/augmentation.py path/to/folder-of-classes --epochs 20 --out pictures

It prints the pipeline, with what runs as one step, and writes a sheet of what it does to images.
The strength of it all grows over the first half of the training: a line in a callback.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

import augment
from recipes import RecipesError, build_model, load_data

BATCH = 64


def main(arguments=None):
    """Train a small network on augmented images; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("source", nargs="?", default="fashion-mini", help="images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for augmentation.png")
    options = parser.parse_args(arguments)
    keras.utils.set_random_seed(options.seed)
    folder = Path(options.out or tempfile.mkdtemp())
    try:
        if options.epochs < 1:
            raise RecipesError(f"--epochs must be at least 1, received: {options.epochs}")
        data = load_data(options.source, seed=options.seed)
    except RecipesError as error:
        print(f"augmentation: {error}", file=sys.stderr)
        return 2

    pipeline = augmentation(classes=len(data.class_names), seed=options.seed)
    print(pipeline)
    folder.mkdir(parents=True, exist_ok=True)
    write_sheet(pipeline, data, folder / "augmentation.png")
    model = fit(pipeline, data, options.epochs)
    print(f"test accuracy {model.evaluate(rows(data, 'test'), verbose=0)[1]:.3f}")
    return 0


def augmentation(classes, seed):
    """Return the pipeline; each step draws for each image."""
    return augment.Pipeline(
        [
            # These three are one warp: one rounding, one pass over the pixels.
            augment.RandomFlip(),
            augment.RandomRotation(degrees=10),
            augment.RandomZoom(factor=0.1),
            # And these two one stage of float arithmetic.
            augment.RandomBrightness(0.2),
            augment.RandomContrast(0.2),
            augment.policy("randaugment", n=1, m=9),
            augment.RandomErasing(probability=0.25),
            augment.MixUp(alpha=0.2, classes=classes),
        ],
        seed=seed,
    )


def write_sheet(pipeline, data, path):
    """Draw six training images and what the pipeline makes of them, with their labels."""
    split = data.splits["train"]
    chosen = range(len(split))[:6]
    augment.show(
        pipeline,
        split.load(chosen),
        split.labels[chosen],
        class_names=data.class_names,
        path=path,
    )
    print(f"sheet: {path}")


def fit(pipeline, data, epochs):
    """Train; return the model."""
    split = data.splits["train"]
    size = min(BATCH, len(split))
    # A shorter last batch would be compiled for itself.
    train = split.pipeline(size, shuffle=True, seed=data.seed, epochs=None, drop_remainder=True)
    steps = len(split) // size
    model = build_model("resnet9", input_shape=data.image_shape, classes=len(data.class_names))
    model.compile(
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(3e-3, epochs * steps)),
        loss=keras.losses.CategoricalCrossentropy(),  # a mix has rows for labels
        metrics=["accuracy"],
    )
    model.fit(
        pipeline.map(train).prefetch(tf.data.AUTOTUNE),
        validation_data=rows(data, "validation"),
        epochs=epochs,
        steps_per_epoch=steps,
        shuffle=False,  # the dataset shuffles; Keras would warn that it cannot
        callbacks=[stronger(pipeline, epochs)],
        verbose=2,
    )
    return model


def stronger(pipeline, epochs):
    """Return a callback that raises the strength from a half to 1 in the first half of training."""

    def start(epoch, logs=None):
        pipeline.strength = min(1.0, 0.5 + epoch / max(1, epochs))

    return keras.callbacks.LambdaCallback(on_epoch_begin=start)


def rows(data, name):
    """Return a split as batches with one row of probabilities a label, as the loss wants them."""

    def targets(images, labels, seed):
        return images, augment.label_targets(labels, classes=len(data.class_names))

    return data.splits[name].pipeline(BATCH, transform=targets)


if __name__ == "__main__":
    sys.exit(main())
