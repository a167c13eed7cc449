"""Export the model of a run and measure what was written, file by file."""

import gzip
import hashlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from callbacks.calibration import expected_calibration_error, negative_log_likelihood
from recipes.errors import ConfigError, DataError, RunError
from recipes.evaluation.classifier import (
    Classifier,
    KerasClassifier,
    LiteRTClassifier,
    calibrated_head,
)
from recipes.evaluation.litert import measure_latency, runtime_name
from recipes.evaluation.metrics import accuracy_difference
from recipes.files import write_json
from tuning.flatbuffer import inspect_tflite
from tuning.tflite import export_tflite, known_quantization, versions

if TYPE_CHECKING:
    from recipes.data import ImageData

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
        difference of the accuracy from the Keras model's with its interval, top-1 agreement and
        largest difference of a probability against the Keras model, latency, float and Flex
        operations), `"keras"`, `"images"`, `"split"`, `"runtime"`,
        `"calibration_images"`, `"provenance"`.

    Raises:
        ConfigError: If a quantization is unknown or a count is below 1.
        DataError: If the images do not fit the model.
        RecipesError: As `export_tflite`.
        RunError: If there is no run, no model in it, or it cannot be written.
    """
    directory = Path(run_directory)
    quantizations = tuple(known_quantization(name) or "float32" for name in quantizations)
    if calibration_count < 1 or (max_images is not None and max_images < 1):
        raise ConfigError("calibration_count and max_images must be at least 1")
    keras_path = directory / "model.keras"
    if not keras_path.is_file():
        raise RunError(f"nothing to export: {directory} has no model.keras")
    classifier = KerasClassifier(keras_path)
    _check_data(classifier, data)
    exam = _Exam(classifier, data, max_images)
    train = data.splits["train"]
    calibration = None
    if "int8" in quantizations:
        calibration = train.load(_calibration_indices(train.labels, calibration_count))
    provenance = {
        "data": data.source,
        "data_fingerprint": data.fingerprint,
        "keras_sha256": hashlib.sha256(keras_path.read_bytes()).hexdigest(),
    }
    contract = {
        **data.input_contract(),
        "class_names": list(data.class_names),
        "provenance": provenance,
    }
    try:
        # All files are made and measured before the first one gets its name in the run.
        with tempfile.TemporaryDirectory(prefix=".export.", dir=directory) as scratch:
            rows = []
            for name in quantizations:
                path = export_tflite(
                    classifier.model,
                    Path(scratch) / _FILE_NAMES[name],
                    quantization=name,
                    calibration_images=calibration if name == "int8" else None,
                    contract=contract,
                )
                rows.append(exam.measure(path, name))
            for row in rows:
                (Path(scratch) / row["file"]).replace(directory / row["file"])
        result = {
            "files": rows,
            "keras": {"bytes": keras_path.stat().st_size, **exam.keras_quality},
            "images": len(exam.labels),
            "split": exam.split.name,
            "runtime": runtime_name(),
            "calibration_images": 0 if calibration is None else len(calibration),
            "provenance": {**provenance, "export_versions": versions()},
        }
        write_json(directory / "export.json", result)
    except OSError as error:
        raise RunError(f"cannot write to {directory}: {error.strerror or error}") from error
    return result


def _check_data(classifier: KerasClassifier, data: "ImageData") -> None:
    shape = tuple(classifier.contract["image_shape"])
    if tuple(data.image_shape) != shape:
        raise DataError(
            f"the model takes images of shape {shape}, the data has {tuple(data.image_shape)}"
        )
    if len(data.class_names) != len(classifier.class_names):
        raise DataError(
            f"the model has {len(classifier.class_names)} classes, "
            f"the data has {len(data.class_names)}"
        )
    head = calibrated_head(classifier.model)
    if head and head.class_names:
        for ours, theirs in zip(head.class_names, data.class_names, strict=True):
            if ours != theirs:
                raise DataError(
                    f"the model and the data differ in a class name: {ours!r} and {theirs!r}"
                )


class _Exam:
    """The images that the files of a run are measured on, and what the Keras model makes of them.

    Args:
        classifier: The Keras model of the run.
        data: Its images.
        max_images: At most so many, evenly spaced over the split.
    """

    def __init__(self, classifier: KerasClassifier, data: "ImageData", max_images: int | None):
        self.split = data.splits.get("test") or data.splits.get("validation")
        if not self.split:
            raise DataError("no test and no validation images to measure the exported files on")
        count = min(len(self.split), max_images or len(self.split))
        self._indices = np.linspace(0, len(self.split) - 1, count).round().astype(np.int64)
        self.labels = np.asarray(self.split.labels)[self._indices]
        self._expected = self._probabilities(classifier)
        self.keras_quality = _quality(self._expected, self.labels)

    def measure(self, path: Path, quantization: str) -> dict[str, Any]:
        """Return the row of one file in export.json."""
        classifier = LiteRTClassifier(path)
        received = self._probabilities(classifier)
        content = path.read_bytes()
        operations = inspect_tflite(path)
        predicted, expected = received.argmax(axis=1), self._expected.argmax(axis=1)
        return {
            "file": path.name,
            "quantization": quantization,
            "bytes": len(content),
            "gzip_bytes": len(gzip.compress(content, 9)),
            **_quality(received, self.labels),
            "accuracy_difference": accuracy_difference(
                predicted == self.labels, expected == self.labels
            ),
            "agreement": float(np.mean(predicted == expected)),
            "max_difference": float(np.abs(received - self._expected).max()),
            "latency_ms": measure_latency(path),
            "input_dtype": np.dtype(classifier.litert.input_dtype).name,
            "output_dtype": np.dtype(classifier.litert.output_dtype).name,
            "float_operations": operations["float_operations"],
            "float_operation_names": operations["float_operation_names"],
            "flex_operations": operations["flex_operations"],
        }

    def _probabilities(self, classifier: Classifier) -> np.ndarray:
        starts = range(0, len(self._indices), _CHUNK)
        chunks = [self._indices[start : start + _CHUNK] for start in starts]
        return np.concatenate([classifier.predict(self.split.load(chunk)) for chunk in chunks])


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


def _quality(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "ece": float(expected_calibration_error(probabilities, labels)),
        "nll": float(negative_log_likelihood(probabilities, labels)),
    }
