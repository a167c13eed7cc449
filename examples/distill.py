"""A small network taught by a large one, in plain Keras: `compile` and `fit`.

    python examples/distill.py runs/a/model.keras --out student.keras
    python examples/distill.py teacher.keras my_photos/ --out student.keras
    python examples/distill.py                  # trains a small teacher first, on bundled images

The teacher is a finished classifier of the same classes; it sees the very images that the student
gets, after all augmentation. The images of its run are divided as the run divided them.
`tuning.distill` does all this in one call; this shows the pieces.
"""

import argparse
import dataclasses
import sys

import keras

import augment
import recipes.layers  # noqa: F401  registers what a finished classifier holds
from callbacks import EarlyStopping, Validation, WarmupDecay, WeightAverage
from recipes import build_model, load_data
from recipes.evaluation.judging import evaluation_images
from recipes.evaluation.labelled import images_of
from recipes.run import Run
from tuning import DistillationLoss, LabelAccuracy, distillation_model


def main(arguments=None):
    """Train the student; say how well student and teacher do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", nargs="?", help="a .keras file")
    parser.add_argument(
        "source", nargs="?", help="default: the images of the teacher's run, or fashion-mini"
    )
    parser.add_argument("--student", default="resnet9", help="recipes list --models names them")
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--alpha", type=float, default=0.1, help="share of the labels")
    parser.add_argument("--out", default="student.keras")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except ValueError as error:
        print(f"distill: {error}", file=sys.stderr)
        return 2
    return 0


def run(options):
    """Do what the arguments say."""
    keras.utils.set_random_seed(0)
    data = labelled_images(options.teacher, options.source)
    validation, test = data.splits["validation"], data.splits["test"]
    classes = len(data.class_names)
    mean, variance = data.statistics()

    def network(width):
        return build_model(
            options.student,
            input_shape=data.image_shape,
            classes=classes,
            classifier_activation=None,
            mean=mean,
            variance=variance,
            width=width,
        )

    def fit(model, loss, epochs):
        steps = epochs * data.train.cardinality().numpy()
        model.compile(
            keras.optimizers.AdamW(WarmupDecay(3e-3, steps, warmup=0.2)),
            loss=loss,
            metrics=[LabelAccuracy()],
        )
        average = WeightAverage(0.98)
        measure = Validation(evaluation_images(validation), validation.labels, average=average)
        stopping = EarlyStopping("val_loss", average=average)
        model.fit(
            train, epochs=epochs, shuffle=False, verbose=2, callbacks=[average, measure, stopping]
        )

    augmentation = [augment.RandomFlip(), augment.RandomCrop(padding=2)]
    train = augment.Pipeline(augmentation, seed=0).map(data.train)

    if options.teacher:
        teacher = keras.models.load_model(options.teacher, compile=False)
    else:
        teacher = network(4 * options.width)
        fit(teacher, keras.losses.SparseCategoricalCrossentropy(from_logits=True), options.epochs)

    # The student and a frozen teacher beside it. Fitting it trains the student; callbacks see the
    # student's layers, weights and logits.
    student = network(options.width)
    model = distillation_model(student, teacher)
    fit(model, DistillationLoss(options.temperature, options.alpha), options.epochs)
    student.save(options.out)

    for name, each in (("teacher", teacher), ("student", student)):
        found = each.predict(evaluation_images(test), verbose=0).argmax(axis=1)
        accuracy = (found == test.labels).mean()
        print(f"{name}: {each.count_params():,} parameters, test accuracy {accuracy:.3f}")


def labelled_images(teacher, source):
    """Return the images of the teacher's run as that divided them, or those of another source."""
    source = images_of(teacher, source)
    data = source.load_data() if isinstance(source, Run) else load_data(source or "fashion-mini")
    return dataclasses.replace(data, batch_size=128)


if __name__ == "__main__":
    sys.exit(main())
