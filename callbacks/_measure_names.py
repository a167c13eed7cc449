"""Names of what the callbacks that measure held-out images add to the logs; needs no Keras."""

# What `Validation` adds to the logs of an epoch.
VALIDATION_NAMES = ("val_loss", "val_accuracy", "val_ece", "val_worst_recall")
# What `CalibrationMonitor` measures; it logs each with `val_` before its name.
CALIBRATION_NAMES = (
    "ece",
    "adaptive_ece",
    "classwise_ece",
    "mce",
    "brier",
    "nll",
    "temperature",
    "ece_noise",
)
