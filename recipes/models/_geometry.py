"""How each kind of Keras layer changes the receptive field: the rules behind `analyze`.

A tensor has one `Field` for each of its axes but the batch; `None` stands for an axis along which
an output sees everything (after global pooling, flattening, attention) or which is not spatial.
"""

import dataclasses
import math
from fractions import Fraction

import keras

from recipes.layers.non_local import PixelAttention
from recipes.models.receptive_field import Field, join, same_padding

_TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
_PADDING = (
    keras.layers.ZeroPadding1D,
    keras.layers.ZeroPadding2D,
    keras.layers.ZeroPadding3D,
)
_CROPPING = (keras.layers.Cropping1D, keras.layers.Cropping2D, keras.layers.Cropping3D)
_RESIZING = (
    keras.layers.UpSampling1D,
    keras.layers.UpSampling2D,
    keras.layers.UpSampling3D,
    keras.layers.Resizing,
)
_MIXING = (
    keras.layers.Attention,
    keras.layers.AdditiveAttention,
    keras.layers.MultiHeadAttention,
    keras.layers.GroupQueryAttention,
    keras.layers.RNN,
    keras.layers.Bidirectional,
    PixelAttention,
)
# Inputs that one output of an enlarged image sees along an axis.
_NEIGHBOURS = {"nearest": 1, "bilinear": 2, "bicubic": 4, "lanczos3": 6, "lanczos5": 10, "area": 1}


@dataclasses.dataclass(frozen=True)
class Geometry:
    """What the outputs along each axis of a tensor see of the image.

    Attributes:
        fields: One for each axis but the batch, or `None`.
        sees_all: Whether some branch on the way, such as a squeeze-and-excitation gate, has seen
            the whole image; `fields` are those of the other branches.
        assumed: Whether a layer of unknown kind was taken for one that works pixel by pixel.
    """

    fields: tuple
    sees_all: bool = False
    assumed: bool = False

    @property
    def is_local(self):
        """Whether there is an axis along which an output sees a part of the image only."""
        return any(field is not None for field in self.fields)


def image_geometry(shape):
    """Return the geometry of an input of the model: every axis but the last is the image's."""
    return Geometry(tuple(Field() for _ in shape[1:-1]) + (None,) * (len(shape) > 1))


def propagate(call, inputs):
    """Return the geometry of each output of a call.

    Args:
        call: A `Call` of the graph.
        inputs: The `Geometry` of each of its inputs.
    """
    results = [_output_geometry(call, inputs, value.shape) for value in call.outputs]
    sees_all = any(geometry.sees_all for geometry in inputs)
    assumed = any(geometry.assumed for geometry in inputs)
    return [
        dataclasses.replace(
            result, sees_all=result.sees_all or sees_all, assumed=result.assumed or assumed
        )
        for result in results
    ]


def _output_geometry(call, inputs, shape):
    layer, rank = call.operation, len(shape)
    if not inputs:  # A tensor made from nothing, as a table of positions.
        return Geometry((None,) * (rank - 1))
    if isinstance(layer, _MIXING):
        return _everything(rank)
    for kinds, rule in _RULES:
        if isinstance(layer, kinds):
            return rule(call, inputs[0], call.inputs[0].shape)
    if _is_window(layer):
        return _windowed(call, inputs[0], call.inputs[0].shape)
    kind = type(layer).__name__
    if kind == "Reshape":  # The function of `keras.ops`
        return _reshaped(call, inputs[0], call.inputs[0].shape)
    if kind == "GetItem":
        return _sliced(call, inputs[0], rank)
    if kind in ("Transpose", "Permute"):
        return _permuted(call, inputs[0], rank)
    return _pointwise(call, inputs, shape)


def _everything(rank):
    return Geometry((None,) * (rank - 1), sees_all=True)


def spatial_axes(layer, rank):
    """Return the axes, counted from the batch, along which a layer slides its window."""
    first = 2 if getattr(layer, "data_format", None) == "channels_first" else 1
    return range(first, first + rank - 2)


def _is_window(layer):
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    padding = getattr(layer, "padding", None)
    return kernel is not None and hasattr(layer, "strides") and isinstance(padding, str)


def per_axis(value, count):
    """Return a number for each of `count` axes."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value,) * count


def _with_fields(geometry, changed):
    """Return a geometry with other fields at some axes, counted from the batch."""
    fields = [changed.get(axis, field) for axis, field in enumerate(geometry.fields, start=1)]
    return dataclasses.replace(geometry, fields=tuple(fields))


def _windowed(call, geometry, shape):
    layer = call.operation
    axes = spatial_axes(layer, len(shape))
    count = len(axes)
    kernels = per_axis(getattr(layer, "kernel_size", None) or layer.pool_size, count)
    strides = per_axis(layer.strides, count)
    dilations = per_axis(getattr(layer, "dilation_rate", 1), count)
    changed = {}
    for axis, kernel, stride, dilation in zip(axes, kernels, strides, dilations, strict=True):
        field = geometry.fields[axis - 1]
        if field is None:
            continue
        before = 0
        if layer.padding == "same":
            before, _ = same_padding(shape[axis], kernel, stride, dilation)
        elif layer.padding == "causal":
            before = (kernel - 1) * dilation
        elif layer.padding != "valid":  # Blur pooling mirrors the border.
            before = (kernel - 1) // 2
        changed[axis] = field.through_window(kernel, stride, before, dilation)
    return _with_fields(geometry, changed)


def _transposed(call, geometry, shape):
    layer, changed = call.operation, {}
    axes = spatial_axes(layer, len(shape))
    for axis, kernel, stride in zip(axes, layer.kernel_size, layer.strides, strict=True):
        if geometry.fields[axis - 1] is not None:
            cut = max(kernel - stride, 0) // 2 if layer.padding == "same" else 0
            neighbours = math.ceil(kernel / stride)
            offset = (cut - Fraction(kernel - 1, 2)) / stride
            changed[axis] = geometry.fields[axis - 1].upsampled(stride, neighbours, offset)
    return _with_fields(geometry, changed)


def _padded(call, geometry, shape):
    return _shifted(call, geometry, shape, call.operation.padding, 1)


def _cropped(call, geometry, shape):
    return _shifted(call, geometry, shape, call.operation.cropping, -1)


def _shifted(call, geometry, shape, counts, sign):
    # One-dimensional layers hold one pair, the others one for each axis.
    pairs = counts if isinstance(counts[0], (list, tuple)) else (counts,)
    changed = {}
    for axis, (before, _) in zip(spatial_axes(call.operation, len(shape)), pairs, strict=True):
        field = geometry.fields[axis - 1]
        if field is not None:
            changed[axis] = field.shifted(sign * before)
    return _with_fields(geometry, changed)


def _resized(call, geometry, shape):
    """`UpSampling` by whole factors, and `Resizing` to any size, smaller too."""
    neighbours = _NEIGHBOURS[getattr(call.operation, "interpolation", "nearest")]
    axes, changed = spatial_axes(call.operation, len(shape)), {}
    for axis in axes:
        field, old, new = geometry.fields[axis - 1], shape[axis], call.outputs[0].shape[axis]
        if hasattr(call.operation, "size"):
            factor = per_axis(call.operation.size, len(axes))[axis - axes[0]]
        elif old is None or new is None:
            return _everything(len(shape))
        else:
            factor = Fraction(new, old)
        if field is not None:
            offset = (1 / Fraction(factor) - 1) / 2
            changed[axis] = field.upsampled(factor, neighbours, offset)
    return _with_fields(geometry, changed)


def _global(call, geometry, shape):
    return _everything(len(shape) if call.operation.keepdims else 2)


def _flattened(call, geometry, shape):
    return _everything(2)


def _reshaped(call, geometry, shape):
    """The leading axes that keep their length keep their field."""
    new, kept = call.outputs[0].shape, []
    for old_size, size, field in zip(shape[1:], new[1:], geometry.fields, strict=False):
        if size is None or size != old_size:
            break
        kept.append(field)
    lost = any(field is not None for field in geometry.fields[len(kept) :])
    fields = (*kept, *[None] * (len(new) - 1 - len(kept)))
    return dataclasses.replace(geometry, fields=fields, sees_all=geometry.sees_all or lost)


_RULES = (
    (_TRANSPOSED, _transposed),
    (_PADDING, _padded),
    (_CROPPING, _cropped),
    (_RESIZING, _resized),
    ((keras.layers.Reshape,), _reshaped),
    (
        (
            keras.layers.GlobalAveragePooling1D,
            keras.layers.GlobalAveragePooling2D,
            keras.layers.GlobalAveragePooling3D,
            keras.layers.GlobalMaxPooling1D,
            keras.layers.GlobalMaxPooling2D,
            keras.layers.GlobalMaxPooling3D,
        ),
        _global,
    ),
    ((keras.layers.Flatten,), _flattened),
)


def _sliced(call, geometry, rank):
    """`x[:, ::2, 1:]`: a start shifts, a step strides; anything else is too much to follow."""
    key = call.arguments[1] if len(call.arguments) > 1 else call.keywords.get("key")
    key = key if isinstance(key, tuple) else (key,)
    changed = {}
    for axis, part in enumerate(key):
        if not isinstance(part, slice):
            return _everything(rank)
        start, step = part.start or 0, part.step or 1
        if axis == 0 or (start, step) == (0, 1):
            continue
        if start < 0 or step < 0:
            return _everything(rank)
        if geometry.fields[axis - 1] is not None:
            changed[axis] = geometry.fields[axis - 1].shifted(-start).through_window(1, step)
    return _with_fields(geometry, changed)


def _permuted(call, geometry, rank):
    if isinstance(call.operation, keras.layers.Permute):
        order = (0, *call.operation.dims)
    else:
        order = call.operation.axes or tuple(reversed(range(rank)))
    if order[0] != 0:
        return _everything(rank)
    fields = tuple(geometry.fields[axis - 1] for axis in order[1:])
    return dataclasses.replace(geometry, fields=fields)


def _pointwise(call, inputs, shape):
    """Each output sees what the inputs at its own place see.

    Inputs of another rank or of length 1 along an axis are spread over the whole map. Axes whose
    length changes in a way that no rule explains are given up.
    """
    rank = len(shape)
    fields, sees_all = [], False
    for axis in range(1, rank):
        here = [
            geometry.fields[axis - 1]
            for geometry, value in zip(inputs, call.inputs, strict=True)
            if len(value.shape) == rank and value.shape[axis] == shape[axis]
        ]
        known = [field for field in here if field is not None]
        fields.append(join(known) if known else None)
        lost = not known and any(
            len(geometry.fields) >= axis and geometry.fields[axis - 1] is not None
            for geometry in inputs
        )
        sees_all = sees_all or lost
    return Geometry(tuple(fields), sees_all=sees_all, assumed=not _is_known(call.operation))


def _is_known(layer):
    """Whether a layer that keeps the size of the map surely does not look beside each pixel."""
    return type(layer).__module__.split(".")[0] in ("keras", "recipes", "augment")
