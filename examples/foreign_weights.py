"""Weights that others trained with PyTorch, in a Keras network, without PyTorch.

    python examples/foreign_weights.py resnet18 resnet18-f37072fd.pth photo.jpg
    python examples/foreign_weights.py resnet18 resnet18-f37072fd.pth --classes 10 --out start.keras

The first asks the network as it was trained about a photograph. The second keeps its features and
gives it a new classifier, to be trained on: the layers that do not fit are skipped, and the report
says so. The file may be a `.pth` or `.pt` of any age or a `.safetensors`; no code in it is run.
"""

import argparse
import sys
from pathlib import Path

import keras
import numpy as np

from recipes import RecipesError, build_model
from recipes.models import resnet
from recipes.weights import load_weights


def main(arguments=None):
    """Load the weights and use them; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a residual network, such as resnet18")
    parser.add_argument("weights", type=Path, help="its PyTorch weights")
    parser.add_argument("photographs", type=Path, nargs="*", help="what to classify")
    parser.add_argument("--size", type=int, default=224, help="pixels a side of the images")
    parser.add_argument("--classes", type=int, help="start a new classifier of so many classes")
    parser.add_argument("--labels", type=Path, help="names of the classes, one a line")
    parser.add_argument("--out", type=Path, help="save the Keras model here")
    options = parser.parse_args(arguments)
    try:
        use(options)
    except RecipesError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def use(options):
    """Do what the command line asks for."""
    check(options)
    shape = (options.size, options.size, 3)
    if options.classes is None:
        # All in one: what does not fit is an error.
        model = build_model(options.model, input_shape=shape, weights=options.weights)
        print(f"{model.name}: all {model.count_params():,} weights are those of the file")
    else:
        model = build_model(options.model, input_shape=shape, classes=options.classes)
        # The table says which PyTorch module each layer is. For a network of your own write a dict
        # of names, or of `TorchLayer` where the name alone is not enough.
        report = load_weights(
            model, options.weights, torch_layers=resnet.torch_layers, skip_mismatched=True
        )
        print(report)
    names = None
    if options.labels:
        names = options.labels.read_text(encoding="utf-8").rstrip().splitlines()
    if names is not None and len(names) != model.output_shape[-1]:
        raise RecipesError(
            f"{options.labels} names {len(names)} classes, {model.name} has "
            f"{model.output_shape[-1]}"
        )
    for path in options.photographs:
        print(f"{path.name}: {', '.join(best(model, read(path, options.size), names))}")
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        model.save(options.out)
        print(f"saved {options.out}")


def check(options):
    """Raise `RecipesError` for a file that is not there, before anything is loaded."""
    for path in [*options.photographs, *([options.labels] if options.labels else [])]:
        if not path.is_file():
            raise RecipesError(f"file not found: {path}")
    if options.out and options.out.suffix != ".keras":
        raise RecipesError(f"--out must end in .keras, received: {options.out}")


def read(path, size):
    """Return the middle of a photograph as the model takes it: `[0, 255]`, it normalises itself."""
    try:
        image = keras.utils.load_img(
            path, target_size=(size, size), interpolation="bicubic", keep_aspect_ratio=True
        )
    except OSError as error:
        raise RecipesError(f"{path} cannot be read as an image: {error}") from error
    return np.asarray(image)


def best(model, image, names, count=5):
    """Return the likeliest classes with their probabilities."""
    probabilities = model.predict(image[None], verbose=0)[0]
    order = np.argsort(probabilities)[::-1][:count]
    return [
        f"{names[index] if names else f'class {index}'} {probabilities[index]:.3f}"
        for index in order
    ]


if __name__ == "__main__":
    sys.exit(main())
