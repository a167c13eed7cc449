"""Training callbacks for plain `model.fit`, and the arithmetic of calibration.

Names are resolved when first used, so that importing the package loads no TensorFlow.
"""

import importlib

_PLACES = {
    "Bound": "callbacks.stopping_criteria",
    "Checkpoint": "callbacks.checkpoint",
    "EarlyStopping": "callbacks.early_stopping",
    "GeneralizationLoss": "callbacks.stopping_criteria",
    "GradualUnfreezing": "callbacks.gradual_unfreezing",
    "PerClass": "callbacks.per_class",
    "Progress": "callbacks.progress",
    "ProgressQuotient": "callbacks.stopping_criteria",
    "RisingStrips": "callbacks.stopping_criteria",
    "Validation": "callbacks.validation",
    "WarmupDecay": "callbacks.schedules",
    "WeightAverage": "callbacks.weight_average",
    "expected_calibration_error": "callbacks.calibration",
    "fit_temperature": "callbacks.calibration",
}
__all__ = sorted(_PLACES)


def __getattr__(name):
    """Import a public name from its module."""
    if name not in _PLACES:
        raise AttributeError(f"module 'callbacks' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__():
    return __all__
