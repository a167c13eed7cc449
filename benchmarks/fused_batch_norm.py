"""Training speed of a model with fused against stock batch normalisation.

The four variants (stock and fused, float32 and mixed bfloat16) are the same network with the same
initial weights, trained by `model.fit` on one random batch that is always there. Rounds alternate
between them, so that a neighbour on the machine slows all alike; a ratio is the median of the
ratios of each round to stock float32 in that round.

    python benchmarks/fused_batch_norm.py
    python benchmarks/fused_batch_norm.py --model resnet50 --batch 16 --steps 2 --json
"""

import argparse
import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from recipes.layers import FusedBatchNormalization
from recipes.models import build_model, list_models

VARIANTS = {
    "stock float32": (False, "float32"),
    "fused float32": (True, "float32"),
    "stock bfloat16": (False, "mixed_bfloat16"),
    "fused bfloat16": (True, "mixed_bfloat16"),
}
BASE = "stock float32"


def with_stock_layers(model):
    """Return a copy of `model`, weights included, on `keras.layers.BatchNormalization`."""

    def clone(layer):
        kind = type(layer)
        if kind is FusedBatchNormalization:
            kind = keras.layers.BatchNormalization
        return kind.from_config(layer.get_config())

    copy = keras.models.clone_model(model, clone_function=clone)
    copy.set_weights(model.get_weights())
    return copy


def make_trainer(name, *, fused, policy, batch):
    """Return a function that trains the model called `name` for some steps."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    model = build_model(name, classifier_activation=None)
    if not fused:
        model = with_stock_layers(model)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    images = np.random.default_rng(0).uniform(0, 255, (batch, *model.input_shape[1:]))
    labels = np.arange(batch) % model.output_shape[-1]
    data = tf.data.Dataset.from_tensors((images.astype("float32"), labels)).repeat()
    return lambda steps: model.fit(data, steps_per_epoch=steps, verbose=0)


def measure(name, *, batch, rounds, steps):
    """Return for each variant its images a second, one number a round."""
    trainers = {
        variant: make_trainer(name, fused=fused, policy=policy, batch=batch)
        for variant, (fused, policy) in VARIANTS.items()
    }
    for train in trainers.values():
        train(2)
    speeds = {variant: [] for variant in VARIANTS}
    for _ in range(rounds):
        for variant, train in trainers.items():
            start = time.perf_counter()
            train(steps)
            speeds[variant].append(batch * steps / (time.perf_counter() - start))
    return speeds


def summarize(speeds):
    """Return the median and best speed of each variant, and its ratio to the base."""
    return {
        variant: {
            "images_per_second": round(statistics.median(values), 1),
            "best": round(max(values), 1),
            "ratio": round(
                statistics.median(v / b for v, b in zip(values, speeds[BASE], strict=True)), 3
            ),
        }
        for variant, values in speeds.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="resnet20", choices=list_models())
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=10, help="steps a round")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()

    result = {
        "model": arguments.model,
        "batch": arguments.batch,
        "rounds": arguments.rounds,
        "steps": arguments.steps,
        "cores": len(os.sched_getaffinity(0)),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__},
        "variants": summarize(
            measure(
                arguments.model,
                batch=arguments.batch,
                rounds=arguments.rounds,
                steps=arguments.steps,
            )
        ),
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(
        f"{arguments.model}, batch {arguments.batch}, {result['cores']} cores: training, images/s"
    )
    for variant, row in result["variants"].items():
        speed, best, ratio = row["images_per_second"], row["best"], row["ratio"]
        print(f"{variant:15} {speed:8.1f}  best {best:8.1f}  ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
