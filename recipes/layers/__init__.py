"""Keras layers. Importing this package registers them, so that saved models load."""

from recipes.layers.block import Block
from recipes.layers.calibrated_softmax import CalibratedSoftmax
from recipes.layers.channel_normalization import ChannelNormalization
from recipes.layers.channels import make_divisible
from recipes.layers.fused_batch_normalization import FusedBatchNormalization
from recipes.layers.scale import Scale
from recipes.layers.stochastic_depth import StochasticDepth

__all__ = [
    "Block",
    "CalibratedSoftmax",
    "ChannelNormalization",
    "FusedBatchNormalization",
    "Scale",
    "StochasticDepth",
    "make_divisible",
]
