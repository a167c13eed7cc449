"""From a pretrained network to a classifier of your own images, step by step and in plain Keras.

    python examples/transfer_learning.py my_photos/ --out model.keras
    python examples/transfer_learning.py my_photos/ --weights mine.weights.h5 --backbone resnet18

The folder holds one folder of images a class. Without it, a few bundled images of clothes show the
way. `recipes train transfer my_photos/ --out runs/a` does all this, and calibrates, exports and
reports, too; this shows the pieces.
"""

import argparse
import sys

import keras

from callbacks import EarlyStopping, GradualUnfreezing
from recipes import RecipesError, load_data
from recipes.transfer import (
    LayerwiseAdamW,
    advise,
    linear_probe,
    rate_factors,
    transfer_model,
    unfreeze,
)


def main(arguments=None):
    """Read what is asked for and do it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", default="fashion-mini")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a file, or none")
    parser.add_argument("--size", type=int, default=96, help="pixels a side")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, help="train on this many images at most")
    parser.add_argument("--out", default="transfer.keras")
    options = parser.parse_args(arguments)
    try:
        train_classifier(options)
    except RecipesError as error:
        print(f"transfer_learning: {error}", file=sys.stderr)
        return 2
    return 0


def train_classifier(options):
    """Probe, then unfreeze stage by stage."""
    if options.epochs < 1:
        raise RecipesError(f"--epochs must be at least 1, received: {options.epochs}")
    if not options.out.endswith(".keras"):
        raise RecipesError(f"--out must end in .keras, received: {options.out}")
    keras.utils.set_random_seed(0)
    data = load_data(options.photos, image_size=options.size, color="rgb", fit="stretch")
    train = subset(data.splits["train"], options.images)
    validation = subset(data.splits["validation"], options.images)
    print(advise(len(train[1]), len(data.class_names)).reason)

    # 1. A new head on the frozen backbone: one flat model, preprocessing inside.
    model = transfer_model(
        options.backbone,
        len(data.class_names),
        input_shape=data.image_shape,
        weights=None if options.weights == "none" else options.weights,
    )

    # 2. The best linear head on its features, each computed once.
    probe = linear_probe(model, train, validation)

    # 3. The last stage after it, then the one before: one fit, each stage with a new optimizer for
    # exactly what trains, slower towards the stem. Batch normalisation stays frozen.
    def optimizer(model, epoch):
        return LayerwiseAdamW(1e-4, factors=rate_factors(model, decay=0.5))

    half = max(options.epochs // 2, 1)
    unfreezing = GradualUnfreezing(
        {0: lambda model: unfreeze(model, stages=1), half: lambda model: unfreeze(model, stages=2)},
        optimizer,
    )
    stopping = EarlyStopping("val_accuracy")  # ends on the best epoch
    model.compile("adamw", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(
        *train,
        validation_data=validation,
        epochs=options.epochs,
        verbose=2,
        callbacks=[unfreezing, stopping],
    )
    model.save(options.out)
    print(f"linear probe: validation accuracy {probe.validation_accuracy:.3f}")
    print(f"fine-tuned:   validation accuracy {stopping.best:.3f}, written to {options.out}")


def subset(split, most):
    """Return `(images, labels)` of a split, evenly thinned out to `most` images."""
    step = max(-(-len(split) // most), 1) if most else 1
    indices = range(0, len(split), step)
    return split.load(list(indices)), split.labels[::step]


if __name__ == "__main__":
    sys.exit(main())
