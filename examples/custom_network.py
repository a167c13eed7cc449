"""A network of your own from the layers: trained, saved, and asked how sure it is.

    python examples/custom_network.py
    python examples/custom_network.py path/to/folder-of-classes --epochs 20 --width 48

Each block is one line and one row of the summary. With `--flat` the same blocks are laid out layer
by layer, as the ready-made models are: same numbers, but single layers can be frozen.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np

from callbacks import WarmupDecay
from recipes import RecipesError, load_data
from recipes.layers import (
    BasicResidual,
    BlurPooling,
    ChannelNormalization,
    ConvNormActivation,
    GeneralizedMeanPooling,
    Inception,
    InvertedResidual,
    Merge,
    MonteCarloDropout,
    NonLocal,
    initializer,
    make_divisible,
    monte_carlo_samples,
)


def main(arguments=None):
    """Build and train the network, and show what it is sure of; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("source", nargs="?", default="fashion-mini", help="images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--width", type=int, default=24, help="channels of the first stage")
    parser.add_argument("--samples", type=int, default=20, help="Monte-Carlo predictions an image")
    parser.add_argument("--flat", action="store_true", help="lay the blocks out layer by layer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="folder for model.keras")
    options = parser.parse_args(arguments)
    folder = Path(options.out or tempfile.mkdtemp())
    keras.utils.set_random_seed(options.seed)
    try:
        data = load_data(options.source, batch_size=64, seed=options.seed)
        model = build(data, options.width, flat=options.flat)
        model.summary()
        fit(model, data, options.epochs)
        test = data.splits["test"]
        samples = monte_carlo_samples(model, test.load(range(len(test))), options.samples)
    except RecipesError as error:
        print(f"custom_network: {error}", file=sys.stderr)
        return 2
    report(samples, test.labels)
    path = folder / "model.keras"
    folder.mkdir(parents=True, exist_ok=True)
    model.save(path)
    print(f"saved: {path}")
    return 0


def build(data, width, *, flat=False):
    """Return a small network with a bit of everything.

    Args:
        data: The images it is for; its training images give the normalisation.
        width: Channels of the first stage; later stages have more.
        flat: Whether the blocks are laid out layer by layer.
    """

    def place(block, inputs):
        return block.inline(inputs) if flat else block(inputs)

    wide = make_divisible(1.5 * width)
    inputs = keras.Input(data.image_shape, name="images")
    x = ChannelNormalization(*data.statistics(), name="normalization")(inputs)
    x = place(ConvNormActivation(width, activation="silu", name="stem"), x)

    # Two views of the same image; the gate learns which to listen to, channel by channel.
    local = place(BasicResidual(width, attention="eca", activation="silu", name="local"), x)
    quarter, eighth = max(1, width // 4), max(1, width // 8)
    rest = width - 3 * quarter
    many_sizes = place(Inception(rest, quarter, quarter, eighth, quarter, quarter, name="sizes"), x)
    x = place(Merge("gated", name="merge"), [local, many_sizes])

    x = BlurPooling(name="blur1")(x)
    x = place(InvertedResidual(wide, 4, squeeze_excite=True, name="mobile1"), x)
    x = place(InvertedResidual(wide, 4, stochastic_depth=0.1, name="mobile2"), x)
    x = BlurPooling(name="blur2")(x)
    x = place(NonLocal(scaled=True, name="attention"), x)
    x = place(BasicResidual(2 * width, version="v2", attention="cbam", name="last"), x)

    x = GeneralizedMeanPooling(dtype="float32", name="pool")(x)
    x = MonteCarloDropout(0.2, dtype="float32", name="dropout")(x)
    outputs = keras.layers.Dense(
        len(data.class_names),
        activation="softmax",
        kernel_initializer=initializer("xavier"),
        dtype="float32",
        name="predictions",
    )(x)
    return keras.Model(inputs, outputs, name="custom")


def fit(model, data, epochs):
    """Train the model."""
    if epochs < 1:
        raise RecipesError(f"--epochs must be at least 1, received: {epochs}")
    steps = epochs * int(data.train.cardinality())
    model.compile(
        keras.optimizers.AdamW(WarmupDecay(3e-3, steps, warmup=0.1), weight_decay=0.01),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    model.fit(
        data.train,
        validation_data=data.validation,
        epochs=epochs,
        shuffle=False,  # the pipeline shuffles; Keras would warn that it cannot
        verbose=2,
    )


def report(samples, labels):
    """Print the accuracy of one draw and of the mean, and that of the images it is sure of.

    Args:
        samples: Probabilities `(samples, images, classes)`.
        labels: The right classes, `(images,)`.
    """
    mean = samples.mean(axis=0)
    right = mean.argmax(axis=1) == labels
    # Entropy of the mean: large where single draws doubt, and where they contradict each other.
    entropy = -np.sum(mean * np.log(np.maximum(mean, 1e-12)), axis=1)
    sure = entropy <= np.median(entropy)
    single = samples[0].argmax(axis=1) == labels
    print(f"test accuracy {right.mean():.3f} (of a single draw {single.mean():.3f})")
    print(f"of the surer half {right[sure].mean():.3f}, of the other {right[~sure].mean():.3f}")


if __name__ == "__main__":
    sys.exit(main())
