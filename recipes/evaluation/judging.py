"""Calibrate a trained model on validation images, judge it on test images, write the results."""

from typing import TYPE_CHECKING

import keras
import numpy as np

from callbacks.calibration import fit_temperature, softmax
from recipes.evaluation.metrics import classification_metrics
from recipes.files import atomic_path, write_json
from recipes.layers.calibrated_softmax import CalibratedSoftmax

if TYPE_CHECKING:
    from recipes.data import ImageData, Split
    from recipes.run import Run

# Images are measured in batches of this size; it changes speed, not results.
EVALUATION_BATCH = 256
# Mistakes kept for the report.
_MISTAKES = 24


def evaluation_images(split: "Split"):
    """Return the images of a split alone, in order, batched, as a `tf.data.Dataset`."""
    return split.pipeline(EVALUATION_BATCH, transform=lambda images, labels, seed: images)


def judge(run: "Run", model: keras.Model, data: "ImageData", fitted: dict) -> None:
    """Fit the temperature on validation images, judge on test images, write the results.

    Writes `model.keras`, `predictions.npz` and, last, `metrics.json`.

    Args:
        run: Where to.
        model: Gives logits; float32.
        data: With a validation split; without a test split the test results are null.
        fitted: Facts of the training that go into metrics.json as they are.
    """
    splits = {name: data.splits[name] for name in ("validation", "test") if data.splits.get(name)}
    logits = {
        name: model.predict(evaluation_images(split), verbose=0).astype(np.float64)
        for name, split in splits.items()
    }
    fit = fit_temperature(logits["validation"], splits["validation"].labels)
    # A fit that ran to its bound, for want of mistakes to learn from, would make every probability
    # 0 or 1. Better none than that; the report says so.
    temperature = 1.0 if fit.at_bound else fit.temperature
    calibrated = {name: softmax(value, temperature) for name, value in logits.items()}
    metrics = {
        name: classification_metrics(calibrated[name], split.labels, data.class_names)
        for name, split in splits.items()
    }
    uncalibrated = None
    if "test" in splits:
        raw = softmax(logits["test"])
        measures = classification_metrics(raw, splits["test"].labels, data.class_names)
        uncalibrated = {name: measures[name] for name in ("ece", "nll", "brier", "reliability")}
        _write_predictions(run, calibrated["test"], raw, splits["test"])
    finished = with_contract(model, temperature, data, run)
    with atomic_path(run.path("model.keras")) as temporary:
        finished.save(temporary)
    write_json(
        run.path("metrics.json"),
        {
            **fitted,
            "parameters": model.count_params(),
            "temperature": {
                "value": temperature,
                "nll_before": fit.nll_before,
                "nll_after": fit.nll_before if fit.at_bound else fit.nll_after,
                "at_bound": fit.at_bound,
                "images": len(splits["validation"]),
            },
            "validation": metrics["validation"],
            "test": metrics.get("test"),
            "test_uncalibrated": uncalibrated,
        },
    )


def with_contract(
    model: keras.Model, temperature: float, data: "ImageData", run: "Run"
) -> keras.Model:
    """Return the model with calibrated probabilities, class names and contract at its end."""
    environment = run.environment
    contract = {
        **data.input_contract(),
        "provenance": {
            "recipe": run.recipe.name,
            "data": data.source,
            "data_fingerprint": data.fingerprint,
            "seed": run.recipe.training.seed,
            "started": environment["started"],
            "versions": environment["versions"],
        },
    }
    probabilities = CalibratedSoftmax(
        temperature, class_names=data.class_names, contract=contract, name="probabilities"
    )(model.output)
    return keras.Model(model.input, probabilities, name=model.name)


def _write_predictions(run, calibrated, uncalibrated, split):
    wrong = np.flatnonzero(calibrated.argmax(axis=1) != split.labels)
    most_confident = np.argsort(-calibrated[wrong].max(axis=1), kind="stable")
    mistakes = wrong[most_confident][:_MISTAKES]
    with atomic_path(run.path("predictions.npz")) as temporary:
        np.savez_compressed(
            temporary,
            probabilities=calibrated.astype(np.float32),
            uncalibrated=uncalibrated.astype(np.float32),
            labels=split.labels,
            mistake_indices=mistakes,
            mistake_images=split.load(mistakes),
        )
