"""Transfer learning: a trained backbone, a new head, and what of it trains when.

Names are resolved when first used, so that importing the package loads no TensorFlow.
"""

import importlib

_PLACES = {
    "Advice": "recipes.transfer.advice",
    "LayerwiseAdamW": "recipes.transfer.rates",
    "LayerwiseSGD": "recipes.transfer.rates",
    "LinearProbe": "recipes.transfer.probe",
    "Trainable": "recipes.transfer.freezing",
    "advise": "recipes.transfer.advice",
    "cached_features": "recipes.transfer.probe",
    "feature_model": "recipes.transfer.probe",
    "fine_tune": "recipes.transfer.fine_tuning",
    "flatten_model": "recipes.transfer.flat",
    "freeze": "recipes.transfer.freezing",
    "gives_logits": "recipes.models.outputs",
    "head_model": "recipes.transfer.probe",
    "layer_groups": "recipes.transfer.freezing",
    "linear_probe": "recipes.transfer.probe",
    "rate_factors": "recipes.transfer.rates",
    "transfer_model": "recipes.transfer.model",
    "unfreeze": "recipes.transfer.freezing",
}
__all__ = sorted(_PLACES)


def __getattr__(name):
    """Import a public name from its module."""
    if name not in _PLACES:
        raise AttributeError(f"module 'recipes.transfer' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__():
    return __all__
