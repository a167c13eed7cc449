"""Pretrained weights: from files of Keras, NumPy, PyTorch and safetensors."""

from recipes.weights.report import WeightsReport
from recipes.weights.torch_layers import TorchLayer, assign_torch

__all__ = ["TorchLayer", "WeightsReport", "assign_torch"]
