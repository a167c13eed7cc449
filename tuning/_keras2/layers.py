"""What each Keras 3 layer becomes in tf_keras."""

import math

import keras
import numpy as np

from recipes.errors import ConfigError
from tuning._keras2 import affine

# Layers that tf_keras has under the same name with the same meaning: the arguments to hand on.
_CONVOLUTION = ("kernel_size", "strides", "padding", "dilation_rate", "use_bias")
_POOLING = ("pool_size", "strides", "padding")
_SAME = {
    "Conv1D": ("filters", *_CONVOLUTION, "groups"),
    "Conv2D": ("filters", *_CONVOLUTION, "groups"),
    "Conv2DTranspose": ("filters", *_CONVOLUTION, "output_padding"),
    "DepthwiseConv2D": (*_CONVOLUTION, "depth_multiplier"),
    "SeparableConv2D": ("filters", *_CONVOLUTION, "depth_multiplier"),
    "Dense": ("units", "use_bias"),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "LayerNormalization": ("axis", "epsilon", "center", "scale"),
    "GroupNormalization": ("groups", "axis", "epsilon", "center", "scale"),
    "UnitNormalization": ("axis",),
    "ELU": ("alpha",),
    "PReLU": ("shared_axes",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Softmax": ("axis",),
    "Add": (),
    "Subtract": (),
    "Multiply": (),
    "Average": (),
    "Maximum": (),
    "Minimum": (),
    "Concatenate": ("axis",),
    "MaxPooling2D": _POOLING,
    "AveragePooling2D": _POOLING,
    "GlobalMaxPooling2D": ("keepdims",),
    "GlobalAveragePooling2D": ("keepdims",),
    # With the "channels first" these pad and crop the channels of feature maps that have them last.
    "ZeroPadding2D": ("padding", "data_format"),
    "Cropping2D": ("cropping", "data_format"),
    "UpSampling2D": ("size", "interpolation"),
    "Reshape": ("target_shape",),
    "Flatten": (),
    "Permute": ("dims",),
    "Dropout": ("rate", "noise_shape"),
    "SpatialDropout2D": ("rate",),
    "GaussianDropout": ("rate",),
    "GaussianNoise": ("stddev",),
    "Resizing": ("height", "width", "interpolation", "crop_to_aspect_ratio"),
    "CenterCrop": ("height", "width"),
}
# Keras 3 name -> tf_keras name of an activation that is one function in both.
_ACTIVATIONS = {
    **{name: name for name in ("relu", "sigmoid", "tanh", "softmax", "elu", "selu", "gelu")},
    **{name: name for name in ("softplus", "softsign", "exponential", "mish")},
    **dict.fromkeys(("silu", "swish"), "swish"),
}
# Functions of `keras.ops` that are an activation.
_OPERATION_ACTIVATIONS = {
    **{name: name.lower() for name in ("Relu", "Relu6", "Sigmoid", "Tanh", "Silu", "Softplus")},
    "HardSigmoid": "hard_sigmoid",
    "HardSilu": "hard_silu",
    "Softmax": "softmax",
}
_ARITHMETIC = {"Add": "Add", "Subtract": "Subtract", "Multiply": "Multiply", "TrueDivide": None}
# They pass their input on when a model predicts.
_IDLE = ("StochasticDepth", "ActivityRegularization")
_ADVICE = (
    "only what the layers of convolution networks do can cross; "
    "export_tflite can quantize this model after training instead"
)


class Converter:
    """Turns calls of a traced model into layers of tf_keras.

    Args:
        tf_keras: The module.
        graph: The traced model.
        quantizable: Whether to rewrite what TF-MOT cannot quantize.

    Attributes:
        links: The arguments of a `Link` for each layer with weights.
        remarks: Sentences on what was left out or rewritten.
        left_out: Names of the layers that were left out though training would go through them.
        left_out_settings: Layer and name of regularizers and constraints, which are left out.
    """

    def __init__(self, tf_keras, graph, quantizable):
        self.tf_keras = tf_keras
        self.quantizable = quantizable
        self.links, self.remarks, self.left_out, self.left_out_settings = [], [], [], []
        self._producers = {value.number: call for call in graph.calls for value in call.outputs}
        self._uses = _count_uses(graph)
        # Shared layers: what was made for an operation, by what part of it.
        self._made, self._names = {}, set()

    def convert(self, call, arguments, keywords):
        """Return the outputs of one call, as a list of symbolic tensors."""
        operation = call.operation
        kind, root = type(operation).__name__, type(operation).__module__.split(".")[0]
        if root == "augment" or (root == "keras" and kind.startswith("Random")):
            self.remarks.append(f"{call.name} is left out: it changes images in training alone")
            self.left_out.append(call.name)
            return [_only(arguments)]
        if root not in ("keras", "recipes"):
            raise self._unsupported(call)
        if not isinstance(operation, keras.layers.Layer):
            return [self._operation(call, kind, arguments, keywords)]
        if kind in _IDLE:
            self.remarks.append(f"{call.name} is left out: it does nothing when a model predicts")
            self.left_out.append(call.name)
            return [_only(arguments)]
        self.left_out_settings += [
            f"{call.name}.{name}"
            for name, value in vars(operation).items()
            if value is not None and name.endswith(("_regularizer", "_constraint"))
        ]
        special = getattr(self, f"_{kind}", None)
        if special is not None:
            return [special(call, _only(arguments))]
        if kind not in _SAME:
            raise self._unsupported(call)
        return [self._same(call, kind, _only(arguments))]

    def layer(self, call, part, make):
        """Return the layer that stands for a part of an operation, made when first asked for.

        Args:
            call: Whose operation.
            part: Tells the layers of one operation apart; `""` for the main one.
            make: Function of the name that makes it.
        """
        key = id(call.operation), part
        if key not in self._made:
            name = call.name.replace("/", "_") + (f"_{part}" if part else "")
            count = 1
            while name in self._names:
                count += 1
                name = f"{call.name.replace('/', '_')}_{part or 'again'}{count}"
            self._names.add(name)
            self._made[key] = make(name)
        return self._made[key]

    def link(self, call, name, forward=list, backward=lambda found, now: found):
        """Note how the weights of an operation go into the layer `name`; once for shared ones."""
        if all(link[1] != name for link in self.links):
            self.links.append((call.operation, name, forward, backward))

    def _unsupported(self, call):
        kind = type(call.operation).__name__
        return ConfigError(f"layer {call.name!r} ({kind}) cannot cross to tf_keras: {_ADVICE}")

    # Layers that are the same in both.

    def _same(self, call, kind, inputs):
        operation, config = call.operation, call.operation.get_config()
        known = _SAME[kind]
        if config.get("data_format") == "channels_first" and "data_format" not in known:
            raise ConfigError(f"layer {call.name!r} has the channels first; put them last")
        chosen = {key: config[key] for key in known if key in config}
        make = getattr(self.tf_keras.layers, kind)
        layer = self.layer(call, "", lambda name: make(name=name, **chosen))
        outputs = layer(inputs)
        if operation.weights:
            layer.trainable = operation.trainable
            self.link(call, layer.name)
        if "activation" in config:
            outputs = self._activated(call, operation.activation, outputs)
        return outputs

    def _BatchNormalization(self, call, inputs):
        if self.quantizable and not self._follows_convolution(call):
            self.remarks.append(
                f"{call.name} follows no convolution: rewritten as a 1x1 depthwise convolution"
            )
            return affine.batch_normalization(self, call, inputs)
        return self._same(call, "BatchNormalization", inputs)

    _FusedBatchNormalization = _BatchNormalization

    def _follows_convolution(self, call):
        """Whether TF-MOT can fold it into the convolution in front, as it must to quantize it."""
        before = self._producers.get(call.inputs[0].number)
        if before is None or self._uses[call.inputs[0].number] > 1:
            return False
        kinds = "Conv2D", "DepthwiseConv2D", "Conv2DTranspose", "SeparableConv2D"
        if type(before.operation).__name__ not in kinds:
            return False
        return _activation_name(before.operation.activation) == "linear"

    def _Conv1D(self, call, inputs):
        if not self.quantizable or call.operation.padding == "causal":
            return self._same(call, "Conv1D", inputs)
        return affine.one_dimensional_convolution(self, call, inputs)

    def _SeparableConv2D(self, call, inputs):
        """Two layers in a quantizable twin, since what lies between them is rounded too."""
        if not self.quantizable:
            return self._same(call, "SeparableConv2D", inputs)
        config, layers = call.operation.get_config(), self.tf_keras.layers
        if config["data_format"] == "channels_first":
            raise ConfigError(f"layer {call.name!r} has the channels first; put them last")
        first = {key: config[key] for key in _SAME["DepthwiseConv2D"] if key in config}
        first["use_bias"] = False
        depthwise = self.layer(
            call, "depthwise", lambda name: layers.DepthwiseConv2D(name=name, **first)
        )
        filters, use_bias = config["filters"], config["use_bias"]
        pointwise = self.layer(
            call, "", lambda name: layers.Conv2D(filters, 1, use_bias=use_bias, name=name)
        )
        outputs = pointwise(depthwise(inputs))
        for layer in (depthwise, pointwise):
            layer.trainable = call.operation.trainable
        self.link(
            call,
            depthwise.name,
            lambda weights: weights[:1],
            lambda found, now: [*found, *now[1:]],
        )
        self.link(
            call, pointwise.name, lambda weights: weights[1:], lambda found, now: [now[0], *found]
        )
        return self._activated(call, call.operation.activation, outputs)

    # Activations.

    def _Activation(self, call, inputs):
        return self._activated(call, call.operation.activation, inputs)

    def _LeakyReLU(self, call, inputs):
        slope = float(call.operation.negative_slope)
        return self._plain(call, "", "LeakyReLU", inputs, alpha=slope)

    def _activated(self, call, function, inputs):
        name = _activation_name(function)
        if name is None:
            raise ConfigError(
                f"layer {call.name!r} has an activation of its own, {function!r}, which cannot "
                f"cross to tf_keras: {_ADVICE}"
            )
        return self._activation(call, name, inputs)

    def _activation(self, call, name, inputs):
        if name == "linear":
            return inputs
        if name == "relu6":
            return self._plain(call, "relu6", "ReLU", inputs, max_value=6.0)
        if name == "leaky_relu":
            return self._plain(call, "leaky_relu", "LeakyReLU", inputs, alpha=0.2)
        if name in ("hard_sigmoid", "hard_silu", "hard_swish"):
            # Keras 2 has another one: 0.2 x + 0.5.
            shifted = affine.constant(self, call, inputs, 1.0, 3.0, "shift")
            clipped = self._plain(call, "relu6", "ReLU", shifted, max_value=6.0)
            gate = affine.constant(self, call, clipped, 1 / 6, 0.0, "sixth")
            return (
                gate
                if name == "hard_sigmoid"
                else self._plain(call, "gate", "Multiply", [inputs, gate])
            )
        if name not in _ACTIVATIONS:
            raise ConfigError(
                f"layer {call.name!r} has the activation {name!r}, which cannot cross to "
                f"tf_keras: {_ADVICE}"
            )
        return self._plain(call, name, "Activation", inputs, activation=_ACTIVATIONS[name])

    def _plain(self, call, part, kind, inputs, **arguments):
        make = getattr(self.tf_keras.layers, kind)
        return self.layer(call, part, lambda name: make(name=name, **arguments))(inputs)

    # Scaling by constants and by weights.

    def _Rescaling(self, call, inputs):
        layer = call.operation
        return affine.constant(self, call, inputs, layer.scale, layer.offset)

    def _Scale(self, call, inputs):
        return affine.constant(self, call, inputs, call.operation.factor, 0.0)

    def _ChannelNormalization(self, call, inputs):
        layer = call.operation
        scale = np.array([1 / math.sqrt(value) if value else 1.0 for value in layer.variance])
        return affine.constant(self, call, inputs, scale, -np.array(layer.mean) * scale)

    def _Normalization(self, call, inputs):
        scale, shift = affine.normalization_constants(call.operation, inputs.shape[-1])
        return affine.constant(self, call, inputs, scale, shift)

    def _CalibratedSoftmax(self, call, inputs):
        scaled = affine.constant(self, call, inputs, 1 / call.operation.temperature, 0.0)
        return self._activation(call, "softmax", scaled)

    def _LayerScale(self, call, inputs):
        return affine.channel_scale(self, call, inputs)

    def _ChannelPooling(self, call, inputs):
        """Mean and largest of the channels, by layers that TF-MOT can quantize."""
        if None in inputs.shape[1:]:
            raise self._unsupported(call)
        _, height, width, channels = inputs.shape
        mean = self.layer(
            call,
            "mean",
            lambda name: self.tf_keras.layers.Conv2D(
                1, 1, use_bias=False, kernel_initializer="ones", name=name
            ),
        )
        averages = mean(inputs)
        mean.trainable = False
        mean.set_weights([np.full((1, 1, channels, 1), 1 / channels, np.float32)])
        lines = self._plain(
            call, "lines", "Reshape", inputs, target_shape=(height * width, channels, 1)
        )
        largest = self._plain(call, "largest", "MaxPooling2D", lines, pool_size=(1, channels))
        largest = self._plain(call, "map", "Reshape", largest, target_shape=(height, width, 1))
        return self._plain(call, "", "Concatenate", [averages, largest])

    def _CustomScaleLayer(self, call, inputs):
        """A residual branch of Inception-ResNet: the first input, plus the second scaled."""
        scaled = affine.constant(self, call, inputs[1], float(call.operation.scale), 0.0, "scale")
        return self._plain(call, "", "Add", [inputs[0], scaled])

    def _Identity(self, call, inputs):
        return inputs

    _InputLayer = _Identity

    # Functions of `keras.ops` and operators on symbolic tensors.

    def _operation(self, call, kind, arguments, keywords):
        if kind in _OPERATION_ACTIVATIONS:
            return self._activation(call, _OPERATION_ACTIVATIONS[kind], _only(arguments))
        if kind not in _ARITHMETIC or keywords or len(arguments) != 2:
            raise self._unsupported(call)
        one, other = arguments
        if self._is_tensor(one) and self._is_tensor(other):
            if _ARITHMETIC[kind] is None or len(one.shape) != len(other.shape):
                raise self._unsupported(call)
            return self._plain(call, "", _ARITHMETIC[kind], [one, other])
        tensor, number, first = (one, other, True) if self._is_tensor(one) else (other, one, False)
        number = np.asarray(number, np.float64)
        if number.ndim > 1 or (kind == "TrueDivide" and not first):
            raise self._unsupported(call)
        factor, shift = {
            "Add": (1.0, number),
            "Subtract": (1.0, -number) if first else (-1.0, number),
            "Multiply": (number, 0.0),
            "TrueDivide": (1 / number, 0.0) if number.all() else (np.nan, 0.0),
        }[kind]
        return affine.constant(self, call, tensor, factor, shift)

    def _is_tensor(self, value):
        try:
            return self.tf_keras.backend.is_keras_tensor(value)
        except ValueError:  # A number.
            return False


def _only(arguments):
    """Return what a layer is called on: its first argument, a tensor or a list of them."""
    return arguments[0]


def _activation_name(function):
    """Return the name of an activation of Keras' own, or `None`."""
    name = keras.activations.serialize(function) if function is not None else "linear"
    return name if isinstance(name, str) else None


def _count_uses(graph):
    uses = {value.number: 0 for call in graph.calls for value in (*call.outputs, *call.inputs)}
    for value in (*(value for call in graph.calls for value in call.inputs), *graph.outputs):
        uses[value.number] = uses.get(value.number, 0) + 1
    return uses
