"""Training callbacks for plain `model.fit`, and the arithmetic of calibration.

Names are resolved when first used, so that importing the package loads no TensorFlow.
"""

import importlib

_PLACES = {
    "AveragingRate": "callbacks.cyclic",
    "Bound": "callbacks.stopping_criteria",
    "BrierScore": "callbacks.streaming",
    "CalibrationMonitor": "callbacks.calibration_monitor",
    "Checkpoint": "callbacks.checkpoint",
    "CosineCycles": "callbacks.cyclic",
    "Curriculum": "callbacks.curriculum",
    "EarlyStopping": "callbacks.early_stopping",
    "ExpectedCalibrationError": "callbacks.streaming",
    "GeneralizationLoss": "callbacks.stopping_criteria",
    "GradientNorms": "callbacks.gradient_norms",
    "GradualUnfreezing": "callbacks.gradual_unfreezing",
    "MLflowLog": "callbacks.loggers",
    "OneCycle": "callbacks.one_cycle",
    "OneCycleMomentum": "callbacks.one_cycle",
    "PerClass": "callbacks.per_class",
    "Progress": "callbacks.progress",
    "ProgressQuotient": "callbacks.stopping_criteria",
    "ReduceOnPlateau": "callbacks.plateau",
    "RisingStrips": "callbacks.stopping_criteria",
    "RunLog": "callbacks.run_log",
    "Scaled": "callbacks.plateau",
    "SnapshotEnsemble": "callbacks.snapshot_ensemble",
    "StepDecay": "callbacks.step_decay",
    "StochasticWeightAverage": "callbacks.stochastic_weight_average",
    "TemperatureScaling": "callbacks.temperature_scaling",
    "TensorBoardLog": "callbacks.loggers",
    "Validation": "callbacks.validation",
    "WandbLog": "callbacks.loggers",
    "WarmupDecay": "callbacks.schedules",
    "WeightAverage": "callbacks.weight_average",
    "adjust_priors": "callbacks.calibrators",
    "calibration_measures": "callbacks.calibration_monitor",
    "estimate_priors": "callbacks.calibrators",
    "expected_calibration_error": "callbacks.calibration",
    "find_batch_size": "callbacks.batch_size_finder",
    "find_learning_rate": "callbacks.learning_rate_finder",
    "fit_isotonic": "callbacks.calibrators",
    "fit_platt": "callbacks.calibrators",
    "fit_temperature": "callbacks.calibration",
    "fit_vector_scaling": "callbacks.calibrators",
    "reestimate_normalization": "callbacks.normalization_statistics",
    "scale_logits": "callbacks.temperature_scaling",
}
__all__ = sorted(_PLACES)


def __getattr__(name):
    """Import a public name from its module."""
    if name not in _PLACES:
        raise AttributeError(f"module 'callbacks' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__():
    return __all__
