"""Weights for models: from files of Keras, NumPy, PyTorch and safetensors, and of packages."""

from recipes.weights.loading import load_weights
from recipes.weights.normalization import IMAGENET, Normalization
from recipes.weights.npz_file import read_npz, save_npz
from recipes.weights.pretrained import Pretrained, cache_folder, pretrained
from recipes.weights.report import WeightsReport
from recipes.weights.safetensors_file import read_safetensors, write_safetensors
from recipes.weights.torch_file import read_torch
from recipes.weights.torch_layers import TorchLayer, assign_torch

__all__ = [
    "IMAGENET",
    "Normalization",
    "Pretrained",
    "TorchLayer",
    "WeightsReport",
    "assign_torch",
    "cache_folder",
    "load_weights",
    "pretrained",
    "read_npz",
    "read_safetensors",
    "read_torch",
    "save_npz",
    "write_safetensors",
]
