"""Image classifiers on Keras 3 and TensorFlow, from labelled images to a calibrated model.

Names are resolved when first used, so that importing the package loads no TensorFlow:

    from recipes import build_resnet, load_data, train
"""

import importlib

_PLACES = {
    "CalibratedSoftmax": "recipes.layers",
    "Comparison": "recipes.evaluation.comparison",
    "ClusterError": "recipes.errors",
    "ConfigError": "recipes.errors",
    "DataError": "recipes.errors",
    "Diagnosis": "recipes.diagnosis.diagnose",
    "Finding": "recipes.diagnosis.findings",
    "Evaluation": "recipes.evaluation.evaluation",
    "FusedBatchNormalization": "recipes.layers",
    "Preflight": "recipes.diagnosis.preflight",
    "PreflightCheck": "recipes.diagnosis.callback",
    "PreflightError": "recipes.diagnosis.findings",
    "Recipe": "recipes.config",
    "RecipesError": "recipes.errors",
    "Run": "recipes.run",
    "RunError": "recipes.errors",
    "ablate": "recipes.ablation",
    "accelerate": "recipes.models.accelerate",
    "advise": "recipes.transfer",
    "build_alexnet": "recipes.models",
    "build_convnext": "recipes.models",
    "build_efficientnet_lite": "recipes.models",
    "build_googlenet": "recipes.models",
    "build_mobilenet": "recipes.models",
    "build_mobilenet_v2": "recipes.models",
    "build_model": "recipes.models",
    "build_plain": "recipes.models",
    "build_resnet": "recipes.models",
    "build_resnet9": "recipes.models",
    "build_vgg": "recipes.models",
    "build_wide_resnet": "recipes.models",
    "check_data": "recipes.data",
    "diagnose": "recipes.diagnosis.diagnose",
    "compare": "recipes.evaluation.comparison",
    "diagram": "recipes.models.diagram",
    "ensemble": "recipes.ensembles",
    "evaluate": "recipes.evaluation.evaluate",
    "fine_tune": "recipes.transfer",
    "freeze": "recipes.transfer",
    "get_recipe": "recipes.catalog",
    "linear_probe": "recipes.transfer",
    "list_models": "recipes.models",
    "list_recipes": "recipes.catalog",
    "load_classifier": "recipes.evaluation.classifier",
    "load_data": "recipes.data",
    "load_weights": "recipes.weights",
    "model_info": "recipes.models.info",
    "open_devices": "recipes.distributed.devices",
    "predict": "recipes.evaluation.predict",
    "preflight": "recipes.diagnosis.preflight",
    "receptive_field": "recipes.models.receptive_field",
    "summarize": "recipes.models.summary",
    "train": "recipes.training",
    "transfer_model": "recipes.transfer",
    "unfreeze": "recipes.transfer",
    "write_comparison": "recipes.evaluation.compare_runs",
    "write_report": "recipes.evaluation.report",
}
__all__ = sorted(_PLACES)


def __getattr__(name):
    """Import a public name from its module."""
    if name not in _PLACES:
        raise AttributeError(f"module 'recipes' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__():
    return __all__
