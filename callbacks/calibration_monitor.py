"""Calibration measured epoch by epoch."""

import numpy as np

from callbacks import calibration
from callbacks._arguments import whole
from callbacks._measure_names import CALIBRATION_NAMES
from callbacks._measured import EpochMeasures


def calibration_measures(probabilities, labels, bins=15) -> dict[str, float]:
    """Return everything that says how well confidences match outcomes, as plain floats.

    Args:
        probabilities: Shape `(images, classes)`, rows sum to 1.
        labels: True classes, integers, shape `(images,)`.
        bins: Number of bins, at least 1.

    Returns:
        `ece`, `adaptive_ece`, `classwise_ece`, `mce` (all in [0, 1]), `brier` (0 to 2), `nll`
        (nats an image), `temperature` (that `fit_temperature` would give, on these same images:
        above 1 is overconfident), and `ece_noise`: the 95 % quantile of the `ece` that chance gives
        a perfectly calibrated model of these confidences.

    Raises:
        ValueError: If the probabilities, the labels or `bins` cannot be used.

    Example:
        >>> measures = calibration_measures([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1])
        >>> round(measures["ece"], 4), round(measures["brier"], 4)
        (0.3, 0.2733)
    """
    probabilities, labels = calibration.check_predictions(probabilities, labels)
    # Softmax undoes the logarithm, so these are logits of the same probabilities.
    logits = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    return {
        "ece": calibration.expected_calibration_error(probabilities, labels, bins),
        "adaptive_ece": calibration.adaptive_calibration_error(probabilities, labels, bins),
        "classwise_ece": calibration.classwise_calibration_error(probabilities, labels, bins),
        "mce": calibration.maximum_calibration_error(probabilities, labels, bins),
        "brier": calibration.brier_score(probabilities, labels),
        "nll": calibration.negative_log_likelihood(probabilities, labels),
        "temperature": calibration.fit_temperature(logits, labels).temperature,
        "ece_noise": calibration.ece_noise_floor(probabilities, bins).upper,
    }


class CalibrationMonitor(EpochMeasures):
    """Put every calibration measure of the validation images into the epoch's logs.

    Reads what `Validation` predicted, so it costs no pass of its own: name it after that one, and
    before the callbacks that read the logs. Each measure of `calibration_measures` is logged under
    its name with `val_` before it, such as `val_adaptive_ece`; all are NaN in an epoch whose
    predictions were not finite.

    Args:
        validation: The `Validation` that predicts.
        bins: Number of bins, at least 1.

    Attributes:
        epochs: For each epoch the dictionary of `calibration_measures`, or `None`.

    Example:
        >>> from callbacks import Validation
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
        >>> model.compile(loss="mse")
        >>> images = tf.data.Dataset.from_tensors(np.eye(2, dtype="float32"))
        >>> validation = Validation(images, [0, 1])
        >>> monitor = CalibrationMonitor(validation)
        >>> history = model.fit(np.eye(2), np.eye(2), verbose=0, callbacks=[validation, monitor])
        >>> "val_adaptive_ece" in history.history
        True
    """

    def __init__(self, validation, bins=15):
        super().__init__(validation)
        self.bins = whole("bins", bins, 1)

    def on_epoch_end(self, epoch, logs=None):
        """Measure the newest predictions."""
        probabilities = self.validation.probabilities
        if probabilities is None:
            self._note(epoch, None)
            logs.update({f"val_{name}": float("nan") for name in CALIBRATION_NAMES})
            return
        measures = calibration_measures(probabilities, self.validation.labels, self.bins)
        self._note(epoch, measures)
        logs.update({f"val_{name}": value for name, value in measures.items()})
