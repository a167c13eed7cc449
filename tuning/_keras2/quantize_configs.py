"""Which results and weights of a tf_keras twin are rounded to 8 bits in training, and how.

TF-MOT's own table refuses `Multiply` and lone normalisations, leaves some layers float without a
word, and gives a depthwise kernel one scale for all channels where TFLite has one a channel. Its
wrapper is told here, layer by layer, what to round.
"""

import dataclasses

import tensorflow as tf

from tuning._keras2.guard import load_tf_mot

# Layers with a kernel: its attribute, and the axes of the numbers that share a scale.
KERNELS = {
    "Conv2D": ("kernel", (0, 1, 2)),
    "Conv2DTranspose": ("kernel", (0, 1, 3)),
    "DepthwiseConv2D": ("depthwise_kernel", (0, 1)),
    "Dense": ("kernel", (0,)),
}
# They hand on what they take, or some of it: TFLite gives input and output the same scale.
_PASSING = (
    *("Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise"),
    *("Flatten", "Reshape", "Permute", "ZeroPadding2D", "Cropping2D"),
    *("MaxPooling2D", "GlobalMaxPooling2D"),
)
# Their kernels in TFLite end in a ReLU at no cost, so nothing is rounded before it.
_ENDING_IN_RELU = ("Conv2D", "DepthwiseConv2D", "Dense", "Add")
# What TFLite fixes the range of these results at.
_FIXED = {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128), "softmax": (0.0, 255 / 256)}
_FLOAT = ("LayerNormalization", "GroupNormalization", "UnitNormalization")


@dataclasses.dataclass(frozen=True)
class Placement:
    """What is rounded of one layer.

    Attributes:
        kernel: Whether its kernel is, one scale an output channel.
        output: `None`: not its results; `"moving"`: within a range that follows them; or the two
            ends of a fixed range.
    """

    kernel: bool
    output: str | tuple[float, float] | None


def place(model, chosen) -> tuple[dict[str, Placement], dict[str, str]]:
    """Decide for each layer of a flat twin what is rounded.

    Args:
        model: Flat functional tf_keras model of one output.
        chosen: Names of the layers with a kernel that are to be quantized.

    Returns:
        `{layer: Placement}`, and `{layer: why it stays float}`.
    """
    placements, reasons, rounded = {}, {}, set()
    for layer in model.layers:
        name, kind = layer.name, type(layer).__name__
        before = {previous.name for previous in _producers(layer)}
        if kind == "InputLayer":
            rounded.add(name)
            continue
        takes_float = sorted(before - rounded)
        if kind in KERNELS and name not in chosen:
            reasons[name] = "not among the chosen layers"
            placements[name] = Placement(False, None)
            continue
        if kind not in KERNELS and takes_float:
            placements[name] = Placement(False, None)
            continue
        if takes_float:
            reasons[name] = f"takes results of {takes_float[0]!r}, which is float"
        if kind in _FLOAT:
            reasons[name] = f"TFLite computes {kind} in float alone"
        rounded.add(name)
        placements[name] = Placement(kind in KERNELS and not takes_float, _output(model, layer))
    return placements, reasons


def _output(model, layer):
    """Return how the results of a layer are rounded, `None` if they are not."""
    if type(layer).__name__ in _PASSING:
        return None
    fixed = _FIXED.get(_activation(layer))
    if fixed:
        return fixed
    readers = consumers(layer)
    if len(readers) == 1 and layer.name not in model.output_names:
        consumer = type(readers[0]).__name__
        if consumer == "BatchNormalization" and type(layer).__name__ in KERNELS:
            return None
        # The parts of a concatenation share its scale.
        if consumer == "Concatenate":
            return None
        if _is_fused_relu(readers[0]) and _ends_in_relu(layer):
            return None
    return "moving"


def _ends_in_relu(layer):
    if type(layer).__name__ == "BatchNormalization":
        layer = _producers(layer)[0]
        return type(layer).__name__ in _ENDING_IN_RELU[:3]
    return type(layer).__name__ in _ENDING_IN_RELU


def _is_fused_relu(layer):
    if len(layer.inbound_nodes) != 1:
        return False
    if type(layer).__name__ == "ReLU":
        plain = not layer.negative_slope and not layer.threshold
        return bool(plain and layer.max_value in (None, 6.0))
    return _activation(layer) == "relu"


def _activation(layer):
    kind = type(layer).__name__
    if kind == "Softmax":
        return "softmax"
    return layer.activation.__name__ if kind == "Activation" else None


def _producers(layer):
    nodes = layer.inbound_nodes
    return [before for node in nodes for before in tf.nest.flatten(node.inbound_layers)]


def consumers(layer):
    """Return the layers that take the results of one, once for each call."""
    return [node.outbound_layer for node in layer.outbound_nodes]


def make_config(layer, placement: Placement):
    """Return TF-MOT's `QuantizeConfig` of a layer.

    Its attributes: `kernel`, the variable, once the wrapper is built (TF-MOT puts tensors in its
    place in the layer); `exporting`, with which the kernel is left as it is, for the converter,
    which rounds it the same way after it has folded batch normalisation into it.
    """
    quantization = load_tf_mot().quantization.keras
    quantizers = quantization.quantizers

    class _KernelQuantizer(quantizers.Quantizer):
        """Rounds to 255 levels around 0, a scale a channel, passing gradients straight through.

        Jacob et al., https://arxiv.org/abs/1712.05877, section 3; Krishnamoorthi,
        https://arxiv.org/abs/1806.08342, section 2.4. The scale is that of the weights as they are,
        where TF-MOT's quantizer keeps that of the last training step.
        """

        def build(self, tensor_shape, name, layer):
            return {}

        def __call__(self, inputs, training, weights, **unused):
            if config.exporting:
                return inputs
            return rounded_kernel(inputs, KERNELS[type(layer).__name__][1])

        def get_config(self):
            return {}

    class _Config(quantization.QuantizeConfig):
        kernel, exporting, last = None, False, False

        def get_weights_and_quantizers(self, layer):
            if not placement.kernel:
                return []
            # Of a layer that is not trained TF-MOT would train the kernel.
            self.kernel = getattr(layer, KERNELS[type(layer).__name__][0])
            return [(self.kernel, _KernelQuantizer())] if layer.trainable else []

        def get_activations_and_quantizers(self, layer):
            return []

        def set_quantize_weights(self, layer, quantize_weights):
            for weights in quantize_weights:
                setattr(layer, KERNELS[type(layer).__name__][0], weights)

        def set_quantize_activations(self, layer, quantize_activations):
            pass

        def get_output_quantizers(self, layer):
            if placement.output is None:
                return []
            if placement.output == "moving":
                return [_MovingQuantizer(8, per_axis=False, symmetric=False, narrow_range=False)]
            return [quantizers.FixedQuantizer(8, *placement.output, narrow_range=False)]

        def get_config(self):
            return {}

    class _MovingQuantizer(quantizers.MovingAverageQuantizer):
        def build(self, tensor_shape, name, layer):
            config.range = super().build(tensor_shape, name, layer)
            return config.range

        def __call__(self, inputs, training, weights, **unused):
            # The last results get their range after the temperature has been applied.
            if config.exporting and config.last:
                return inputs
            return super().__call__(inputs, training, weights)

    config = _Config()
    config.range = None
    return config


def rounded_kernel(kernel, axes):
    """Return a kernel rounded to 8 bits, with the gradient of the kernel itself.

    Args:
        kernel: Any shape.
        axes: Over which numbers share a scale, the largest of them being 127 steps.

    Example:
        >>> import tensorflow as tf
        >>> rounded_kernel(tf.constant([[1.27, 0.004], [-0.018, -1.27]]), (0,)).numpy().round(3)
        array([[ 1.27,  0.  ],
               [-0.02, -1.27]], dtype=float32)
    """
    step = tf.reduce_max(tf.abs(kernel), axis=axes, keepdims=True) / 127
    rounded = tf.round(tf.math.divide_no_nan(kernel, step)) * step
    return kernel + tf.stop_gradient(rounded - kernel)
