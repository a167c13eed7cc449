"""Image classifiers on Keras 3 and TensorFlow, from labelled images to a calibrated model.

Names are resolved when first used, so that importing the package loads no TensorFlow:

    from recipes import build_resnet, load_data, train
"""

import importlib

_PLACES = {
    "CalibratedSoftmax": "recipes.layers",
    "ConfigError": "recipes.errors",
    "DataError": "recipes.errors",
    "FusedBatchNormalization": "recipes.layers",
    "Recipe": "recipes.config",
    "RecipesError": "recipes.errors",
    "Run": "recipes.run",
    "RunError": "recipes.errors",
    "build_model": "recipes.models",
    "build_resnet": "recipes.models.resnet",
    "build_resnet9": "recipes.models.resnet9",
    "build_vgg": "recipes.models.vgg",
    "check_data": "recipes.data",
    "evaluate": "recipes.evaluation.evaluate",
    "get_recipe": "recipes.catalog",
    "list_models": "recipes.models",
    "list_recipes": "recipes.catalog",
    "load_classifier": "recipes.evaluation.classifier",
    "load_data": "recipes.data",
    "predict": "recipes.evaluation.predict",
    "train": "recipes.training",
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
