"""The parts of residual networks, shared by ResNet, Wide ResNet and the plain networks."""

import dataclasses
from collections.abc import Callable

import keras

from recipes.layers import ConvolutionalBlockAttention, EfficientChannelAttention, SqueezeExcite
from recipes.layers.stochastic_depth import StochasticDepth
from recipes.models import _common as common

# The last convolution of a bottleneck has four times as many channels as the stage is wide.
EXPANSION = {"basic": 1, "bottleneck": 4}

# Channel and spatial attention that can stand at the end of a residual branch.
ATTENTION = {
    "se": lambda name: SqueezeExcite(ratio=16, name=f"{name}_se"),
    "eca": lambda name: EfficientChannelAttention(name=f"{name}_eca"),
    "cbam": lambda name: ConvolutionalBlockAttention(ratio=16, name=f"{name}_cbam"),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the blocks of one network are made.

    Attributes:
        block: "basic", two 3x3 convolutions; or "bottleneck", 1x1, 3x3 and 1x1.
        version: "v1", activation after the addition, and bottlenecks that stride on their first
            convolution; "v1.5", the same but striding on the 3x3 convolution; "d", as v1.5 with
            a pooling shortcut; "v2", activation before the convolutions.
        shortcut: "A", "B", or `None` for a plain network, which has none.
        initializer: Of the kernels; see `_common.convolution`.
        zero_init: Whether each residual branch starts at 0.
        drop_step: By how much the probability of dropping a branch grows from block to block.
        dropout: Rate of dropout between the two convolutions of a basic v2 block.
        attention: A key of `ATTENTION`, or `None`.
        inner_factor: By how much the inner convolutions of bottlenecks are widened.
    """

    block: str
    version: str
    shortcut: str | None
    initializer: str | Callable
    zero_init: bool = False
    drop_step: float = 0.0
    dropout: float = 0.0
    attention: str | None = None
    inner_factor: int = 1

    @property
    def preactivated(self):
        """Whether activations come before convolutions."""
        return self.version == "v2"


def small_stem(x, plan, width):
    """Return `x` through the 3x3 convolution that networks for small images begin with."""
    return _unit(x, plan, width, 3, name="stem")


def large_stem(x, plan, width):
    """Return `x` through the stem for large images: a quarter of their height and width.

    A 7x7 convolution, or three of 3x3 in version "d" (half as wide but for the last), and pooling.
    """
    if plan.version == "d":
        x = _unit(x, plan, width // 2, 3, strides=2, name="stem", number=1)
        x = _unit(x, plan, width // 2, 3, name="stem", number=2)
        x = _unit(x, plan, width, 3, name="stem", number=3)
    else:
        x = _unit(x, plan, width, 7, strides=2, name="stem")
    # Nothing is below 0 after the ReLU, so padding with 0 is padding with minus infinity.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    return keras.layers.MaxPooling2D(3, strides=2, name="stem_pool")(x)


def stages(x, plan, blocks, widths):
    """Return `x`, the output of a stem, through all blocks.

    Args:
        x: Feature map.
        plan: How to make the blocks.
        blocks: Number of blocks in each stage. All stages but the first halve height and width.
        widths: Width of each stage.
    """
    done = 0
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        for number in range(1, count + 1):
            strides = 2 if number == 1 and stage > 1 else 1
            name = f"stage{stage}_block{number}"
            done += 1
            drop = plan.drop_step * done
            if plan.preactivated:
                # What comes from the stem is activated already.
                activate = done > 1
                x = _preactivated_block(x, plan, width, strides, drop, activate, name=name)
            else:
                x = _block(x, plan, width, strides, drop, name=name)
    if plan.preactivated:
        x = _activated(x, name="head")
    return x


def classifier(x, classes, dropout, classifier_activation):
    """Return class probabilities or logits from the last feature map."""
    x = common.pool(x, "avg")
    x = common.dropout_layer(x, dropout, name="head_dropout", dtype="float32")
    logits = keras.layers.Dense(classes, dtype="float32", name="logits")(x)
    return common.activation(logits, classifier_activation)


def _unit(x, plan, width, size, *, strides=1, name, number=""):
    """Return a convolution, batch normalisation and ReLU of `x`."""
    x = common.convolution(
        x,
        width,
        size,
        strides=strides,
        initializer=plan.initializer,
        name=f"{name}_conv{number}",
    )
    return _activated(x, name=name, number=number)


def _activated(x, *, name, number=""):
    """Return batch normalisation and ReLU of `x`."""
    x = common.batch_normalization(x, name=f"{name}_bn{number}")
    return common.relu(x, name=f"{name}_relu{number}")


def _branch_convolutions(plan, width, strides):
    """Return width, kernel size and strides of each convolution of a residual branch."""
    if plan.block == "basic":
        return (width, 3, strides), (width, 3, 1)
    inner, outer = width * plan.inner_factor, width * EXPANSION["bottleneck"]
    first, second = (strides, 1) if plan.version == "v1" else (1, strides)
    return (inner, 1, first), (inner, 3, second), (outer, 1, 1)


def _block(x, plan, width, strides, drop, *, name):
    """Return `x` through a block whose ReLU comes after the addition."""
    *inner, (channels, size, last_strides) = _branch_convolutions(plan, width, strides)
    residual = x
    for number, (inner_width, inner_size, step) in enumerate(inner, start=1):
        residual = _unit(
            residual, plan, inner_width, inner_size, strides=step, name=name, number=number
        )
    number = len(inner) + 1
    residual = common.convolution(
        residual,
        channels,
        size,
        strides=last_strides,
        initializer=plan.initializer,
        name=f"{name}_conv{number}",
    )
    residual = common.batch_normalization(
        residual, zero_gamma=plan.zero_init, name=f"{name}_bn{number}"
    )
    residual = _end_branch(residual, plan, drop, name=name)
    if plan.shortcut is None:
        return common.relu(residual, name=f"{name}_relu")
    shortcut = x
    if strides > 1 or x.shape[-1] != channels:
        shortcut = _SHORTCUTS[plan.shortcut](x, plan, channels, strides, name=name)
    x = keras.layers.Add(name=f"{name}_add")([residual, shortcut])
    return common.relu(x, name=f"{name}_relu")


def _preactivated_block(x, plan, width, strides, drop, activate, *, name):
    """Return `x` through a block whose activations come before its convolutions.

    Where the block changes the shape, the shortcut starts behind the first activation, as in the
    authors' code; elsewhere it is the identity.
    """
    convolutions = _branch_convolutions(plan, width, strides)
    channels = convolutions[-1][0]
    changes = strides > 1 or x.shape[-1] != channels
    shortcut = residual = x
    if activate:
        residual = _activated(x, name=name, number=1)
        shortcut = residual if changes else x
    for number, (inner_width, size, step) in enumerate(convolutions, start=1):
        last = number == len(convolutions)
        if number > 1:
            residual = _activated(residual, name=name, number=number)
        if last:
            residual = common.dropout_layer(residual, plan.dropout, name=f"{name}_dropout")
        residual = common.convolution(
            residual,
            inner_width,
            size,
            strides=step,
            initializer="zeros" if last and plan.zero_init else plan.initializer,
            name=f"{name}_conv{number}",
        )
    residual = _end_branch(residual, plan, drop, name=name)
    if changes:
        shortcut = _SHORTCUTS[plan.shortcut](shortcut, plan, channels, strides, name=name)
    return keras.layers.Add(name=f"{name}_add")([residual, shortcut])


def _end_branch(residual, plan, drop, *, name):
    if plan.attention:
        residual = ATTENTION[plan.attention](name).inline(residual)
    if drop:
        residual = StochasticDepth(drop, name=f"{name}_drop")(residual)
    return residual


def _padded_shortcut(x, plan, channels, strides, *, name):
    if strides > 1:
        # Pooling over single pixels takes every second one.
        x = keras.layers.AveragePooling2D(1, strides=strides, name=f"{name}_shortcut_subsample")(x)
    extra = channels - x.shape[-1]
    if not extra:
        return x
    # Told that the channels come first, the layer pads the last two axes: width, by nothing, and
    # the channels. So a stock layer does it, which every converter knows.
    return keras.layers.ZeroPadding2D(
        ((0, 0), (extra // 2, extra - extra // 2)),
        data_format="channels_first",
        name=f"{name}_shortcut_pad",
    )(x)


def _projected_shortcut(x, plan, channels, strides, *, name):
    if plan.version == "d" and strides > 1:
        # "Same" pooling averages over the pixels there are, at the edge of an odd size, too.
        x = keras.layers.AveragePooling2D(
            2, strides=strides, padding="same", name=f"{name}_shortcut_pool"
        )(x)
        strides = 1
    x = common.convolution(
        x,
        channels,
        1,
        strides=strides,
        initializer=plan.initializer,
        name=f"{name}_shortcut_conv",
    )
    if plan.preactivated:
        return x
    return common.batch_normalization(x, name=f"{name}_shortcut_bn")


_SHORTCUTS = {"A": _padded_shortcut, "B": _projected_shortcut}
