"""Searching for better recipes, and making small files of finished classifiers.

Importing this loads no TensorFlow.
"""

import importlib

_PUBLIC = {
    "CompressionReport": "tuning.compression_report",
    "DistillationLoss": "tuning.distillation",
    "LabelAccuracy": "tuning.distillation",
    "SearchResult": "tuning.search_report",
    "Space": "tuning.spaces",
    "allocate": "tuning.layer_sensitivity",
    "benchmark": "tuning.benchmarking",
    "cluster": "tuning.clustering",
    "compress": "tuning.compression",
    "default_space": "tuning.spaces",
    "describe_weights": "tuning.kernels",
    "distill": "tuning.distillation",
    "distillation_model": "tuning.distillation",
    "export_again": "tuning.pipeline",
    "export_onnx": "tuning.saved_model",
    "export_run": "tuning.export",
    "export_saved_model": "tuning.saved_model",
    "export_tflite": "tuning.tflite",
    "inspect_tflite": "tuning.flatbuffer",
    "prune": "tuning.pruning",
    "quantize_aware": "tuning.quantization",
    "replay": "tuning.compression",
    "resume_and_export": "tuning.pipeline",
    "search": "tuning.searching",
    "sensitivity": "tuning.layer_sensitivity",
    "train_and_export": "tuning.pipeline",
    "verify_tflite": "tuning.verification",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str):
    """Import a public name when it is first used (PEP 562)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
