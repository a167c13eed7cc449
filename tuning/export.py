"""Export the model of a run and measure what was written, file by file."""

import gzip
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from callbacks.calibration import expected_calibration_error, negative_log_likelihood
from recipes.errors import ConfigError, DataError, RecipesError, RunError
from recipes.evaluation.classifier import (
    Classifier,
    KerasClassifier,
    LiteRTClassifier,
    calibrated_head,
)
from recipes.evaluation.litert import measure_latency, runtime_name
from recipes.files import write_json
from tuning.calibration_data import calibration_indices
from tuning.flatbuffer import inspect_tflite
from tuning.tflite import CALIBRATED, export_tflite, known_precision, versions
from tuning.verification import compare_probabilities, require_closeness

if TYPE_CHECKING:
    from recipes.data import ImageData

__all__ = ["calibration_indices", "check_data", "export_run", "export_tflite"]

_CHUNK = 512


class ExportError(RecipesError):
    """A TFLite file of a run cannot be made; what else was asked for is there."""


def export_run(
    run_directory: str | os.PathLike,
    data: "ImageData",
    *,
    precisions: tuple[str, ...] = ("int8", "float32"),
    calibration_count: int = 300,
    max_images: int | None = None,
) -> dict[str, Any]:
    """Export the model of a run and measure each file as it lies on disk.

    Writes `model.tflite` (int8), `model_float32.tflite`, `model_weight_only_int8.tflite` and so on
    (those asked for) and `export.json` into the run directory. Files of an earlier export of the
    same model that are not asked for again stay, and so do their rows.

    Args:
        run_directory: A run with its `model.keras`.
        data: The `ImageData` the run was trained on. Calibration takes training images, spread
            evenly over the classes; the figures are from the test images, or from the validation
            images if there are no test images.
        precisions: Any of those of `export_tflite`.
        calibration_count: Training images for calibration.
        max_images: Evaluate on so many images at most, evenly spaced; `None` takes all.

    Returns:
        The content of `export.json`: `"files"` (a row each: bytes, gzip bytes, accuracy with its
        interval, ECE, NLL, difference of the accuracy from the Keras model's with its interval,
        top-1 agreement, mean total variation distance and largest difference of a probability
        against the Keras model, latency, float and Flex operations), `"keras"`, `"images"`,
        `"split"`, `"runtime"`, `"calibration_images"`, `"provenance"`.

    Raises:
        ConfigError: If a precision is unknown or a count is below 1.
        DataError: If the images do not fit the model.
        ExportError: If a file cannot be made, as for `export_tflite`, or computes something else
            than the model; the others are in the run then.
        RunError: If there is no run, no model in it, or it cannot be written.
    """
    directory = Path(run_directory)
    precisions = tuple(dict.fromkeys(known_precision(name) for name in precisions))
    if calibration_count < 1 or (max_images is not None and max_images < 1):
        raise ConfigError("calibration_count and max_images must be at least 1")
    keras_path = directory / "model.keras"
    if not keras_path.is_file():
        raise RunError(f"nothing to export: {directory} has no model.keras")
    classifier = KerasClassifier(keras_path)
    check_data(classifier, data)
    exam = _Exam(classifier, data, max_images)
    train = data.splits["train"]
    calibration = None
    if set(precisions) & set(CALIBRATED):
        calibration = train.load(calibration_indices(train.labels, calibration_count))
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
            rows, failures = [], {}
            for name in precisions:
                try:
                    path = export_tflite(
                        classifier.model,
                        Path(scratch) / file_name(name),
                        precision=name,
                        calibration_images=calibration if name in CALIBRATED else None,
                        contract=contract,
                    )
                    rows.append(exam.measure(path, name))
                except RecipesError as error:
                    failures[file_name(name)] = error
            if failures and not rows:
                raise _failed(failures)
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
        keep_rows(result, directory)
        write_json(directory / "export.json", result)
    except OSError as error:
        raise RunError(f"cannot write to {directory}: {error.strerror or error}") from error
    if failures:
        raise _failed(failures)
    return result


def _failed(failures):
    return ExportError("; ".join(f"no {name}: {error}" for name, error in failures.items()))


def keep_rows(result, directory):
    """Keep the rows of the former export.json whose files are still those of the same model."""
    try:
        former = json.loads((directory / "export.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return
    same = ("images", "split", "runtime", "provenance")
    if any(former.get(name) != result[name] for name in same):
        return
    rows = {row["file"]: row for row in former["files"] if (directory / row["file"]).is_file()}
    result["files"] = list((rows | {row["file"]: row for row in result["files"]}).values())
    result["calibration_images"] = result["calibration_images"] or former["calibration_images"]


def file_name(precision: str) -> str:
    """Return the name of the file of a precision in a run; int8 is what ships."""
    return "model.tflite" if precision == "int8" else f"model_{precision.replace('-', '_')}.tflite"


def check_data(classifier: KerasClassifier, data: "ImageData") -> None:
    """Raise `DataError` unless images and classes of the data are those of the model."""
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

    def measure(self, path: Path, precision: str) -> dict[str, Any]:
        """Return the row of one file in export.json; `RecipesError` if it is another classifier."""
        classifier = LiteRTClassifier(path)
        received = self._probabilities(classifier)
        content = path.read_bytes()
        operations = inspect_tflite(path)
        found = compare_probabilities(received, self._expected, self.labels)
        require_closeness(found, precision)
        return {
            "file": path.name,
            "quantization": precision,
            "bytes": len(content),
            "gzip_bytes": len(gzip.compress(content, 9)),
            **_quality(received, self.labels),
            "accuracy_interval": found.file_accuracy["interval"],
            "accuracy_difference": found.accuracy_difference,
            "agreement": found.agreement,
            "mean_distance": found.mean_distance,
            "max_difference": found.max_difference,
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


def _quality(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    return {
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == labels)),
        "ece": float(expected_calibration_error(probabilities, labels)),
        "nll": float(negative_log_likelihood(probabilities, labels)),
    }
