"""Prune a trained classifier where it hurts least, then look at what is left of it.

    python examples/prune.py RUN
    python examples/prune.py RUN --overall 0.9 --epochs 5 --clusters 16 --out small

RUN is a finished run, as of `recipes train fashion-mini`. First each layer is pruned alone, to see
which can spare weights; the zeros are shared out by that; then the network is trained on while it
loses them, and if asked for clustered to few distinct values. The files are exported and compared.
"""

import argparse
import gzip
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import recipes.layers  # noqa: F401  (registers what the file of a run holds)
from recipes import RecipesError
from recipes.run import Run
from recipes.training import training_pipeline
from tuning import allocate, cluster, describe_weights, export_tflite, prune, sensitivity
from tuning.calibration_data import calibration_indices


def main(arguments=None):
    """Prune, export, print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("run", help="run directory with a trained model")
    parser.add_argument("--overall", type=float, default=0.8, help="share of zeros")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int, help="batches an epoch (default: all)")
    parser.add_argument("--clusters", type=int, default=0, help="distinct values a kernel")
    parser.add_argument("--out", default="pruned", help="folder to write into")
    options = parser.parse_args(arguments)
    try:
        work(Run(options.run), Path(options.out), options)
    except (RecipesError, OSError) as error:
        print(f"prune: {error}", file=sys.stderr)
        return 2
    return 0


def work(run, out, options):
    """Do it."""
    data = run.load_data()
    model = keras.saving.load_model(run.path("model.keras"), compile=False)
    out.mkdir(parents=True, exist_ok=True)
    found = sensitivity(model, labelled(data.splits["validation"]))
    print(found)
    found.plot(out / "sensitivity.svg")

    images = len(data.splits["train"])
    batch_size = min(run.recipe.training.batch_size, images)
    batches = training_pipeline(run.recipe, data, batch_size)
    common = {"steps_per_epoch": options.steps or images // batch_size, "run_directory": out}
    small = prune(
        model,
        batches,
        targets=allocate(found, options.overall),
        epochs=options.epochs,
        **common,
    )
    if options.clusters:
        small = cluster(
            small, batches, clusters=options.clusters, preserve_sparsity=True, epochs=1, **common
        )
    print(describe_weights(small))
    small.save(out / "model.keras")
    for name, kept in (("as it was", model), ("pruned", small)):
        path = out / f"{name.replace(' ', '_')}.tflite"
        print(f"{name}: {report(kept, data, path)}")


def labelled(split, count=1000):
    """Return images from all over a split in batches, with their labels."""
    # A folder is read class by class: the first images would be those of few classes.
    chosen = np.linspace(0, len(split) - 1, min(count, len(split))).astype(int)
    return tf.data.Dataset.from_tensor_slices((split.load(chosen), split.labels[chosen])).batch(100)


def report(model, data, path):
    """Export as int8; return accuracy on the test images and bytes as text."""
    test, train = data.splits["test"], data.splits["train"]
    right = 0
    for images, labels in labelled(test, len(test)):
        right += int(np.sum(model(images, training=False).numpy().argmax(axis=1) == labels.numpy()))
    examples = train.load(calibration_indices(train.labels, 300))
    export_tflite(model, path, precision="int8", calibration_images=examples)
    content = path.read_bytes()
    packed = len(gzip.compress(content, mtime=0))
    return f"accuracy {right / len(test):.3f}, int8 {len(content):,} bytes, {packed:,} after gzip"


if __name__ == "__main__":
    sys.exit(main())
