"""Export the model of a run and measure what was written, file by file."""

import gzip
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from callbacks.calibration import expected_calibration_error, negative_log_likelihood
from recipes.errors import ConfigError, DataError, RunError
from recipes.evaluation.classifier import Classifier, KerasClassifier, LiteRTClassifier
from recipes.evaluation.litert import measure_latency, runtime_name
from recipes.files import write_json
from tuning.flatbuffer import inspect_tflite
from tuning.tflite import export_tflite, known_quantization, versions

if TYPE_CHECKING:
    from recipes.data import ImageData, Split

__all__ = ["export_run", "export_tflite"]

_FILE_NAMES = {
    "int8": "model.tflite",
    "float32": "model_float32.tflite",
    "float16": "model_float16.tflite",
}
_CHUNK = 512


def export_run(
    run_directory: str | os.PathLike,
    data: "ImageData",
    *,
    quantizations: tuple[str, ...] = ("int8", "float32"),
    calibration_count: int = 300,
    max_images: int | None = None,
) -> dict[str, Any]:
    """Export the model of a run and measure each file as it lies on disk.

    Writes `model.tflite` (int8), `model_float32.tflite`, `model_float16.tflite` (those asked for)
    and `export.json` into the run directory.

    Args:
        run_directory: A run with its `model.keras`.
        data: The `ImageData` the run was trained on. Calibration takes training images, spread
            evenly over the classes; the figures are from the test images, or from the validation
            images if there are no test images.
        quantizations: Any of `"int8"`, `"float32"`, `"float16"`.
        calibration_count: Training images for int8 calibration.
        max_images: Evaluate on so many images at most, evenly spaced; `None` takes all.

    Returns:
        The content of `export.json`: `"files"` (a row each: bytes, gzip bytes, accuracy, ECE, NLL,
        top-1 agreement and largest difference of a probability against the Keras model, latency,
        float and Flex operations), `"keras"`, `"images"`, `"split"`, `"runtime"`,
        `"calibration_images"`, `"provenance"`.

    Raises:
        ConfigError: If a quantization is unknown.
        DataError: If the images do not fit the model.
        RecipesError: As `export_tflite`.
        RunError: If there is no run, no model in it, or it cannot be written.
    """
    directory = Path(run_directory)
    for quantization in quantizations:
        known_quantization(quantization)
    if calibration_count < 1 or (max_images is not None and max_images < 1):
        raise ConfigError("calibration_count and max_images must be at least 1")
    keras_path = directory / "model.keras"
    if not keras_path.is_file():
        raise RunError(f"nothing to export: {directory} has no model.keras")
    classifier = KerasClassifier(keras_path)
    _check_data(classifier, data)
    split, indices = _evaluation_images(data, max_images)
    labels = np.asarray(split.labels)[indices]
    expected = _probabilities(classifier, split, indices)
    calibration = _calibration_indices(data.splits["train"].labels, calibration_count)
    provenance = {
        "data": data.source,
        "data_fingerprint": data.fingerprint,
        "keras_sha256": hashlib.sha256(keras_path.read_bytes()).hexdigest(),
    }
    rows = []
    for quantization in quantizations:
        path = export_tflite(
            classifier.model,
            directory / _FILE_NAMES[quantization],
            quantization=quantization,
            calibration_images=(
                data.splits["train"].load(calibration) if quantization == "int8" else None
            ),
            contract={
                **data.input_contract(),
                "class_names": list(data.class_names),
                "provenance": provenance,
            },
        )
        rows.append(_measure(path, quantization, split, indices, labels, expected))
    result = {
        "files": rows,
        "keras": {"bytes": keras_path.stat().st_size, **_quality(expected, labels)},
        "images": len(indices),
        "split": split.name,
        "runtime": runtime_name(),
        "calibration_images": len(calibration) if "int8" in quantizations else 0,
        "provenance": {**provenance, "export_versions": versions()},
    }
    try:
        write_json(directory / "export.json", result)
    except OSError as error:
        raise RunError(f"cannot write {directory / 'export.json'}: {error.strerror}") from error
    return result


def _check_data(classifier: KerasClassifier, data: "ImageData") -> None:
    if list(data.image_shape) != list(classifier.contract["image_shape"]):
        raise DataError(
            f"the model takes images of shape {tuple(classifier.contract['image_shape'])}, "
            f"the data has {tuple(data.image_shape)}"
        )
    if len(data.class_names) != len(classifier.class_names):
        raise DataError(
            f"the model has {len(classifier.class_names)} classes, "
            f"the data has {len(data.class_names)}"
        )


def _evaluation_images(data: "ImageData", max_images: int | None) -> tuple["Split", np.ndarray]:
    for name in ("test", "validation"):
        split = data.splits.get(name)
        if split is not None and len(split):
            count = min(len(split), max_images or len(split))
            return split, np.linspace(0, len(split) - 1, count).round().astype(np.int64)
    raise DataError("no test and no validation images to measure the exported files on")


def _calibration_indices(labels: np.ndarray, count: int) -> np.ndarray:
    """Choose training images, the classes in turn, seeded."""
    labels = np.asarray(labels)
    order = np.random.default_rng(0).permutation(len(labels))
    # Rank of each image among those of its class: sorting by it deals the classes out in turn.
    ranks = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        ranks[members] = np.arange(len(members))
    dealt = order[np.argsort(ranks[order], kind="stable")]
    return np.sort(dealt[:count])


def _probabilities(classifier: Classifier, split: "Split", indices: np.ndarray) -> np.ndarray:
    chunks = [indices[start : start + _CHUNK] for start in range(0, len(indices), _CHUNK)]
    return np.concatenate([classifier.predict(split.load(chunk)) for chunk in chunks])


def _quality(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "ece": float(expected_calibration_error(probabilities, labels)),
        "nll": float(negative_log_likelihood(probabilities, labels)),
    }


def _measure(
    path: Path,
    quantization: str,
    split: "Split",
    indices: np.ndarray,
    labels: np.ndarray,
    expected: np.ndarray,
) -> dict[str, Any]:
    """Return the row of one file."""
    classifier = LiteRTClassifier(path)
    received = _probabilities(classifier, split, indices)
    content = path.read_bytes()
    operations = inspect_tflite(path)
    return {
        "file": path.name,
        "quantization": quantization,
        "bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, 9)),
        **_quality(received, labels),
        "agreement": float(np.mean(received.argmax(axis=1) == expected.argmax(axis=1))),
        "max_difference": float(np.abs(received - expected).max()),
        "latency_ms": measure_latency(path),
        "input_dtype": np.dtype(classifier.litert.input_dtype).name,
        "output_dtype": np.dtype(classifier.litert.output_dtype).name,
        "float_operations": operations["float_operations"],
        "float_operation_names": operations["float_operation_names"],
        "flex_operations": operations["flex_operations"],
    }
