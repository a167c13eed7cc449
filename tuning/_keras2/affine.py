"""A factor and a shift a channel, in the form that each purpose wants."""

import numpy as np


def constant(converter, call, inputs, scale, shift, part=""):
    """Return `inputs * scale + shift`, where both are fixed numbers, or one a channel.

    A `Rescaling` layer; in a quantizable twin a 1x1 depthwise convolution, which TF-MOT can
    quantize and TFLite computes with integers.
    """
    layers = converter.tf_keras.layers
    if not converter.quantizable:
        given = {"scale": _plain(scale), "offset": _plain(shift)}
        return converter.layer(call, part, lambda name: layers.Rescaling(name=name, **given))(
            inputs
        )
    channels = inputs.shape[-1]
    kernel = np.broadcast_to(np.asarray(scale, np.float32), (channels,))
    bias = np.broadcast_to(np.asarray(shift, np.float32), (channels,))
    outputs, layer = _depthwise(converter, call, inputs, part or "affine", bias=True)
    layer.trainable = False
    layer.set_weights([kernel.reshape(1, 1, channels, 1), np.array(bias)])
    converter.remarks.append(f"{call.name} is rewritten as a 1x1 depthwise convolution")
    return outputs


def channel_scale(converter, call, inputs):
    """Return `inputs` times a trained factor a channel, as a 1x1 depthwise convolution."""
    outputs, layer = _depthwise(converter, call, inputs, "", bias=False)
    layer.trainable = call.operation.trainable
    channels = inputs.shape[-1]
    converter.link(
        call,
        layer.name,
        lambda weights: [weights[0].reshape(1, 1, channels, 1)],
        lambda found, now: [found[0].reshape(channels)],
    )
    return outputs


def batch_normalization(converter, call, inputs):
    """Return what batch normalisation by moving statistics gives, as a depthwise convolution."""
    operation = call.operation
    outputs, layer = _depthwise(converter, call, inputs, "", bias=True)
    channels = inputs.shape[-1]
    trained = operation.scale and operation.center
    layer.trainable = bool(operation.trainable and trained)

    def forward(weights):
        factor, shift = _folded(operation, weights)
        kernel = factor.reshape(1, 1, channels, 1).astype(np.float32)
        return [kernel, shift.astype(np.float32)]

    def backward(found, now):
        _, _, mean, variance = now
        kernel = found[0].reshape(channels).astype(np.float64)
        gamma = kernel * np.sqrt(variance.astype(np.float64) + operation.epsilon)
        beta = found[1] + mean * kernel
        return [gamma.astype(np.float32), beta.astype(np.float32), mean, variance]

    converter.link(call, layer.name, forward, backward if trained else None)
    return outputs


def one_dimensional_convolution(converter, call, inputs):
    """Return a one-dimensional convolution as one of a height of 1."""
    layers, operation = converter.tf_keras.layers, call.operation
    size, channels = inputs.shape[1:]
    flat = converter.layer(call, "row", lambda name: layers.Reshape((1, size, channels), name=name))
    layer = converter.layer(
        call,
        "",
        lambda name: layers.Conv2D(
            operation.filters,
            (1, operation.kernel_size[0]),
            strides=(1, operation.strides[0]),
            padding=operation.padding,
            dilation_rate=(1, operation.dilation_rate[0]),
            groups=operation.groups,
            use_bias=operation.use_bias,
            name=name,
        ),
    )
    outputs = layer(flat(inputs))
    layer.trainable = operation.trainable
    converter.link(
        call,
        layer.name,
        lambda weights: [weights[0][np.newaxis], *weights[1:]],
        lambda found, now: [found[0][0], *found[1:]],
    )
    shape = tuple(outputs.shape[2:])
    outputs = converter.layer(call, "line", lambda name: layers.Reshape(shape, name=name))(outputs)
    return converter._activated(call, operation.activation, outputs)


def normalization_constants(layer, channels):
    """Return the factor and the shift of a Keras 3 `Normalization` layer."""
    mean = np.asarray(layer.mean, np.float64).reshape(-1)
    deviation = np.sqrt(np.asarray(layer.variance, np.float64)).reshape(-1)
    deviation = np.maximum(deviation, 1e-7)  # As the layer does.
    scale, shift = 1 / deviation, -mean / deviation
    if layer.invert:
        scale, shift = deviation, mean
    return np.broadcast_to(scale, (channels,)), np.broadcast_to(shift, (channels,))


def _folded(operation, weights):
    weights = [weight.astype(np.float64) for weight in weights]
    gamma = weights.pop(0) if operation.scale else 1.0
    beta = weights.pop(0) if operation.center else 0.0
    mean, variance = weights
    factor = gamma / np.sqrt(variance + operation.epsilon)
    return factor, beta - mean * factor


def _depthwise(converter, call, inputs, part, bias):
    """Return the outputs of a 1x1 depthwise convolution, of vectors too, and the layer."""
    layers = converter.tf_keras.layers
    channels, is_map = inputs.shape[-1], len(inputs.shape) == 4
    layer = converter.layer(
        call, part, lambda name: layers.DepthwiseConv2D(1, use_bias=bias, name=name)
    )
    if is_map:
        return layer(inputs), layer
    shape = tuple(inputs.shape[1:])
    rows = int(np.prod(shape[:-1])) if len(shape) > 1 else 1
    as_map = converter.layer(
        call, f"{part}_map", lambda name: layers.Reshape((rows, 1, channels), name=name)
    )
    as_before = converter.layer(call, f"{part}_rows", lambda name: layers.Reshape(shape, name=name))
    return as_before(layer(as_map(inputs))), layer


def _plain(values):
    """Return a number, or a list of one a channel, that a configuration can hold."""
    return np.asarray(values, np.float64).tolist()
