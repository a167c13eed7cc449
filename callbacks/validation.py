"""One pass over held-out images an epoch: loss, accuracy, calibration, recall of each class."""

import contextlib

import keras
import ml_dtypes
import numpy as np

from callbacks._measure_names import VALIDATION_NAMES
from callbacks._measured import check_model, contradicts
from callbacks._predictions import check_indices, check_labels, check_shape
from callbacks.calibration import (
    expected_calibration_error,
    negative_log_likelihood,
    softmax,
)

# How far rows of probabilities may be from a sum of 1: in half precision, and else.
_HALF, _WHOLE = 2e-2, 1e-5


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
        from_logits: Whether the model gives logits rather than probabilities. Probabilities in half
            precision, also if they were cast to float32 afterwards, are scaled to sum to 1.
        average: A `WeightAverage` whose weights are to be measured, or `None`.

    Raises:
        ValueError: If the labels are not such integers; when training begins, or with the first
            predictions, if they are no classes of the model or not one an image, or if
            `from_logits` is wrong.
    """

    def __init__(self, images, labels, *, from_logits=True, average=None):
        super().__init__()
        self.images = images
        self.labels = check_indices(labels)
        self.from_logits = from_logits
        self.average = average
        self.recall = None
        self.probabilities = None

    def on_train_begin(self, logs=None):
        """Look whether the labels fit the model, before time is spent."""
        check_model(self.model, self.labels)

    def on_epoch_end(self, epoch, logs=None):
        """Add the measures to `logs`."""
        swapped = self.average.swapped_in() if self.average else contextlib.nullcontext()
        with swapped:
            outputs = np.asarray(self.model.predict(self.images, verbose=0))
        check_shape(outputs.shape, "the model's outputs")
        if len(outputs) != len(self.labels):
            raise ValueError(f"Validation got {len(self.labels)} labels for {len(outputs)} images")
        check_labels(self.labels, outputs.shape)
        if not np.isfinite(outputs.astype(np.float64)).all():
            # Measures of a diverged model are not numbers; early stopping knows what to do.
            logs.update(dict.fromkeys(VALIDATION_NAMES, float("nan")))
            self.recall = [None] * outputs.shape[1]
            self.probabilities = None
            return
        probabilities = self._probabilities(outputs)
        predicted = probabilities.argmax(axis=1)
        self.probabilities = probabilities
        self.recall = recall_by_class(predicted, self.labels, probabilities.shape[1])
        logs["val_loss"] = float(negative_log_likelihood(probabilities, self.labels))
        logs["val_accuracy"] = float((predicted == self.labels).mean())
        logs["val_ece"] = float(expected_calibration_error(probabilities, self.labels))
        logs["val_worst_recall"] = min(share for share in self.recall if share is not None)

    def _probabilities(self, outputs):
        """Return float64 probabilities from what the model gave, in any precision."""
        half = _in_half_precision(outputs)
        outputs = outputs.astype(np.float64)
        sums = outputs.sum(axis=1, keepdims=True)
        are_shares = (outputs >= 0).all() and (abs(sums - 1) < (_HALF if half else _WHOLE)).all()
        if self.from_logits:
            if are_shares:
                raise contradicts("Validation", self.from_logits)
            return softmax(outputs)
        return outputs / sums if half and are_shares else outputs


def _in_half_precision(outputs):
    """Return whether all values are ones of half precision, whatever they were cast to since."""
    with np.errstate(over="ignore"):  # what float16 cannot hold is none of its values
        halves = (outputs.astype(kind) for kind in (ml_dtypes.bfloat16, np.float16))
        return any((outputs == half.astype(outputs.dtype)).all() for half in halves)
