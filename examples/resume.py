"""Kill this program whenever you like and start it again: it ends as if it had never been killed.

    python examples/resume.py --out runs/resume
    python examples/resume.py path/to/folder-of-classes --out runs/mine --every-steps 50

Plain `model.compile` and `model.fit`. Weights, history, accuracy and the epoch at which it stops
are, to the last bit, those of a run on the same machine that nobody killed: see
`callbacks.Checkpoint`.
"""

import argparse
import sys
from pathlib import Path

import keras

from callbacks import Checkpoint, EarlyStopping, WeightAverage
from recipes import RecipesError, build_resnet, load_data


def main(arguments=None):
    """Train, or go on with training; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("source", nargs="?", default="fashion-mini", help="images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--every-steps", type=int, default=20, help="steps between checkpoints")
    parser.add_argument("--out", required=True, help="folder of the run")
    options = parser.parse_args(arguments)
    keras.utils.set_random_seed(0)
    try:
        data = load_data(options.source, batch_size=options.batch_size)
        train(data, options)
    except (RecipesError, ValueError) as error:
        print(f"resume: {error}", file=sys.stderr)
        return 2
    return 0


def train(data, options):
    """Fit with checkpoints; save the model."""
    out = Path(options.out)
    mean, variance = data.statistics()
    model = build_resnet(
        20,
        input_shape=data.image_shape,
        classes=len(data.class_names),
        mean=mean,
        variance=variance,
    )
    model.compile("adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    average = WeightAverage(0.98)
    stopping = EarlyStopping("val_loss", patience=3, average=average)
    checkpoint = Checkpoint(
        out / "checkpoints", [average, stopping], every_steps=options.every_steps
    )

    def batches(epoch):
        images = data.splits["train"]
        return images.pipeline(
            options.batch_size, shuffle=True, first_epoch=epoch, epochs=epoch + 1
        )

    dataset, first_epoch = checkpoint.data(batches), checkpoint.restore(model)
    if checkpoint.files():
        print(f"after epoch {checkpoint.epochs_done} and {checkpoint.steps_done} steps of the next")
    history = model.fit(
        dataset,
        validation_data=data.validation,
        epochs=options.epochs,
        initial_epoch=first_epoch,
        shuffle=False,  # the pipeline shuffles; Keras would warn that it cannot
        callbacks=[average, stopping, checkpoint],
        verbose=0,
    )
    for epoch, loss in zip(history.epoch, history.history["val_loss"], strict=True):
        print(f"epoch {epoch + 1}: val_loss {loss!r}")
    print(stopping.reason)
    model.save(out / "model.keras")
    _, accuracy = model.evaluate(data.test, verbose=0)
    print(f"test accuracy {accuracy:.3f}")


if __name__ == "__main__":
    sys.exit(main())
