"""What the files of `compress` are worth, on validation images and, at the end, on test images."""

import gzip
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recipes.evaluation.classifier import LiteRTClassifier
from recipes.evaluation.metrics import accuracy_difference, wilson_interval
from tuning.accuracy_aware import Measure
from tuning.flatbuffer import inspect_tflite

if TYPE_CHECKING:
    from recipes.data import ImageData
    from recipes.data.image_data import Split

_CHUNK = 512
# Distortions are means over this many validation images: enough to rank operations by.
_RANKED_ON = 512
# A probability of 0 in a file must not make a divergence infinite.
_SMALLEST = 1e-7


class Exam:
    """The images that files are measured on, and what the float file makes of them.

    Args:
        data: With validation images, and perhaps test images.
        reference: The float file.
        threads: Of the interpreter.
    """

    def __init__(self, data: "ImageData", reference: Path, threads: int = 1):
        self._splits = data.splits
        self._reference = reference
        self._threads = threads
        self._expected: dict[str, np.ndarray] = {}

    def measure(self, path: Path, split: str) -> dict[str, Any]:
        """Return accuracy, its interval, and both against the float file on the same images."""
        images = self._splits[split]
        labels = np.asarray(images.labels)
        correct = self._probabilities(path, images).argmax(axis=1) == labels
        expected = self._float(split).argmax(axis=1) == labels
        paired = accuracy_difference(correct, expected)
        return {
            "images": len(labels),
            "accuracy": float(correct.mean()),
            "interval": list(wilson_interval(int(correct.sum()), len(labels))),
            "difference": paired["difference"],
            "difference_interval": paired["interval"],
        }

    def distance(self, path: Path) -> Measure:
        """Return how far a file is from the float one, on all validation images."""
        images = self._splits["validation"]
        labels = np.asarray(images.labels)
        probabilities, expected = self._probabilities(path, images), self._float("validation")
        right = [np.mean(found.argmax(axis=1) == labels) for found in (expected, probabilities)]
        return Measure(float(right[0] - right[1]), divergence(expected, probabilities))

    def distortion(self, path: Path) -> float:
        """Return the divergence from the float file on some of the validation images."""
        images = self._splits["validation"]
        indices = _spread(len(images), _RANKED_ON)
        probabilities = LiteRTClassifier(path, self._threads).predict(images.load(indices))
        return divergence(self._float("validation")[indices], probabilities)

    def _float(self, split):
        if split not in self._expected:
            self._expected[split] = self._probabilities(self._reference, self._splits[split])
        return self._expected[split]

    def _probabilities(self, path: Path, images: "Split") -> np.ndarray:
        classifier = LiteRTClassifier(path, self._threads)
        starts = range(0, len(images), _CHUNK)
        chunks = [np.arange(start, min(start + _CHUNK, len(images))) for start in starts]
        return np.concatenate([classifier.predict(images.load(chunk)) for chunk in chunks])


def divergence(expected: np.ndarray, received: np.ndarray) -> float:
    """Return the mean Kullback-Leibler divergence of probabilities from expected ones, nats.

    Args:
        expected: Shape `(images, classes)`, rows sum to 1.
        received: Likewise.

    Example:
        >>> round(divergence(np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])), 4)
        0.1438
    """
    expected = np.clip(np.asarray(expected, np.float64), _SMALLEST, 1)
    received = np.clip(np.asarray(received, np.float64), _SMALLEST, 1)
    return float(np.mean(np.sum(expected * np.log(expected / received), axis=1)))


def file_facts(path: str | os.PathLike) -> dict[str, Any]:
    """Return what a file is: bytes, gzip bytes, SHA-256, operations left in float."""
    content = Path(path).read_bytes()
    operations = inspect_tflite(path)
    names = dict(operations["float_operation_names"])
    # The softmax at the end is float by intention in every file: 256 levels are too few for it.
    names["SOFTMAX"] = names.get("SOFTMAX", 0) - 1
    names = {name: count for name, count in names.items() if count > 0}
    return {
        "bytes": len(content),
        "gzip_bytes": len(gzip.compress(content, 9, mtime=0)),
        "sha256": hashlib.sha256(content).hexdigest(),
        "operations": operations["operations"],
        "float_operations": sum(names.values()),
        "float_operation_names": names,
        "flex_operations": operations["flex_operations"],
    }


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
