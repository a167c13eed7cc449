"""Why initialisation matters: activations by layer of deep plain networks, before any training.

    python examples/preflight.py
    python examples/preflight.py --depth 30 --width 1600 --out activations.svg
    python examples/preflight.py --json

A network of ReLU layers, without normalisation or shortcuts, is started from normal draws of a
standard deviation of 0.01, of 0.05, and of sqrt(2 / fan-in), which is Kaiming initialisation. Each
layer multiplies the size of the signal by sigma * sqrt(fan-in / 2). So 0.01 loses the signal at any
usual width; 0.05 loses it below a fan-in of 800 and lets it explode above; Kaiming keeps it at
every width. `preflight` finds that before a step is trained.

Source: He et al., "Delving deep into rectifiers", 2015, equations 7 to 10.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import keras
import numpy as np

from recipes import preflight
from recipes.evaluation.plots import line_chart
from recipes.files import write_text

CLASSES = 10
# Standard deviation of the weights; None for Kaiming.
STARTS = {"normal 0.01": 0.01, "normal 0.05": 0.05, "Kaiming": None}
# What classes of the report's style sheet look like in a file of its own.
_STYLE = (
    "<style>text{font:11px sans-serif;fill:#555}.gridline{stroke:#ddd}"
    ".series{fill:none;stroke-width:2}.one{stroke:#1f5fa8}.two{stroke:#c4501b}</style>"
)


def main(arguments=None):
    """Print the tables; return the exit code."""
    options = parse(arguments)
    if options.depth < 2 or options.width < 1:
        print("preflight: --depth must be at least 2 and --width at least 1", file=sys.stderr)
        return 2
    if not Path(options.out or "").parent.is_dir():
        print(f"preflight: the folder of --out must exist: {options.out}", file=sys.stderr)
        return 2
    found = {name: look(name, options) for name in STARTS}
    sizes = {name: layer_sizes(result) for name, result in found.items()}
    if options.out:
        write_text(options.out, drawing(sizes, options.width))
    if options.json:
        report = {name: [each.to_dict() for each in one.findings] for name, one in found.items()}
        print(json.dumps({"sizes": sizes, "findings": report}))
        return 0
    print(table(sizes, options.width))
    for name, result in found.items():
        print(f"\n{name}: {'healthy' if not result.findings else ''}")
        for finding in result.findings:
            print(f"  {finding.severity}: {finding.message}")
    return 0


def look(name, options):
    """Return the preflight of a network from one kind of start, on random images."""
    keras.utils.set_random_seed(options.seed)
    generator = np.random.default_rng(options.seed)
    images = generator.normal(size=(64, options.width)).astype("float32")
    labels = generator.integers(0, CLASSES, 64)
    model = network(STARTS[name], options.depth, options.width)
    # No steps: what is looked at is the start.
    return preflight(model, (images, labels), steps=0)


def network(deviation, depth, width):
    """Return a compiled plain network of ReLU layers."""
    start = keras.initializers.HeNormal()
    if deviation is not None:
        start = keras.initializers.RandomNormal(stddev=deviation)
    layers = [
        keras.layers.Dense(width, "relu", kernel_initializer=start, name=f"layer{index}")
        for index in range(1, depth + 1)
    ]
    # A small last layer: its start is not what is compared.
    small = keras.initializers.RandomNormal(stddev=0.3 / math.sqrt(width))
    last = keras.layers.Dense(CLASSES, kernel_initializer=small, name="logits")
    model = keras.Sequential([keras.layers.Input((width,)), *layers, last])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-4), loss)
    return model


def layer_sizes(result):
    """Return the root mean square of the outputs of each hidden layer."""
    return [layer.rms for layer in result.layers if "layer" in layer.name.split("/")[-1]]


def expected_growth(deviation, width):
    """Return the factor of a layer by the theory: sigma * sqrt(fan-in / 2)."""
    return 1.0 if deviation is None else deviation * math.sqrt(width / 2)


def table(sizes, width):
    """Return root mean squares by layer, one column a start, and the growth theory expects."""
    lines = ["layer    " + "".join(f"{name:>14}" for name in sizes)]
    depth = len(next(iter(sizes.values())))
    for index in range(depth):
        cells = "".join(f"{values[index]:>14.3g}" for values in sizes.values())
        lines.append(f"{index + 1:<9}{cells}")
    growth = "".join(f"{expected_growth(STARTS[name], width):>14.3g}" for name in sizes)
    return "\n".join([*lines, f"a layer  {growth}   by theory"])


def drawing(sizes, width):
    """Return an SVG of the logarithm of the sizes over the layers: 0.05 against Kaiming."""
    chosen = [sizes["normal 0.05"], sizes["Kaiming"]]
    series = [[math.log10(value) if value > 0 else None for value in values] for values in chosen]
    layers = list(range(1, len(chosen[0]) + 1))
    chart = str(line_chart(layers, series, label="log10 of the activations by layer"))
    start = chart.index(">")
    chart = f'{chart[:start]} xmlns="http://www.w3.org/2000/svg">{_STYLE}{chart[start + 1 :]}'
    title = f"log10 of the root mean square by layer, width {width}: 0.05 blue, Kaiming orange"
    return chart.replace("</svg>", f'<text x="50" y="12">{title}</text></svg>\n')


def parse(arguments):
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=20, help="ReLU layers (default: 20)")
    parser.add_argument("--width", type=int, default=256, help="units a layer (default: 256)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", metavar="FILE", help="draw the sizes into an SVG file")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
