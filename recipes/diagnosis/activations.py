"""Statistics of what each layer puts out, and of the gradients that reach its weights."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from callbacks._layers import numbered, sublayers, walk

_RECTIFIERS = ("relu", "relu6")
# Length of the step by which `nudge` moves each weight, in units of its norm.
_NUDGE = 0.003


@dataclass(frozen=True)
class LayerStatistics:
    """What one layer put out for one batch in training mode.

    Attributes:
        name: Path of the layer.
        kind: Class of the layer.
        rms: Root of the mean square of its outputs.
        spread: Root of the mean variance over the images: 0 if all images look the same.
        dead: Share of its ReLU units that are 0 for every image and place; `None` without a ReLU.
        finite: Whether all outputs are finite.
        input_spread: Standard deviation of all its inputs.
        weighted: Whether it has a kernel: a trainable weight with two axes or more.
    """

    name: str
    kind: str
    rms: float
    spread: float
    dead: float | None
    finite: bool
    input_spread: float
    weighted: bool


@dataclass(frozen=True)
class GradientStatistics:
    """The gradient of one trainable weight.

    Attributes:
        name: Path of the weight, `numbered`.
        norm: Its Euclidean norm; `None` if the loss does not depend on the weight.
        weight_norm: Norm of the weight.
        finite: Whether it is finite.
        kernel: Whether the weight has two axes or more.
    """

    name: str
    norm: float | None
    weight_norm: float
    finite: bool
    kernel: bool


@dataclass(frozen=True)
class Observation:
    """One pass forward and back, in training mode.

    Attributes:
        loss: Of the data, without penalties on weights.
        penalty: Sum of the penalties that layers add.
        outputs: Of the model, float64 `(images, classes)`.
        layers: In the order of the calls.
        gradients: In the order of the trainable weights.
    """

    loss: float
    penalty: float
    outputs: np.ndarray
    layers: tuple[LayerStatistics, ...]
    gradients: tuple[GradientStatistics, ...]


class Observer:
    """Runs a compiled model forward and back in training mode, and looks at all that passes.

    It changes batch statistics and seeds as a training step would; run it inside `restored`.

    Args:
        model: Compiled and built.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._layers = {}
        self._pass = tf.function(self._record, autograph=False, reduce_retracing=True)
        self._gradients = []

    def __call__(self, images, labels, weights=None) -> Observation:
        """Return what one batch shows."""
        loss, penalty, outputs, figures, gradients = self._pass(images, labels, weights)
        self._gradients = gradients
        layers = tuple(
            LayerStatistics(
                name=self._layers[key][0],
                kind=self._layers[key][1],
                rms=float(values[0]),
                spread=float(values[1]),
                dead=float(values[2]) if self._layers[key][2] else None,
                finite=bool(values[3]),
                input_spread=float(values[4]),
                weighted=self._layers[key][3],
            )
            for key, values in sorted(figures.items())
        )
        variables = self.model.trainable_variables
        names = numbered(variable.path for variable in variables)
        return Observation(
            float(loss),
            float(penalty),
            np.asarray(outputs, np.float64),
            layers,
            tuple(map(_gradient_statistics, names, variables, gradients)),
        )

    def nudge(self) -> None:
        """Move each weight a little down the gradient of the newest pass.

        What is 0 by design in a fresh network, such as the last scale of a residual branch or the
        kernel of its head, is not so a step later.
        """
        for variable, gradient in zip(self.model.trainable_variables, self._gradients, strict=True):
            slope = np.asarray(0 if gradient is None else gradient, np.float64)
            value = np.asarray(variable, np.float64)
            norm, size = np.linalg.norm(slope), np.linalg.norm(value)
            if 0 < norm < np.inf and np.isfinite(size):
                # A weight of 0 moves as one whose entries are about 1, and so does a scale or bias
                # that is smaller: one of 1e-6 is as good as 0 by design.
                least = np.sqrt(value.size)
                far = _NUDGE * (max(size, least) if value.ndim < 2 else size or least)
                variable.assign(value - far / norm * slope)

    def _record(self, images, labels, weights):
        graph, found = tf.compat.v1.get_default_graph(), {}

        def record(layer, inputs, outputs):
            # Inside a loop or a function of its own a layer's tensors cannot be reached.
            if isinstance(outputs, tf.Tensor) and outputs.graph is graph and _is_data(outputs):
                key = f"{len(found):05d}"
                self._layers[key] = _facts(layer)
                found[key] = _figures(inputs, outputs)

        variables = self.model.trainable_variables
        with _listening(self.model, record), tf.GradientTape() as tape:
            outputs = self.model(images, training=True)
            loss, penalty = losses(self.model, images, labels, outputs, weights)
            total = loss + penalty
        gradients = tape.gradient(total, [variable.value for variable in variables])
        gradients = [None if g is None else tf.convert_to_tensor(g) for g in gradients]
        return loss, penalty, tf.cast(outputs, tf.float32), found, gradients


def losses(model, images, labels, outputs, weights):
    """Return the loss of the data, and the sum of what the layers add to it."""
    extra = [tf.cast(loss, tf.float32) for loss in model.losses]
    penalty = tf.add_n(extra) if extra else tf.constant(0.0)
    total = model.compute_loss(
        x=images, y=labels, y_pred=outputs, sample_weight=weights, training=True
    )
    return tf.cast(total, tf.float32) - penalty, penalty


@contextlib.contextmanager
def _listening(model, record) -> Iterator[None]:
    """Let `record(layer, inputs, outputs)` hear of every call of a layer that holds no others."""
    # Set on the object, past the tracking of Keras: nothing of the model knows of it.
    layers = [layer for layer in walk(model) if not any(sublayers(layer))]
    before = [vars(layer).get("call") for layer in layers]
    for layer in layers:
        object.__setattr__(layer, "call", _reporting(layer, layer.call, record))
    try:
        yield
    finally:
        for layer, own in zip(layers, before, strict=True):
            if own is None:
                vars(layer).pop("call", None)
            else:
                object.__setattr__(layer, "call", own)


def _reporting(layer, call, record):
    def reporting(*arguments, **keywords):
        outputs = call(*arguments, **keywords)
        given = arguments[0] if arguments else next(iter(keywords.values()), None)
        record(layer, given, outputs)
        return outputs

    return reporting


def _is_data(tensor):
    return tensor.dtype.is_floating and tensor.shape.rank is not None and tensor.shape.rank >= 2


def _facts(layer):
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    rectifies = isinstance(layer, keras.layers.ReLU) or activation in _RECTIFIERS
    kernel = any(len(weight.shape) >= 2 for weight in layer.trainable_weights)
    return layer.path or layer.name, type(layer).__name__, rectifies, kernel


def _figures(inputs, outputs):
    values = tf.cast(outputs, tf.float32)
    axes = list(range(len(values.shape)))
    silent = tf.reduce_all(tf.equal(values, 0), axis=axes[:-1])
    given = tf.zeros(1)
    if isinstance(inputs, tf.Tensor):
        given = tf.cast(inputs, tf.float32)
    return tf.stack(
        [
            tf.sqrt(tf.reduce_mean(tf.square(values))),
            tf.sqrt(tf.reduce_mean(tf.math.reduce_variance(values, axis=0))),
            tf.reduce_mean(tf.cast(silent, tf.float32)),
            tf.cast(tf.reduce_all(tf.math.is_finite(values)), tf.float32),
            tf.math.reduce_std(given),
        ]
    )


def _gradient_statistics(name, variable, gradient):
    weight_norm = float(np.linalg.norm(np.asarray(variable, np.float64)))
    kernel = len(variable.shape) >= 2
    if gradient is None:
        return GradientStatistics(name, None, weight_norm, True, kernel)
    norm = float(np.linalg.norm(np.asarray(gradient, np.float64)))
    return GradientStatistics(name, norm, weight_norm, bool(np.isfinite(norm)), kernel)
