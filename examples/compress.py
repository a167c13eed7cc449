"""Compress a trained classifier as far as its accuracy allows, and look at what was tried.

    python examples/compress.py --out compressed
    python examples/compress.py my_run/ --max-drop 0.005 --target smallest --out compressed

Without a run it trains a small network on the bundled images first. Killed and started again with
the same arguments, it goes on where it was.
"""

import argparse
import sys
from pathlib import Path

import keras

from recipes import RecipesError, load_data
from tuning import compress, replay


def main(arguments=None):
    """Compress, print, and make the chosen file once more by its recipe; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("run", nargs="?", help="run folder; default: a small network")
    parser.add_argument("--max-drop", type=float, default=0.01, help="of accuracy, a share")
    parser.add_argument("--target", default="cpu", help="cpu, int-only or smallest")
    parser.add_argument("--epochs", type=int, default=3, help="of training the small network")
    parser.add_argument("--out", required=True, help="folder for the files and the report")
    options = parser.parse_args(arguments)
    out = Path(options.out)
    try:
        data = None if options.run else load_data("fashion-mini")
        model = options.run or small_network(data, options.epochs, out)
        report = compress(
            model,
            data,
            max_drop=options.max_drop,
            target=options.target,
            methods=("post-training",) if options.run is None else ("post-training", "pruning"),
            out=out / "compressed",
        )
        for row in report.candidates:
            if row["status"] == "measured":
                print(
                    f"{row['name']:18} {row['gzip_bytes'] / 1000:6.0f} kB after gzip, "
                    f"{100 * row['test']['accuracy']:.1f} % of the test images"
                )
        print(report)
        if report.chosen:
            again = replay(report.recipe, model, data, path=out / "again.tflite")
            print(f"{again}: the same {len(again.read_bytes())} bytes, by replay.json")
    except RecipesError as error:
        print(f"compress: {error}", file=sys.stderr)
        return 2
    return 0


def small_network(data, epochs, out):
    """Train a small network with plain Keras, or load the one trained before."""
    path = out / "model.keras"
    if path.exists():
        return keras.saving.load_model(path, compile=False)
    keras.utils.set_random_seed(0)
    convolution = {"strides": 2, "padding": "same", "activation": "relu"}
    model = keras.Sequential(
        [
            keras.Input(data.image_shape),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Conv2D(16, 3, **convolution),
            keras.layers.Conv2D(32, 3, **convolution),
            keras.layers.Flatten(),
            keras.layers.Dense(len(data.class_names), activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(data.train, validation_data=data.validation, epochs=epochs, shuffle=False, verbose=2)
    out.mkdir(parents=True, exist_ok=True)
    model.save(path)
    return model


if __name__ == "__main__":
    sys.exit(main())
