"""The accuracy-aware loop on an EfficientNet-B0-like network: what int8 loses, what returns.

    python benchmarks/compress.py --out runs/rescue --optimizer rmsprop --epochs 2 \\
        --methods post-training --max-drop 0.005
    python benchmarks/compress.py --out runs/whole
    python benchmarks/compress.py --out runs/begun --stop-after 1 --max-drop 0.001

Trains a network with EfficientNet-B0's sixteen blocks (squeeze-and-excitation, swish, 3x3 and 5x5
depthwise kernels) at a quarter of its width on Fashion-MNIST, unless `--out` holds one already, and
compresses it. Training is plain: no augmentation, no weight decay. Nothing is done to make
quantization hard, or easy; but the optimizer makes it so. Prints the report; `report.md` and
`report.json` hold it.

What it shows: trained with RMSprop as EfficientNet was, full int8 loses 0.9 points of the test
images, since what a few images make of the last layers is far from what the others do, and sets the
ranges. The loop finds the one operation to leave in float, and 0.2 are lost. Trained with Adam to
the end, the network loses nothing, and the loop stops at int8.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from recipes import load_data
from recipes.evaluation import markdown
from recipes.layers.channels import make_divisible
from tuning import compress
from tuning.calibration_data import calibration_indices

# Table 1 of Tan and Le, "EfficientNet", 2019: expansion, channels, blocks, strides, kernel size.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM, _HEAD = 32, 1280
_BATCH = 128


def build_network(width=0.25, input_shape=(28, 28, 1), mean=72.9, deviation=90.0):
    """Return EfficientNet-B0's blocks, the stem without its stride since the images are small."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Rescaling(1 / deviation, offset=-mean / deviation)(inputs)
    x = _normalized(keras.layers.Conv2D(make_divisible(_STEM * width), 3, **_PLAIN)(x))
    for expansion, filters, blocks, strides, size in _STAGES:
        for block in range(blocks):
            step = strides if block == 0 else 1
            x = _block(x, expansion, make_divisible(filters * width), step, size)
    x = _normalized(keras.layers.Conv2D(make_divisible(_HEAD * width), 1, **_PLAIN)(x))
    x = keras.layers.Dropout(0.2)(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(10, "softmax")(x), name="b0_like")


_PLAIN = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}


def _normalized(x, activation="swish"):
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return keras.layers.Activation(activation)(x) if activation else x


def _block(inputs, expansion, filters, strides, size):
    """Return MBConv: widen, depthwise, squeeze-and-excitation, narrow, add."""
    narrow = inputs.shape[-1]
    x = inputs
    if expansion > 1:
        x = _normalized(keras.layers.Conv2D(expansion * narrow, 1, **_PLAIN)(x))
    x = keras.layers.DepthwiseConv2D(
        size, strides, "same", use_bias=False, depthwise_initializer="he_normal"
    )(x)
    x = _normalized(x)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = keras.layers.Conv2D(max(1, narrow // 4), 1, activation="swish")(gate)
    gate = keras.layers.Conv2D(x.shape[-1], 1, activation="sigmoid")(gate)
    x = keras.layers.Multiply()([x, gate])
    x = _normalized(keras.layers.Conv2D(filters, 1, **_PLAIN)(x), None)
    if strides == 1 and narrow == filters:
        x = keras.layers.Add()([x, inputs])
    return x


def make_optimizer(name, steps):
    """Return Adam, or RMSprop as EfficientNet was trained with (section 5 of the paper)."""
    schedule = keras.optimizers.schedules.CosineDecay
    if name == "adam":
        return keras.optimizers.Adam(schedule(3e-3, steps))
    return keras.optimizers.RMSprop(schedule(0.016, steps), rho=0.9, momentum=0.9, epsilon=1e-3)


def train_network(data, epochs, stop_after, folder, optimizer="adam", seed=0):
    """Return the trained network; `folder` keeps it after each epoch, to go on from when killed."""
    split, last = data.splits["train"], folder / "last-epoch.keras"
    steps = len(split) // _BATCH
    keras.utils.set_random_seed(seed)
    if last.exists():
        model = keras.saving.load_model(last)
    else:
        model = build_network()
        model.compile(
            make_optimizer(optimizer, epochs * steps),
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
    done = int(model.optimizer.iterations) // steps
    batches = split.pipeline(
        _BATCH, shuffle=True, seed=seed, epochs=None, first_epoch=done, drop_remainder=True
    )
    model.fit(
        batches,
        initial_epoch=done,
        epochs=stop_after or epochs,
        steps_per_epoch=steps,
        shuffle=False,
        verbose=2,
        callbacks=[keras.callbacks.ModelCheckpoint(last)],
    )
    return model


def outliers(model, data):
    """Return a sentence on how far single calibration images stretch the ranges at the end."""
    split, last = data.splits["train"], model.layers[-1]
    images = split.load(calibration_indices(split.labels, 300))
    pooled = next(layer for layer in reversed(model.layers) if "pooling" in layer.name)
    features, given = keras.Model(model.inputs[0], [pooled.output, last.input]).predict(
        images, verbose=0
    )
    kernel, bias = last.get_weights()
    parts = []
    for name, values in (("pooled feature", features), ("logit", given @ kernel + bias)):
        largest = np.abs(values).max(axis=1)
        parts.append(f"{name} {np.median(largest):.3g}, at most {largest.max():.3g}")
    return f"Largest by calibration image, median and most: {'; '.join(parts)}."


def main():
    """Train if need be, compress, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="idx:/usr/share/datasets/fashion-mnist")
    parser.add_argument("--out", default="runs/compress")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--optimizer", choices=("adam", "rmsprop"), default="adam")
    parser.add_argument("--stop-after", type=int, help="of these epochs, so many")
    parser.add_argument("--max-drop", type=float, default=0.01)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--methods", nargs="+", default=["post-training", "quantization-aware"])
    parser.add_argument("--train-only", action="store_true")
    options = parser.parse_args()
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    data = load_data(options.data, validation=0.1)
    path = out / "model.keras"
    if not path.exists():
        train_network(data, options.epochs, options.stop_after, out, options.optimizer).save(path)
    if options.train_only:
        return
    report = compress(
        path,
        data,
        max_drop=options.max_drop,
        target=options.target,
        methods=options.methods,
        out=out / f"{options.target}-{options.max_drop:g}",
    )
    print(markdown.table(report.header, report.rows()))
    print(report)
    print(outliers(keras.saving.load_model(path, compile=False), data))


if __name__ == "__main__":
    main()
