"""Keras layers. Importing this package registers them, so that saved models load."""

from recipes.layers.activations import ACTIVATIONS, activation_layer
from recipes.layers.block import Block
from recipes.layers.blur_pooling import BlurPooling
from recipes.layers.calibrated_softmax import CalibratedSoftmax
from recipes.layers.channel_normalization import ChannelNormalization
from recipes.layers.channel_pooling import ChannelPooling
from recipes.layers.channels import make_divisible
from recipes.layers.conv_norm_activation import ConvNormActivation
from recipes.layers.convolutional_block import ConvolutionalBlock
from recipes.layers.convolutional_block_attention import (
    ChannelAttention,
    ConvolutionalBlockAttention,
    SpatialAttention,
)
from recipes.layers.depthwise_separable import DepthwiseSeparable
from recipes.layers.efficient_channel_attention import EfficientChannelAttention
from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.layers.generalized_mean_pooling import GeneralizedMeanPooling
from recipes.layers.inception import Inception
from recipes.layers.initializers import INITIALIZATIONS, initializer
from recipes.layers.inverted_residual import InvertedResidual
from recipes.layers.layer_scale import LayerScale
from recipes.layers.merge import GatedSum, Merge
from recipes.layers.monte_carlo_dropout import (
    MonteCarloDropout,
    monte_carlo_samples,
    with_monte_carlo_dropout,
)
from recipes.layers.non_local import NonLocal, PixelAttention
from recipes.layers.normalizations import NORMALIZATIONS, normalization_layer
from recipes.layers.plain_block import PlainBlock
from recipes.layers.residual import BasicResidual, BottleneckResidual
from recipes.layers.scale import Scale
from recipes.layers.squeeze_excite import SqueezeExcite
from recipes.layers.stochastic_depth import StochasticDepth

__all__ = [
    "ACTIVATIONS",
    "INITIALIZATIONS",
    "NORMALIZATIONS",
    "BasicResidual",
    "Block",
    "BlurPooling",
    "BottleneckResidual",
    "CalibratedSoftmax",
    "ChannelAttention",
    "ChannelNormalization",
    "ChannelPooling",
    "ConvNormActivation",
    "ConvolutionalBlock",
    "ConvolutionalBlockAttention",
    "DepthwiseSeparable",
    "EfficientChannelAttention",
    "FusedBatchNormalization",
    "GatedSum",
    "GeneralizedMeanPooling",
    "Inception",
    "InvertedResidual",
    "LayerScale",
    "Merge",
    "MonteCarloDropout",
    "NonLocal",
    "PixelAttention",
    "PlainBlock",
    "Scale",
    "SpatialAttention",
    "SqueezeExcite",
    "StochasticDepth",
    "activation_layer",
    "initializer",
    "make_divisible",
    "monte_carlo_samples",
    "normalization_layer",
    "with_monte_carlo_dropout",
]
