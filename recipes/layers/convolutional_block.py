"""What all blocks of convolutions share: how they pad, normalise, activate and start."""

import keras

from recipes.layers import _checks as checks
from recipes.layers.activations import ACTIVATIONS, activation_layer
from recipes.layers.block import Block
from recipes.layers.initializers import INITIALIZATIONS, initializer
from recipes.layers.normalizations import NORMALIZATIONS, normalization_layer


class ConvolutionalBlock(Block):
    """A block of convolutions with one kind of normalisation and activation throughout.

    Convolutions are padded evenly on all sides: with stride 2, the padding of Keras' "same"
    depends on the size of the image, and moves the samples by one pixel against the shortcut
    beside. They have a bias only where no normalisation follows.

    Args:
        norm: See `normalization_layer`.
        norm_groups: Number of groups for `norm="group"`.
        activation: See `activation_layer`; `None` for none.
        initialization: See `initializer`.
        **kwargs: Base layer arguments, such as `name`.
    """

    def __init__(self, norm, norm_groups, activation, initialization, **kwargs):
        super().__init__(**kwargs)
        checks.choice("norm", norm, NORMALIZATIONS)
        checks.positive_integer("norm_groups", norm_groups)
        if activation is not None:
            checks.choice("activation", activation, ACTIVATIONS)
        checks.choice("initialization", initialization, INITIALIZATIONS)
        self.norm = norm
        self.norm_groups = norm_groups
        self.activation = activation
        self.initialization = initialization

    def convolution(self, place, filters, size, strides=1, *, prefix="", zero=False):
        """Return the layers of a convolution: padding where needed, and itself.

        Args:
            place: End of its name, `{prefix}conv{place}`.
            filters: Number of output channels.
            size: Height and width of the kernel.
            strides: Step in both directions.
            prefix: Beginning of its name.
            zero: Whether the kernel starts at 0.
        """
        suffix = f"{prefix}conv{place}"
        layer = self.sublayer(
            keras.layers.Conv2D,
            suffix,
            filters,
            size,
            strides=strides,
            padding="same" if strides == 1 else "valid",
            use_bias=self.norm == "none",
            kernel_initializer=initializer("zeros" if zero else self.initialization),
        )
        return [*self._padding(suffix, size, strides), layer]

    def depthwise(self, size, strides):
        """Return the layers of a depthwise convolution, called `depthwise`."""
        layer = self.sublayer(
            keras.layers.DepthwiseConv2D,
            "depthwise",
            size,
            strides=strides,
            padding="same" if strides == 1 else "valid",
            use_bias=self.norm == "none",
            depthwise_initializer=initializer(self.initialization, depthwise=True),
        )
        return [*self._padding("depthwise", size, strides), layer]

    def _padding(self, suffix, size, strides):
        if strides == 1 or size == 1:
            return []
        return [self.sublayer(keras.layers.ZeroPadding2D, f"{suffix}_pad", size // 2)]

    def normalization(self, place, channels, *, prefix="", zero=False):
        """Return a list of the normalisation `bn{place}` or `norm{place}`, empty for "none"."""
        if self.norm == "none":
            return []
        kind = "bn" if self.norm == "batch" else "norm"
        layer = self.sublayer(
            normalization_layer,
            f"{prefix}{kind}{place}",
            self.norm,
            channels=channels,
            groups=self.norm_groups,
            zero_gamma=zero,
        )
        return [layer]

    def activate(self, place="", *, prefix=""):
        """Return a list of the activation, called by its kind, empty if there is none."""
        if self.activation is None:
            return []
        suffix = f"{prefix}{self.activation}{place}"
        return [self.sublayer(activation_layer, suffix, self.activation)]

    def unit(self, place, filters, size, strides=1, *, prefix=""):
        """Return the layers of convolution, normalisation and activation."""
        return [
            *self.convolution(place, filters, size, strides, prefix=prefix),
            *self.normalization(place, filters, prefix=prefix),
            *self.activate(place, prefix=prefix),
        ]

    def get_config(self):
        """Return every argument."""
        return {
            **super().get_config(),
            "norm": self.norm,
            "norm_groups": self.norm_groups,
            "activation": self.activation,
            "initialization": self.initialization,
        }


def chain(layers, inputs, apply):
    """Return the inputs after one layer after the other."""
    for layer in layers:
        inputs = apply(layer, inputs)
    return inputs
