"""What the callbacks that measure held-out images have in common."""

import keras

# What `Validation` adds to the logs of an epoch.
VALIDATION_NAMES = ("val_loss", "val_accuracy", "val_ece", "val_worst_recall")
# What `CalibrationMonitor` measures; it logs each with `val_` before its name.
CALIBRATION_NAMES = (
    *("ece", "adaptive_ece", "classwise_ece", "mce", "brier", "nll", "temperature", "ece_noise"),
)


class EpochMeasures(keras.callbacks.Callback):
    """Base of the callbacks that keep an entry for each epoch of what `Validation` predicted.

    Args:
        validation: The `Validation` that predicts.
    """

    def __init__(self, validation):
        super().__init__()
        self.validation = validation
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        """Forget what an earlier `fit` measured at this epoch and later ones."""
        del self.epochs[epoch:]

    def state(self) -> tuple[dict, list]:
        """Return what a resumed run needs: JSON values, and no arrays."""
        return {"epochs": self.epochs}, []

    def restore(self, values: dict, arrays: list) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.epochs = list(values["epochs"])
