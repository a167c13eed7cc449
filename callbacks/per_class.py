"""What each class does over the epochs: loss, precision, recall, and where mistakes move."""

from collections.abc import Sequence

import numpy as np

from callbacks._measured import EpochMeasures
from callbacks._predictions import check_predictions
from callbacks.calibration import PROBABILITY_FLOOR


def class_measures(probabilities, labels) -> dict:
    """Measure each class on its own.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.

    Returns:
        Dictionary of lists with one entry a class, `None` where it is undefined: `loss` (mean
        negative log-likelihood of the class's images, nats), `precision` (undefined for a class
        never predicted) and `recall` (undefined, like the loss, for a class without images); and
        `confusion`, counts as nested lists: rows are true classes, columns predicted ones.

    Raises:
        ValueError: If the probabilities or the labels cannot be used.

    Example:
        >>> measures = class_measures([[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], [0, 1, 1])
        >>> measures["recall"], measures["precision"], measures["confusion"]
        ([1.0, 0.5], [0.5, 1.0], [[1, 0], [1, 1]])
    """
    probabilities, labels = check_predictions(probabilities, labels)
    classes = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    true = np.maximum(probabilities[np.arange(len(labels)), labels], PROBABILITY_FLOOR)
    confusion = np.bincount(labels * classes + predicted, minlength=classes**2)
    confusion = confusion.reshape(classes, classes)
    support, called = confusion.sum(axis=1), confusion.sum(axis=0)
    right = np.diag(confusion)
    loss = np.bincount(labels, -np.log(true), classes)
    return {
        "loss": _shares(loss, support),
        "precision": _shares(right, called),
        "recall": _shares(right, support),
        "confusion": confusion.tolist(),
    }


def confusion_drift(before, after) -> float:
    """Return the share of the images whose place in the confusion matrix moved, at least.

    Half the sum of the absolute differences of the two matrices, by their common number of images:
    0 if they are equal, 1 if no image need be where it was (total variation distance).

    Args:
        before: Counts, shape `(classes, classes)`.
        after: Counts of the same images, the same shape.

    Example:
        >>> confusion_drift([[2, 0], [1, 1]], [[1, 1], [1, 1]])
        0.25
    """
    before, after = np.asarray(before), np.asarray(after)
    return float(np.abs(after - before).sum() / (2 * before.sum()))


class PerClass(EpochMeasures):
    """Follow loss, precision and recall of each class, and how the confusions move, epoch by epoch.

    Reads what `Validation` predicted, so it costs no pass of its own: name it after that one. An
    epoch whose predictions were not finite gets an entry of `None`.

    Args:
        validation: The `Validation` that predicts.
        class_names: One name a class, for `summary`; default: their numbers.

    Attributes:
        epochs: For each epoch the dictionary of `class_measures`, with `worst` (index of the class
            of lowest recall) and `drift` (`confusion_drift` since the epoch before; `None` for the
            first), or `None`.

    Example:
        >>> from callbacks import Validation
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
        >>> model.compile(loss="mse")
        >>> images = tf.data.Dataset.from_tensors(np.eye(2, dtype="float32"))
        >>> validation = Validation(images, [0, 1])
        >>> classes = PerClass(validation, ["cat", "dog"])
        >>> history = model.fit(np.eye(2), np.eye(2), verbose=0, callbacks=[validation, classes])
        >>> len(classes.epochs)
        1
    """

    def __init__(self, validation, class_names: Sequence[str] | None = None):
        super().__init__(validation)
        self.class_names = class_names

    def on_epoch_end(self, epoch, logs=None):
        """Measure the newest predictions."""
        probabilities = self.validation.probabilities
        if probabilities is None:
            self._note(epoch, None)
            return
        measures = class_measures(probabilities, self.validation.labels)
        before = next((entry for entry in reversed(self.epochs) if entry), None)
        drift = confusion_drift(before["confusion"], measures["confusion"]) if before else None
        recalls = [
            (share, place) for place, share in enumerate(measures["recall"]) if share is not None
        ]
        self._note(epoch, {**measures, "worst": min(recalls)[1], "drift": drift})

    def summary(self) -> str:
        """Return a few lines on the newest epoch: the worst classes first."""
        newest = next((entry for entry in reversed(self.epochs) if entry), None)
        if newest is None:
            return "no epoch with finite predictions"
        names = self.class_names or [str(place) for place in range(len(newest["recall"]))]
        known = [place for place, share in enumerate(newest["recall"]) if share is not None]
        lines = [f"{'class':<20} recall  precision   loss"]
        for place in sorted(known, key=lambda place: newest["recall"][place]):
            precision = newest["precision"][place]
            shown = "–" if precision is None else f"{precision:.3f}"
            lines.append(
                f"{names[place]:<20} {newest['recall'][place]:6.3f}  {shown:>9}  "
                f"{newest['loss'][place]:5.3f}"
            )
        return "\n".join(lines)


def _shares(parts, wholes):
    return [
        float(part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True)
    ]
