"""Multiply-adds and memory of each layer of a Keras model.

A multiply-add is one multiplication whose product is added to a sum: those of convolutions, dense
layers and matrix products. Papers count these and nothing else ("4.09 G" for ResNet-50). What works
value by value is counted apart as `other_operations`: one for each addition of a bias or of two
maps, each activation, each value in a pooling window; two for each normalised value.
"""

import math
import re

import keras

from recipes.errors import ConfigError
from recipes.layers.blur_pooling import BlurPooling
from recipes.layers.non_local import PixelAttention
from recipes.models._geometry import per_axis, spatial_axes

_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
_SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
    keras.layers.UnitNormalization,
    keras.layers.Normalization,
)

# Layers and functions that move values, or do nothing in inference: no arithmetic.
_FREE = (
    "Flatten Reshape Permute Transpose ZeroPadding1D ZeroPadding2D ZeroPadding3D Cropping1D "
    "Cropping2D Cropping3D Concatenate Identity Dropout SpatialDropout1D SpatialDropout2D "
    "SpatialDropout3D AlphaDropout GaussianDropout GaussianNoise ActivityRegularization "
    "StochasticDepth GetItem Cast ExpandDims Squeeze BroadcastTo Stack Split RepeatVector Masking "
    "Embedding Pad Copy Slice"
)


def multiply_adds(call):
    """Return the multiply-adds of a call for one image; `None` if no rule knows the layer.

    Args:
        call: A `Call` of the graph of a model.

    Raises:
        ConfigError: If a size is unknown that the number depends on, or the weights do not fit.
    """
    for kinds, rule in _RULES:
        if isinstance(call.operation, kinds):
            return rule(call)
    rule = _FUNCTIONS.get(type(call.operation).__name__)
    if rule is not None and not isinstance(call.operation, keras.layers.Layer):
        return rule(call)
    # A layer of unknown kind with a matrix of weights surely multiplies by it, but how often?
    if any(len(weight.shape) > 1 for weight in call.weights) and not _works_by_value(call):
        return None
    return 0


def _works_by_value(call):
    by_value = (keras.layers.Embedding, keras.layers.PReLU, *_NORMALIZATIONS)
    return isinstance(call.operation, by_value)


def other_operations(call):
    """Return the operations of a call that are no multiply-adds, for one image.

    Args:
        call: A `Call` of the graph of a model.
    """
    layer = call.operation
    outputs = sum(elements(value.shape) for value in call.outputs)
    if type(layer).__name__ in _FREE.split() or isinstance(layer, (BlurPooling, PixelAttention)):
        return 0
    if isinstance(layer, _NORMALIZATIONS):
        return 2 * outputs
    if hasattr(layer, "kernel") or isinstance(layer, (*_SEPARABLE, *_DEPTHWISE)):
        return outputs * ((getattr(layer, "bias", None) is not None) + _has_activation(layer))
    if hasattr(layer, "pool_size"):
        return outputs * math.prod(per_axis(layer.pool_size, len(call.inputs[0].shape) - 2))
    inputs = [elements(value.shape) for value in call.inputs]
    if outputs and inputs and max(inputs) > outputs:  # Global pooling, sums along an axis.
        return max(inputs)
    return outputs * max(1, len(inputs) - 1)


def _has_activation(layer):
    return getattr(layer, "activation", None) not in (None, keras.activations.linear)


def elements(shape):
    """Return how many values a tensor has for one image.

    Raises:
        ConfigError: If a size is unknown.
    """
    if None in shape[1:]:
        raise ConfigError(
            f"the size of the images must be known, received a tensor of shape {shape}: "
            "give an input_shape"
        )
    return math.prod(shape[1:])


def size_in_bytes(value):
    """Return the bytes of a `Value` for one image."""
    return elements(value.shape) * item_bytes(value.dtype)


def item_bytes(dtype):
    """Return the bytes of one number of a type; a truth value takes one.

    Example:
        >>> item_bytes("bfloat16"), item_bytes("bool")
        (2, 1)
    """
    bits = re.search(r"\d+$", dtype)
    return max(1, int(bits[0]) // 8) if bits else 1


def _positions(layer, shape):
    """Return how many places of the map with that shape a window stands on."""
    elements(shape)
    return math.prod(shape[axis] for axis in spatial_axes(layer, len(shape)))


def _check_channels(call, expected):
    layer, shape = call.operation, call.inputs[0].shape
    axis = 1 if getattr(layer, "data_format", None) == "channels_first" else -1
    if shape[axis] != expected:
        raise ConfigError(
            f"{call.name} has weights for {expected} inputs, with this input_shape it would get "
            f"{shape[axis]}"
        )


def _convolution(call):
    kernel = tuple(call.operation.kernel.shape)
    _check_channels(call, kernel[-2] * call.operation.groups)
    return math.prod(kernel) * _positions(call.operation, call.outputs[0].shape)


def _transposed_convolution(call):
    kernel = call.operation.kernel.shape
    _check_channels(call, kernel[-1])
    return math.prod(kernel) * _positions(call.operation, call.inputs[0].shape)


def _depthwise_convolution(call):
    kernel = call.operation.kernel.shape
    _check_channels(call, kernel[-2])
    return math.prod(kernel) * _positions(call.operation, call.outputs[0].shape)


def _separable_convolution(call):
    kernels = call.operation.depthwise_kernel.shape, call.operation.pointwise_kernel.shape
    _check_channels(call, kernels[0][-2])
    return sum(map(math.prod, kernels)) * _positions(call.operation, call.outputs[0].shape)


def _dense(call):
    inputs, outputs = call.operation.kernel.shape
    _check_channels(call, inputs)
    return elements(call.inputs[0].shape) * outputs


def _einsum_dense(call):
    kernel = call.operation.kernel.shape
    left, output = call.operation.equation.replace(" ", "").split("->")
    subscripts = left.split(",")[1]
    summed = [size for index, size in zip(subscripts, kernel, strict=True) if index not in output]
    return elements(call.outputs[0].shape) * math.prod(summed)


def _attention(call):
    """Four projections, the products of queries with keys, and of the scores with the values."""
    layer = call.operation
    query, keys = call.inputs[0].shape, call.inputs[-1].shape
    elements(query), elements(keys)
    query_length, key_length = math.prod(query[1:-1]), math.prod(keys[1:-1])
    total = query_length * key_length * layer.num_heads * (layer.key_dim + layer.value_dim)
    for weight in layer.weights:
        if len(weight.shape) == 3:
            by_query = re.search(r"query|output", weight.path) is not None
            total += math.prod(weight.shape) * (query_length if by_query else key_length)
    return total


def _dot(call):
    axes = call.operation.axes
    axis = axes[0] if isinstance(axes, (list, tuple)) else axes
    elements(call.inputs[0].shape)
    return elements(call.outputs[0].shape) * call.inputs[0].shape[axis]


def _matrix_product(call):
    elements(call.inputs[0].shape)
    return elements(call.outputs[0].shape) * call.inputs[0].shape[-1]


def _einsum(call):
    """Every index runs once over its length, each combination is one multiply-add."""
    operands = call.operation.subscripts.replace(" ", "").split("->")[0].split(",")
    if len(operands) != len(call.inputs) or any("." in operand for operand in operands):
        return None
    elements(call.outputs[0].shape)
    sizes = {}
    for subscripts, value in zip(operands, call.inputs, strict=True):
        sizes.update(zip(subscripts, value.shape, strict=True))
    return math.prod(size for size in sizes.values() if size is not None)


def _blur(call):
    """A fixed window over each channel."""
    return elements(call.outputs[0].shape) * call.operation.kernel_size**2


def _pixel_attention(call):
    """The products of all queries with all keys, and of the scores with the values."""
    query, key, value = (each.shape for each in call.inputs)
    elements(query), elements(key)
    pairs = math.prod(query[1:-1]) * math.prod(key[1:-1])
    return pairs * (query[-1] + value[-1])


_RULES = (
    (_TRANSPOSED, _transposed_convolution),
    (_SEPARABLE, _separable_convolution),
    (_DEPTHWISE, _depthwise_convolution),
    (_CONVOLUTIONS, _convolution),
    (keras.layers.Dense, _dense),
    (keras.layers.EinsumDense, _einsum_dense),
    (keras.layers.MultiHeadAttention, _attention),
    (keras.layers.Dot, _dot),
    (BlurPooling, _blur),
    (PixelAttention, _pixel_attention),
)
_FUNCTIONS = {"Matmul": _matrix_product, "Einsum": _einsum}
