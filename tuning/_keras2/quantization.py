"""Quantization-aware training of a tf_keras twin by TF-MOT's wrappers."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

from tuning._keras2.fitting import Fitting, fit, keeping_zeros
from tuning._keras2.guard import load_tf_keras, load_tf_mot
from tuning._keras2.quantize_configs import KERNELS, consumers, make_config, place
from tuning._keras2.twin import Twin

# Training batches that the ranges are taken from.
_RANGE_BATCHES = 8


@dataclasses.dataclass(frozen=True)
class QuantizedTwin:
    """A twin with rounding in it.

    Attributes:
        twin: Of the model without its softmax.
        model: tf_keras model: TF-MOT's wrappers around copies of the twin's layers.
        configs: What each wrapper rounds, by the twin's layer.
        reasons: `{layer: why it stays float}`.
        scale: What its results have to be multiplied by to be the logits of the Keras 3 model.
    """

    twin: Twin
    model: Any
    configs: dict[str, Any]
    reasons: dict[str, str]
    scale: float = 1.0

    def weights_of(self, name: str) -> list[np.ndarray]:
        """Return the weights that a layer of the twin has now, not rounded."""
        config, wrapper = self.configs[name], self.model.get_layer(f"quant_{name}")
        weights = wrapper.layer.get_weights()
        # TF-MOT has put a tensor in the place of the kernel, the first of the weights.
        if config.kernel is not None and wrapper.layer.trainable:
            weights = [config.kernel.numpy(), *weights]
        # Masks leave -0.0, which compresses like any other number.
        return [array + 0.0 for array in weights]

    def trained_kernels(self) -> list:
        """Return the variables of the kernels that are trained, with rounding or without."""
        kernels = []
        for name, config in self.configs.items():
            layer = self.model.get_layer(f"quant_{name}").layer
            if type(layer).__name__ in KERNELS and layer.trainable:
                attribute, _ = KERNELS[type(layer).__name__]
                kernels.append(
                    getattr(layer, attribute) if config.kernel is None else config.kernel
                )
        return kernels

    def carry_back(self) -> None:
        """Put the trained weights into the twin, and into the Keras 3 model it was made from."""
        for link in self.twin.links:
            self.twin.model.get_layer(link.name).set_weights(self.weights_of(link.name))
        self.twin.carry_back()

    def predict(self, images, batch_size: int = 64) -> np.ndarray:
        """Return what the rounded model gives for images, before the softmax."""
        run = tf.function(lambda batch: self.model(batch, training=False), reduce_retracing=True)
        starts = range(0, len(images), batch_size)
        batches = (images[start : start + batch_size].astype(np.float32) for start in starts)
        outputs = np.concatenate([run(tf.constant(batch)).numpy() for batch in batches])
        return outputs * np.float32(self.scale)

    def exported_function(self, temperature: float | None):
        """Return images to probabilities as a concrete function for the converter.

        Args:
            temperature: By which the results are divided before the softmax; `None`: no softmax.
        """
        last = self.configs[self.twin.model.output_names[0]]
        self._set_exporting(True)
        last.last = True
        factor, ends = self.scale / (temperature or 1.0), None
        if last.range is not None:
            ends = [float(last.range[end]) * factor for end in ("min_var", "max_var")]

        def probabilities(images):
            # uint8 images as they are: scale 1, zero point 0.
            images = tf.quantization.fake_quant_with_min_max_args(images, 0.0, 255.0)
            outputs = self.model(images, training=False)
            if factor != 1.0:
                # Not a division: the converter folds a factor into the kernel before.
                outputs = outputs * np.float32(factor)
            if ends:
                outputs = tf.quantization.fake_quant_with_min_max_args(outputs, *ends)
            if temperature is not None:
                outputs = tf.nn.softmax(outputs)
            return {"probabilities": outputs}

        shape = [None, *self.model.input_shape[1:]]
        signature = [tf.TensorSpec(shape, tf.float32, name="images")]
        try:
            function = tf.function(probabilities, input_signature=signature, autograph=False)
            return function.get_concrete_function()
        finally:
            last.last = False
            self._set_exporting(False)

    def _set_exporting(self, exporting):
        for name, config in self.configs.items():
            config.exporting = exporting
            # Read by dilated convolutions alone.
            self.model.get_layer(f"quant_{name}").layer.exporting = exporting


def without_softmax(twin: Twin, name: str) -> tuple[Twin, bool, float]:
    """Return a twin that ends in what its last kernel gives.

    The softmax is taken off with its temperature, and factors that the logits are multiplied by,
    which no integer kernel of the file would compute: both are put back as one number, which the
    converter folds into the last kernel.

    Args:
        twin: From `to_tf_keras`.
        name: Of the last layer of the Keras 3 model.

    Returns:
        The twin, whether there was a softmax, and the product of the factors.
    """
    layer = twin.model.get_layer(twin.model.output_names[0])
    found = type(layer).__name__ == "Softmax" or (
        type(layer).__name__ == "Activation" and layer.activation.__name__ == "softmax"
    )
    outputs = layer.input if found else twin.model.outputs[0]
    while found and outputs.node.layer.name.startswith(f"{name}_affine"):
        outputs = outputs.node.layer.input
    outputs, factor = _without_factors(outputs)
    if outputs is twin.model.outputs[0]:
        return twin, found, factor
    model = load_tf_keras().Model(twin.model.inputs, outputs, name=twin.model.name)
    return dataclasses.replace(twin, model=model), found, factor


def _without_factors(outputs):
    """Return what a kernel gives before it is multiplied by positive constants, and these."""
    logits, factor = outputs, 1.0
    while (before := _before_factor(logits)) is not None:
        logits, step = before
        factor *= step
    # Where there is no kernel to fold it into, a depthwise convolution computes it with integers.
    return (logits, factor) if type(logits.node.layer).__name__ in KERNELS else (outputs, 1.0)


def _before_factor(outputs):
    """Return the logits that one constant multiplies, and the constant; `None` without one."""
    if len(outputs.shape) != 2:
        return None
    step = None
    # As `affine.constant` writes it: vectors become maps for a convolution, then vectors again.
    for kind in ("Reshape", "DepthwiseConv2D", "Reshape"):
        layer = outputs.node.layer
        if type(layer).__name__ != kind or "_affine" not in layer.name:
            return None
        if kind == "DepthwiseConv2D":
            kernel, bias = (weight.ravel() for weight in layer.get_weights())
            if bias.any() or not 0 < kernel[0] < np.inf or np.any(kernel != kernel[0]):
                return None
            step = float(kernel[0])
        outputs = layer.input
    return outputs, step


def quantize_twin(twin: Twin, chosen, scale: float = 1.0) -> QuantizedTwin:
    """Return a copy of a twin that rounds weights and results to 8 bits; not trained.

    Args:
        twin: From `to_tf_keras(model, quantizable=True)`, of one output without its softmax.
        chosen: Names of the twin's layers with a kernel to quantize.
        scale: What was taken off its end, see `without_softmax`.
    """
    placements, reasons = place(twin.model, chosen)
    wrapper_class = load_tf_mot().quantization.keras.QuantizeWrapperV2
    configs = {}

    def wrapped(layer):
        copy = _copied(layer)
        configs[layer.name] = make_config(copy, placements[layer.name])
        return wrapper_class(copy, configs[layer.name])

    model = load_tf_keras().models.clone_model(twin.model, clone_function=wrapped)
    quantized = QuantizedTwin(twin, model, configs, reasons, scale)
    # Constants, such as the normalisation of images, are weights without a link.
    for layer in twin.model.layers:
        if layer.get_weights():
            _set_weights(quantized, layer.name, layer.get_weights())
    return quantized


def _copied(layer):
    """Return a copy of a layer, without weights; of a dilated convolution one for TFLite.

    TensorFlow computes dilation on a processor by moving every n-th pixel into the batch, around a
    plain convolution; what lies in between is not rounded, and the converter would leave it float.
    """
    kind, config = type(layer), layer.get_config()
    if kind.__name__ not in ("Conv2D", "DepthwiseConv2D") or set(layer.dilation_rate) == {1}:
        return kind.from_config(config)

    class _Dilated(kind):
        def call(self, inputs):
            if not self.exporting:
                return super().call(inputs)
            arguments = {
                "strides": [1, *self.strides, 1],
                "padding": self.padding.upper(),
                "dilations": [1, *self.dilation_rate, 1],
            }
            if kind.__name__ == "Conv2D":
                outputs = tf.nn.conv2d(inputs, self.kernel, **arguments)
            else:
                outputs = tf.raw_ops.DepthwiseConv2dNative(
                    input=inputs, filter=self.depthwise_kernel, **arguments
                )
            return outputs if self.bias is None else tf.nn.bias_add(outputs, self.bias)

    # The tables go by the names of Keras.
    _Dilated.__name__ = kind.__name__
    copy = _Dilated.from_config(config)
    copy.exporting = False
    return copy


def _set_weights(quantized, name, arrays):
    config = quantized.configs[name]
    layer = quantized.model.get_layer(f"quant_{name}").layer
    if config.kernel is not None and layer.trainable:
        config.kernel.assign(arrays[0])
        arrays = arrays[1:]
    layer.set_weights(arrays)


def set_ranges(quantized: QuantizedTwin, data) -> None:
    """Give the rounding of results the ranges that they have over some training batches.

    The mean over batches of the smallest and the largest result of each layer: what TF-MOT's moving
    average settles at, which from its own start, -6 to 6, takes thousands of steps.

    Args:
        quantized: Changed in place.
        data: Batches `(images, ...)`.
    """
    layers = [
        layer
        for layer in quantized.twin.model.layers
        if getattr(quantized.configs.get(layer.name), "range", None) is not None
    ]
    outputs = [
        [layer.get_output_at(place) for place in range(len(layer.inbound_nodes))]
        for layer in layers
    ]
    if not layers:
        return
    probe = load_tf_keras().Model(quantized.twin.model.inputs, outputs)

    @tf.function(reduce_retracing=True)
    def extremes(images):
        found = probe(tf.cast(images, tf.float32), training=False)
        # A model of one output gives it bare.
        found = tf.nest.pack_sequence_as(outputs, tf.nest.flatten(found))
        lows = [tf.reduce_min([tf.reduce_min(one) for one in several]) for several in found]
        highs = [tf.reduce_max([tf.reduce_max(one) for one in several]) for several in found]
        return tf.stack(lows), tf.stack(highs)

    found = [extremes(batch[0]) for batch in data.take(_RANGE_BATCHES)]
    lows = np.mean([low.numpy() for low, _ in found], axis=0)
    highs = np.mean([high.numpy() for _, high in found], axis=0)
    for layer, low, high in zip(layers, lows, highs, strict=True):
        # 0 must be among the levels; a layer that gives nothing else needs a range all the same.
        low, high = min(low, 0.0), max(high, 0.0)
        variables = quantized.configs[layer.name].range
        variables["min_var"].assign(low)
        variables["max_var"].assign(high if high > low else 1e-3)


def train_quantized(
    quantized: QuantizedTwin, fitting: Fitting, preserve, freeze_after, on_epoch
) -> None:
    """Train in place.

    Args:
        quantized: Its ranges set.
        fitting: How to train.
        preserve: `None`, `"sparsity"`, `"clusters"` or `"both"`.
        freeze_after: Epochs after which batch normalisation keeps its statistics, or `None`.
        on_epoch: Receives the epoch, from 0, and its measures.
    """
    kernels = quantized.trained_kernels()
    own = []
    if preserve in ("clusters", "both"):
        own.append(keeping_clusters(kernels))
    if preserve in ("sparsity", "both"):
        own.append(keeping_zeros(kernels))
    if freeze_after is not None:
        own.append(_freezing(quantized.model, freeze_after))
    fit(quantized.model, fitting, own, on_epoch)


def keeping_clusters(kernels):
    """Return a tf_keras callback that keeps equal what was equal in some variables.

    After each step every weight becomes the mean of those that had its value, so a shared weight
    takes the mean of their steps. A kernel of more than 256 distinct values is not clustered.

    TF-MOT's own schemes for this know their own table of layers alone, and choose the members of a
    cluster anew at each step.
    """
    groups = []
    for kernel in kernels:
        values, index = np.unique(kernel.numpy(), return_inverse=True)
        if 1 < len(values) <= 256:
            groups.append((kernel, index.reshape(-1).astype(np.int32), len(values)))

    class _KeepingClusters(load_tf_keras().callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            for kernel, index, count in groups:
                means = tf.math.unsorted_segment_mean(tf.reshape(kernel, [-1]), index, count)
                kernel.assign(tf.reshape(tf.gather(means, index), kernel.shape))

    return _KeepingClusters()


def _freezing(model, after):
    """Return a tf_keras callback that stops batch normalisation after some epochs."""
    layers = [
        wrapper.layer
        for wrapper in model.layers
        if hasattr(wrapper, "layer") and type(wrapper.layer).__name__ == "BatchNormalization"
    ]

    class _Freezing(load_tf_keras().callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == after and layers:
                for layer in layers:
                    layer.trainable = False
                # Whether a layer is trained is decided when the step is traced.
                self.model.train_function = None
                self.model.make_train_function()

    return _Freezing()


def kernel_layers(model) -> list[str]:
    """Return the names of the layers of a twin that have a kernel."""
    return [layer.name for layer in model.layers if type(layer).__name__ in KERNELS]


def leading_to(model, named, others) -> list[str]:
    """Return those of some layers of a twin whose results go to named ones.

    Args:
        model: Flat functional tf_keras model.
        named: Names of layers with a kernel.
        others: Names of further layers with a kernel, whose results may go through one another and
            through layers without a kernel.
    """
    reaching = set(named)
    for layer in reversed(model.layers):
        passing = type(layer).__name__ not in KERNELS or layer.name in others
        if passing and any(consumer.name in reaching for consumer in consumers(layer)):
            reaching.add(layer.name)
    return [name for name in others if name in reaching]
