"""Keras layers. Importing this package registers them, so that saved models load."""

from recipes.layers.activations import activation_layer
from recipes.layers.block import Block
from recipes.layers.calibrated_softmax import CalibratedSoftmax
from recipes.layers.channel_normalization import ChannelNormalization
from recipes.layers.channel_pooling import ChannelPooling
from recipes.layers.channels import make_divisible
from recipes.layers.convolutional_block_attention import (
    ChannelAttention,
    ConvolutionalBlockAttention,
    SpatialAttention,
)
from recipes.layers.efficient_channel_attention import EfficientChannelAttention
from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.layers.layer_scale import LayerScale
from recipes.layers.scale import Scale
from recipes.layers.squeeze_excite import SqueezeExcite
from recipes.layers.stochastic_depth import StochasticDepth

__all__ = [
    "Block",
    "CalibratedSoftmax",
    "ChannelAttention",
    "ChannelNormalization",
    "ChannelPooling",
    "ConvolutionalBlockAttention",
    "EfficientChannelAttention",
    "FusedBatchNormalization",
    "LayerScale",
    "Scale",
    "SpatialAttention",
    "SqueezeExcite",
    "StochasticDepth",
    "activation_layer",
    "make_divisible",
]
