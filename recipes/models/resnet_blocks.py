"""The parts of residual networks, shared by ResNet, Wide ResNet and the plain networks."""

import dataclasses
import functools

import keras

from recipes.layers import BasicResidual, BottleneckResidual, initializer
from recipes.models import _common as common

# The attention that can stand at the end of a residual branch: what its layers are called here,
# and the blocks' name for it.
ATTENTION = {"se": "squeeze_excite", "eca": "eca", "cbam": "cbam"}


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the blocks of one network are made.

    Attributes:
        block: "basic", two 3x3 convolutions; or "bottleneck", 1x1, 3x3 and 1x1.
        version: That of the blocks; or "d", as "v1.5" with a pooling shortcut and a deep stem.
        shortcut: "A", "B", or `None` for a plain network, which has none.
        initialization: Of the kernels; see `recipes.layers.initializer`.
        zero_init: Whether each residual branch starts at 0.
        drop_step: By how much the probability of dropping a branch grows from block to block.
        dropout: Rate of dropout before the last convolution of each block.
        attention: A key of `ATTENTION`, or `None`.
        widening: By how much the inner convolutions of bottlenecks are widened.
    """

    block: str
    version: str
    shortcut: str | None
    initialization: str
    zero_init: bool = False
    drop_step: float = 0.0
    dropout: float = 0.0
    attention: str | None = None
    widening: int = 1

    @property
    def preactivated(self):
        """Whether activations come before convolutions."""
        return self.version == "v2"

    def residual(self, width, place, **arguments):
        """Return the block at a place, counted from 1 through all stages.

        Args:
            width: Width of its stage.
            place: Its number.
            **arguments: More arguments of the block.
        """
        arguments |= {
            "version": self.version,
            "shortcut": self.shortcut,
            "attention": ATTENTION.get(self.attention),
            "dropout": self.dropout,
            "stochastic_depth": self.drop_step * place,
            "zero_init_residual": self.zero_init,
            # The stem ends in an activation.
            "activated_inputs": self.preactivated and place == 1,
            "initialization": self.initialization,
        }
        if self.version == "d":
            arguments |= {"version": "v1.5", "shortcut": "D"}
        if self.block == "basic":
            return BasicResidual(width, **arguments)
        return BottleneckResidual(width, widening=self.widening, **arguments)


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
    place = 0
    for stage, (count, width) in enumerate(zip(blocks, widths, strict=True), start=1):
        for number in range(1, count + 1):
            place += 1
            strides = 2 if number == 1 and stage > 1 else 1
            name = f"stage{stage}_block{number}"
            x = plan.residual(width, place, strides=strides, name=name).inline(x)
    return _activated(x, name="head") if plan.preactivated else x


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
        initializer=functools.partial(initializer, plan.initialization),
        name=f"{name}_conv{number}",
    )
    return _activated(x, name=name, number=number)


def _activated(x, *, name, number=""):
    """Return batch normalisation and ReLU of `x`."""
    x = common.batch_normalization(x, name=f"{name}_bn{number}")
    return common.relu(x, name=f"{name}_relu{number}")
