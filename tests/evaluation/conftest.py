"""A run directory as training and export write it, with made-up numbers that agree."""

import json
import shutil

import numpy as np
import pytest
from scipy import special

from recipes import files
from recipes.config import Recipe
from recipes.evaluation.metrics import classification_metrics

NAMES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Bag"]


def write_run(directory, names=NAMES, images=300, epochs=6, side=12, channels=1):
    """Write the files of a finished run, consistent with each other."""
    directory.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    classes = len(names)
    labels = generator.permutation(np.arange(images) % classes)
    logits = 2 * generator.normal(size=(images, classes)) + 5 * np.eye(classes)[labels]
    raw, calibrated = special.softmax(logits, axis=1), special.softmax(logits / 1.4, axis=1)
    before = classification_metrics(raw, labels, names)
    test = classification_metrics(calibrated, labels, names)
    wrong = np.flatnonzero(calibrated.argmax(axis=1) != labels)
    wrong = wrong[np.argsort(-calibrated[wrong].max(axis=1), kind="stable")][:24]
    np.savez_compressed(
        directory / "predictions.npz",
        probabilities=calibrated.astype(np.float32),
        uncalibrated=raw.astype(np.float32),
        labels=labels,
        mistake_indices=wrong,
        mistake_images=generator.integers(0, 256, (len(wrong), side, side, channels), np.uint8),
    )
    history = [
        {
            "epoch": epoch,
            "loss": 2.0 / epoch,
            "accuracy": 1 - 0.5 / epoch,
            "val_loss": 1.5 / epoch,
            "val_accuracy": 1 - 0.4 / epoch,
            "val_ece": 0.05,
            "val_recall": [0.9] * classes,
            "learning_rate": 0.1 / epoch,
            "seconds": 2.5,
            "images_per_second": 1234.0,
        }
        for epoch in range(1, epochs + 1)
    ]
    (directory / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in history))
    half = {key: before[key] for key in ("ece", "nll", "brier", "reliability")}
    exported = {
        "quantization": "int8",
        "file": "model.tflite",
        "bytes": 312_456,
        "gzip_bytes": 268_712,
        "accuracy": test["accuracy"] - 0.004,
        "ece": 0.0234,
        "nll": 0.4,
        "agreement": 0.986,
        "max_difference": 0.0832,
        "latency_ms": {"median": 1.43, "p90": 1.68, "threads": 1, "runs": 50},
        "input_dtype": "uint8",
        "output_dtype": "float32",
        "float_operations": 2,
        "flex_operations": 0,
    }
    single = {**exported, "file": "model_float32.tflite", "quantization": "float32"}
    single |= {"bytes": 1_098_320, "accuracy": test["accuracy"], "agreement": 1.0}
    contents = {
        "recipe.json": Recipe(name="demo").to_dict(),
        "environment.json": {
            "format_version": 1,
            "started": "2026-11-21T11:36:05+00:00",
            "python": "3.11.2",
            "versions": {"keras-recipes": "0.1.0", "keras": "3.15.1"},
            "machine": {
                "processor": "Some <CPU>",
                "cores": 2,
                "memory_gib": 15.6,
                "flags": ["avx2"],
            },
            "seed": 0,
            "precision": "mixed_bfloat16",
            "commit": "abc123def456",
        },
        "data.json": {
            "source": "folder/of images",
            "class_names": names,
            "image_shape": [side, side, channels],
            "color": "grayscale",
            "fit": "crop",
            "counts": {
                "train": [50] * classes,
                "validation": [7] * classes,
                "test": [50] * classes,
            },
            "fingerprint": "9f2c" * 16,
            "seed": 0,
            "problems": [
                {
                    "kind": "duplicates",
                    "severity": "warning",
                    "message": "12 images are duplicates",
                    "paths": ["a<b>.png"] * 6,
                    "count": 12,
                }
            ],
        },
        "metrics.json": {
            "selected_epoch": min(4, epochs),
            "epochs": epochs,
            "train_seconds": 167.3,
            "parameters": 272_474,
            "temperature": {
                "value": 1.4,
                "nll_before": 0.5,
                "nll_after": 0.45,
                "at_bound": False,
                "images": 60,
            },
            "validation": test,
            "test": test,
            "test_uncalibrated": half,
        },
        "export.json": {
            "files": [exported, single],
            "keras": {"bytes": 1_402_000, "accuracy": test["accuracy"], "ece": 0.02, "nll": 0.4},
            "images": images,
            "split": "test",
            "runtime": "ai-edge-litert 2.3.0",
            "calibration_images": 500,
        },
    }
    for name, content in contents.items():
        files.write_json(directory / name, content)
    return directory


@pytest.fixture(name="write_run", scope="session")
def fixture_write_run():
    return write_run


@pytest.fixture(name="run", scope="module")
def fixture_run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(name="copy")
def fixture_copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")
