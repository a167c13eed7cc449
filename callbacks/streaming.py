"""Calibration measures that `model.compile(metrics=[...])` takes, batch by batch."""

import keras
import numpy as np
from keras import ops

from callbacks._arguments import whole


class _Streaming(keras.metrics.Metric):
    """Sums over images of what a measure needs; float64, so that sums of many images stay exact."""

    def __init__(self, name, from_logits, dtype):
        super().__init__(name=name, dtype=dtype or "float64")
        self.from_logits = from_logits

    def _predictions(self, y_true, y_pred):
        """Return probabilities `(batch, classes)` in float64 and class indices `(batch,)`."""
        probabilities = ops.cast(y_pred, "float64")
        if len(probabilities.shape) != 2 or probabilities.shape[1] < 2:
            raise ValueError(
                f"{self.name} needs predictions of shape (batch, classes) with at least two "
                f"classes, received {tuple(probabilities.shape)}"
            )
        if self.from_logits:
            probabilities = ops.softmax(probabilities, axis=-1)
        y_true = ops.convert_to_tensor(y_true)
        if len(y_true.shape) == 2 and y_true.shape[1] == probabilities.shape[1]:
            return probabilities, ops.argmax(y_true, axis=-1)
        return probabilities, ops.reshape(ops.cast(y_true, "int32"), (-1,))

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "from_logits": self.from_logits}


def _weights(sample_weight, like):
    if sample_weight is None:
        return ops.ones_like(like)
    return ops.reshape(ops.cast(sample_weight, "float64"), (-1,))


@keras.saving.register_keras_serializable(package="keras_recipes")
class ExpectedCalibrationError(_Streaming):
    """The expected calibration error of the predicted class, as a Keras metric.

    Equal to `expected_calibration_error` over all images seen since the last reset, not a mean over
    batches. Works in distributed training and under mixed precision.

    Args:
        bins: Number of equal-width bins, closed on the right, at least 1.
        from_logits: Whether predictions are logits rather than probabilities.
        name: Name in the logs.
        dtype: Of the sums.

    Call arguments:
        y_true: Class indices, shape `(batch,)` or `(batch, 1)`, or one-hot rows `(batch, classes)`;
            of soft rows the largest entry counts.
        y_pred: Shape `(batch, classes)`.
        sample_weight: Non-negative weights of shape `(batch,)`, or `None`.

    Raises:
        ValueError: If `bins` is not a positive integer, or predictions have another shape.

    Example:
        >>> metric = ExpectedCalibrationError()
        >>> metric.update_state([0, 1, 1], [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> round(float(metric.result()), 4)
        0.3

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017, equation 5.
    """

    def __init__(self, bins=15, from_logits=False, name="ece", dtype=None):
        super().__init__(name, from_logits, dtype)
        self.bins = bins = whole("bins", bins, 1)
        self.gap = self.add_weight(shape=(bins,), initializer="zeros", dtype=self.dtype, name="gap")
        self.total = self.add_weight(shape=(), initializer="zeros", dtype=self.dtype, name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take in a batch."""
        probabilities, labels = self._predictions(y_true, y_pred)
        confidence = ops.minimum(ops.max(probabilities, axis=-1), 1.0)
        correct = ops.equal(
            ops.cast(ops.argmax(probabilities, axis=-1), "int32"), ops.cast(labels, "int32")
        )
        edges = np.linspace(0.0, 1.0, self.bins + 1)[1:-1]
        # The number of inner edges below: a confidence on an edge is in the bin that ends there.
        place = ops.sum(ops.cast(confidence[:, None] > edges, "int32"), axis=-1)
        weights = _weights(sample_weight, confidence)
        gap = weights * (ops.cast(correct, "float64") - confidence)
        self.gap.assign_add(
            ops.cast(
                ops.sum(gap[:, None] * ops.one_hot(place, self.bins, dtype="float64"), axis=0),
                self.dtype,
            )
        )
        self.total.assign_add(ops.cast(ops.sum(weights), self.dtype))

    def result(self):
        """Return the error so far; 0 before any image."""
        return ops.divide_no_nan(ops.sum(ops.abs(self.gap)), self.total)

    def get_config(self):
        """Return every argument."""
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable(package="keras_recipes")
class BrierScore(_Streaming):
    """The mean over images of `sum_k (p_k - y_k)^2`, as a Keras metric; 0 to 2.

    Equal to `brier_score` over all images seen since the last reset.

    Args:
        from_logits: Whether predictions are logits rather than probabilities.
        name: Name in the logs.
        dtype: Of the sums.

    Call arguments: as for `ExpectedCalibrationError`.

    Raises:
        ValueError: If predictions have another shape.

    Example:
        >>> metric = BrierScore()
        >>> metric.update_state([0, 1], [[0.9, 0.1], [0.4, 0.6]])
        >>> round(float(metric.result()), 4)
        0.17

    Source:
        Brier, "Verification of forecasts expressed in terms of probability", 1950, equation 2.
    """

    def __init__(self, from_logits=False, name="brier", dtype=None):
        super().__init__(name, from_logits, dtype)
        self.sum = self.add_weight(shape=(), initializer="zeros", dtype=self.dtype, name="sum")
        self.total = self.add_weight(shape=(), initializer="zeros", dtype=self.dtype, name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take in a batch."""
        probabilities, labels = self._predictions(y_true, y_pred)
        true = ops.one_hot(labels, probabilities.shape[1], dtype="float64")
        scores = ops.sum(ops.square(probabilities - true), axis=-1)
        weights = _weights(sample_weight, scores)
        self.sum.assign_add(ops.cast(ops.sum(weights * scores), self.dtype))
        self.total.assign_add(ops.cast(ops.sum(weights), self.dtype))

    def result(self):
        """Return the mean so far; 0 before any image."""
        return ops.divide_no_nan(self.sum, self.total)
