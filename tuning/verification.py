"""Holding an exported file against the Keras model it was made from."""

import logging
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from recipes.errors import DataError, RecipesError
from recipes.evaluation.classifier import Classifier, LiteRTClassifier
from recipes.evaluation.metrics import accuracy_difference, wilson_interval

_LOG = logging.getLogger("keras_recipes.export")
# How far one probability of a file may lie from that of the Keras model. float32 differs by the
# order of additions alone, float16 by the rounding of weights to 11 bits.
LARGEST_DIFFERENCE = {"float32": 1e-4, "float16": 5e-2}
# Where weights or activations are integers, single images near a class border may move, but not the
# whole: the total variation distance of the probabilities, as a mean over images.
LARGEST_MEAN_DISTANCE = {
    "float32": 0.02,
    "float16": 0.05,
    "dynamic": 0.15,
    "weight-only-int8": 0.15,
    "weight-only-int4": 0.25,
    "int8": 0.25,
    "int8-only": 0.25,
    "16x8": 0.15,
}


@dataclass(frozen=True)
class Verification:
    """What a file computes, compared with what the Keras model computes on the same images.

    Attributes:
        images: How many images.
        max_difference: The largest difference of one probability.
        mean_distance: Mean total variation distance of the probabilities, in [0, 1].
        agreement: Share of images for which both name the same class.
        file_accuracy: Of the file: `{"value", "interval"}` (Wilson, 95 %); `None` without labels.
        keras_accuracy: The same of the Keras model.
        accuracy_difference: File minus Keras model, paired; see `recipes.evaluation.metrics`.
    """

    images: int
    max_difference: float
    mean_distance: float
    agreement: float
    file_accuracy: dict[str, Any] | None = None
    keras_accuracy: dict[str, Any] | None = None
    accuracy_difference: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all as plain types."""
        return asdict(self)


def compare_probabilities(
    received: np.ndarray, expected: np.ndarray, labels: np.ndarray | None = None
) -> Verification:
    """Compare the probabilities of a file with those of the model.

    Args:
        received: Of the file, shape `(n, classes)`.
        expected: Of the Keras model on the same images.
        labels: The true classes, integers of shape `(n,)`.

    Raises:
        DataError: If there is no image, or the labels are of another length.

    Example:
        >>> found = compare_probabilities(np.array([[0.6, 0.4]]), np.array([[0.7, 0.3]]))
        >>> round(found.max_difference, 6), round(found.mean_distance, 6), found.agreement
        (0.1, 0.1, 1.0)
    """
    if not len(expected):
        raise DataError("no images to compare the file and the model on")
    differences = np.abs(np.asarray(received, np.float64) - expected)
    answers, wanted = received.argmax(axis=1), expected.argmax(axis=1)
    figures = {
        "images": len(expected),
        "max_difference": float(differences.max()),
        "mean_distance": float(differences.sum(axis=1).mean() / 2),
        "agreement": float(np.mean(answers == wanted)),
    }
    if labels is None:
        return Verification(**figures)
    labels = np.asarray(labels)
    if labels.shape != (len(expected),):
        raise DataError(
            f"labels must have the shape ({len(expected)},) of the images, received {labels.shape}"
        )
    return Verification(
        **figures,
        file_accuracy=_accuracy(answers == labels),
        keras_accuracy=_accuracy(wanted == labels),
        accuracy_difference=accuracy_difference(answers == labels, wanted == labels),
    )


def verify_tflite(
    path: str | os.PathLike,
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    precision: str = "float32",
    expected: np.ndarray | None = None,
) -> Verification:
    """Run a file in the LiteRT interpreter and compare it with the model.

    Args:
        path: The `.tflite` file.
        classifier: The Keras model, in float32.
        images: Real images, shape `(n, H, W, C)`, values in `[0, 255]`.
        labels: Their classes, for the accuracies.
        precision: What the file is; it decides the tolerance.
        expected: The probabilities of the model, where they are known already.

    Raises:
        RecipesError: If the file does not run, or lies outside the tolerance (`LARGEST_DIFFERENCE`,
            `LARGEST_MEAN_DISTANCE`).
    """
    try:
        received = LiteRTClassifier(path).predict(images)
    except RecipesError as error:
        reason = str(error).replace(str(path), "it")
        raise RecipesError(
            f"the {precision} TFLite file of the model is wrong: {reason}"
        ) from error
    expected = classifier.predict(images) if expected is None else expected
    found = compare_probabilities(received, expected, labels)
    _LOG.info(
        "%s file against the Keras model on %d images: largest difference %.2g, agreement %.3f",
        *(precision, found.images, found.max_difference, found.agreement),
    )
    limit = LARGEST_DIFFERENCE.get(precision, np.inf)
    if found.max_difference > limit:
        raise RecipesError(
            f"the {precision} TFLite file differs from the model by {found.max_difference:.2g} "
            f"in a probability, more than {limit:g}; not written"
        )
    require_closeness(found, precision)
    return found


def require_closeness(found: Verification, precision: str) -> None:
    """Raise `RecipesError` if a file computes something else than the model, over all images."""
    limit = LARGEST_MEAN_DISTANCE[precision]
    if found.mean_distance > limit:
        raise RecipesError(
            f"the {precision} TFLite file does not compute what the model does: total variation "
            f"distance of the probabilities {found.mean_distance:.2f}, more than {limit:g}, top-1 "
            f"agreement {found.agreement:.2f}; not written. Are the calibration images like the "
            "training images?"
        )


def _accuracy(correct: np.ndarray) -> dict[str, Any]:
    return {
        "value": float(correct.mean()),
        "interval": list(wilson_interval(int(correct.sum()), len(correct))),
    }
