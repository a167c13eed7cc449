"""One pass over held-out images an epoch: loss, accuracy, calibration, recall of each class."""

import contextlib

import keras
import numpy as np

from callbacks._measured import VALIDATION_NAMES
from callbacks.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    softmax,
)


def recall_by_class(predicted: np.ndarray, labels: np.ndarray, classes: int) -> list[float | None]:
    """Return the share of each class that was recognised; `None` for a class without images.

    Args:
        predicted: Predicted class indices, integers of shape `(images,)`.
        labels: True class indices, integers of shape `(images,)`.
        classes: Number of classes.

    Example:
        >>> recall_by_class(np.array([0, 1, 1]), np.array([0, 0, 1]), 3)
        [0.5, 1.0, None]
    """
    total = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[predicted == labels], minlength=classes)
    return [float(r / t) if t else None for r, t in zip(right, total, strict=True)]


class Validation(keras.callbacks.Callback):
    """Measure the model on held-out images at the end of each epoch, in place of `validation_data`.

    Puts `val_loss` (negative log-likelihood in nats, without label smoothing or class weights),
    `val_accuracy`, `val_ece` and `val_worst_recall` (the lowest recall of a class that has images)
    into the epoch's logs, where later callbacks read them: name it before `EarlyStopping`. `recall`
    holds the recall of each class of the newest epoch, and `probabilities` what was predicted, for
    callbacks that measure more, such as `PerClass`.

    Args:
        images: `tf.data.Dataset` of batches of images alone, in a fixed order.
        labels: True class indices in that order, integers of shape `(images,)`.
        from_logits: Whether the model gives logits rather than probabilities.
        average: A `WeightAverage` whose weights are to be measured, or `None`.
    """

    def __init__(self, images, labels, *, from_logits=True, average=None):
        super().__init__()
        self.images = images
        self.labels = np.asarray(labels)
        self.from_logits = from_logits
        self.average = average
        self.recall = None
        self.probabilities = None

    def on_epoch_end(self, epoch, logs=None):
        """Add the measures to `logs`."""
        swapped = self.average.swapped_in() if self.average else contextlib.nullcontext()
        with swapped:
            outputs = np.asarray(self.model.predict(self.images, verbose=0), np.float64)
        if len(outputs) != len(self.labels):
            raise ValueError(f"Validation got {len(self.labels)} labels for {len(outputs)} images")
        if not np.isfinite(outputs).all():
            # Measures of a diverged model are not numbers; early stopping knows what to do.
            logs.update(dict.fromkeys(VALIDATION_NAMES, float("nan")))
            self.recall = [None] * outputs.shape[1]
            self.probabilities = None
            return
        probabilities = softmax(outputs) if self.from_logits else outputs
        predicted = probabilities.argmax(axis=1)
        self.probabilities = probabilities
        self.recall = recall_by_class(predicted, self.labels, probabilities.shape[1])
        logs["val_loss"] = float(negative_log_likelihood(probabilities, self.labels))
        logs["val_accuracy"] = float((predicted == self.labels).mean())
        logs["val_ece"] = float(expected_calibration_error(probabilities, self.labels))
        logs["val_worst_recall"] = min(share for share in self.recall if share is not None)
