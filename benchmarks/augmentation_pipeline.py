"""Images per second of `augment.training_transform` against the same made of Keras' own layers.

Both are mapped with AUTOTUNE over the same batch in memory, in one process, in alternating rounds;
the table gives medians. Wall time is what a training run waits for when nothing else runs; CPU time
(all threads) is what it costs beside a model that uses every core.

    python benchmarks/augmentation_pipeline.py
    python benchmarks/augmentation_pipeline.py --rounds 9 --seconds 2 --json

What is compared:
    shift   horizontal flip, shift by up to 4 pixels, 8 x 8 pixels erased. Keras: RandomFlip,
            RandomTranslation (for each image its own shift, as ours), RandomErasing.
    crop    the same with ZeroPadding2D and RandomCrop, which shifts all images of a batch alike.
    mix     shift, then MixUp or CutMix: ours chooses for each image; Keras' MixUp in even steps,
            CutMix in odd ones.
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import augment

CLASSES = 10
PADDING = 4
ERASED = 8
SHAPES = ((32, 32, 3), (28, 28, 1))
CHAINS = ("shift", "crop", "mix")


def our_dataset(images, labels, chain):
    """Return batches from `training_transform`, and the seconds until the first one."""
    transform = augment.training_transform(
        classes=CLASSES,
        flip="horizontal",
        crop_padding=PADDING,
        cutout_size=ERASED,
        mixup_alpha=0.2 if chain == "mix" else 0.0,
        cutmix_alpha=1.0 if chain == "mix" else 0.0,
    )
    return mapped(
        images,
        labels,
        lambda step, images, labels: transform(images, labels, tf.stack([0, step])),
    )


def stock_dataset(images, labels, chain):
    """Return the same of Keras' layers, and the seconds until the first batch."""
    layers = [keras.layers.RandomFlip("horizontal", seed=0), *stock_shift(images.shape, chain)]
    share = ERASED**2 / (images.shape[1] * images.shape[2])
    # A pair of equal factors, since one number is only the upper end of a range of chances.
    layers.append(
        keras.layers.RandomErasing((1.0, 1.0), scale=(share, share), fill_value=0.0, seed=2)
    )
    mixup, cutmix = keras.layers.MixUp(alpha=0.2, seed=3), keras.layers.CutMix(seed=4)

    def transform(step, images, labels):
        for layer in layers:
            images = layer(images, training=True)
        batch = {"images": images, "labels": tf.one_hot(labels, CLASSES)}
        if chain == "mix":
            batch = tf.cond(
                step % 2 == 0,
                lambda: mixup(batch, training=True),
                lambda: cutmix(batch, training=True),
            )
        return batch["images"], batch["labels"]

    return mapped(images, labels, transform)


def stock_shift(shape, chain):
    """Return the layers that shift images of `shape` by up to `PADDING` pixels."""
    _, height, width, _ = shape
    if chain == "crop":
        return [
            keras.layers.ZeroPadding2D(PADDING),
            keras.layers.RandomCrop(height, width, seed=1),
        ]
    factors = PADDING / height, PADDING / width
    return [keras.layers.RandomTranslation(*factors, fill_mode="constant", seed=1)]


def mapped(images, labels, transform):
    """Return an endless iterator of `transform(step, images, labels)`, and its start in seconds."""
    start = time.perf_counter()
    steps = tf.data.Dataset.from_tensors((images, labels)).repeat().enumerate()
    dataset = steps.map(
        lambda step, batch: transform(tf.cast(step, tf.int32), *batch),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    iterator = iter(dataset.prefetch(tf.data.AUTOTUNE))
    next(iterator)
    return iterator, time.perf_counter() - start


def measure(iterator, batch_size, seconds):
    """Draw batches for `seconds`; return images per second of wall and of CPU time."""
    for _ in range(3):
        next(iterator)
    batches, wall, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < seconds:
        next(iterator)
        batches += 1
    count = batches * batch_size
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


def compare(shape, chain, arguments):
    """Measure one chain on images of `shape`; return a row of the table."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (arguments.batch_size, *shape), dtype=np.uint8)
    labels = generator.integers(0, CLASSES, arguments.batch_size).astype(np.int32)
    iterators, starts, rounds = {}, {}, {"ours": [], "keras": []}
    for name, make in (("ours", our_dataset), ("keras", stock_dataset)):
        iterators[name], starts[name] = make(images, labels, chain)
    for _ in range(arguments.rounds):
        for name, iterator in iterators.items():
            rounds[name].append(measure(iterator, arguments.batch_size, arguments.seconds))
    row = {"shape": shape, "chain": chain}
    for place, kind in enumerate(("wall", "cpu")):
        for name in rounds:
            row[f"{name}_{kind}"] = statistics.median(values[place] for values in rounds[name])
        # Of rounds that ran side by side, so that a busy spell of the machine hits both.
        row[f"ratio_{kind}"] = statistics.median(
            ours[place] / stock[place]
            for ours, stock in zip(rounds["ours"], rounds["keras"], strict=True)
        )
    return {**row, "ours_start_seconds": starts["ours"], "keras_start_seconds": starts["keras"]}


def main():
    """Measure every chain on every shape and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a round")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    arguments = parser.parse_args()
    rows = [compare(shape, chain, arguments) for shape in SHAPES for chain in CHAINS]
    versions = {"tensorflow": tf.__version__, "keras": keras.__version__}
    if arguments.json:
        settings = {**vars(arguments), "cores": os.cpu_count(), **versions}
        print(json.dumps({"settings": settings, "rows": rows}))
        return
    print(f"TensorFlow {tf.__version__}, Keras {keras.__version__}, batch {arguments.batch_size}")
    print("thousand images a second   wall: ours  keras  ratio    CPU: ours  keras  ratio   start")
    for row in rows:
        cells = "    ".join(
            f"{row[f'ours_{kind}'] / 1e3:10.1f} {row[f'keras_{kind}'] / 1e3:6.1f} "
            f"{row[f'ratio_{kind}']:5.1f}x"
            for kind in ("wall", "cpu")
        )
        size = "x".join(map(str, row["shape"]))
        print(f"{size:9s} {row['chain']:14s} {cells} {row['ours_start_seconds']:6.1f} s")


if __name__ == "__main__":
    main()
