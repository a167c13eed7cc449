"""Judging a classifier: metrics, the finished model, the report. Importing it loads nothing heavy.

Each public name is imported from its module when it is first used, so that `recipes report` needs
no TensorFlow.
"""

import importlib

_MODULES = {
    "classification_metrics": "recipes.evaluation.metrics",
    "accuracy_difference": "recipes.evaluation.metrics",
    "confused_pairs": "recipes.evaluation.metrics",
    "wilson_interval": "recipes.evaluation.metrics",
    "write_comparison": "recipes.evaluation.compare_runs",
    "write_report": "recipes.evaluation.report",
    "load_classifier": "recipes.evaluation.classifier",
}

__all__ = sorted(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted([*globals(), *_MODULES])
