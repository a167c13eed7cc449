"""Temperature scaling at the end of training, stored in the weights of the model itself."""

import keras
import numpy as np

from callbacks._measured import check_model, contradicts
from callbacks._predictions import check_indices
from callbacks.temperature import TemperatureFit, fit_temperature


def scale_logits(model: keras.Model, factor, shift=0.0) -> None:
    """Turn the logits `z` of a classifier into `factor * z + shift`, inside its last weights.

    The kernel and the bias of the last `Dense` layer take it in, so the model computes the scaled
    logits, or their softmax, wherever it goes: `predict`, a `.keras` file, a `.tflite` file.

    Args:
        model: Its last layer with weights is a `Dense` layer with a bias, linear or softmax, and
            what follows it is softmax at most.
        factor: Positive number, or an array of them of shape `(classes,)`.
        shift: Number, or array of shape `(classes,)`.

    Raises:
        ValueError: If the model does not end so; it is left as it was.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
        >>> before = model.predict(np.eye(2), verbose=0)
        >>> scale_logits(model, 0.5)
        >>> bool(np.allclose(model.predict(np.eye(2), verbose=0), 0.5 * before))
        True
    """
    layer, _ = logits_layer(model)
    kernel, bias = (np.asarray(weight, np.float64) for weight in layer.get_weights())
    scaled = [kernel * factor, bias * factor + shift]
    layer.set_weights([array.astype(np.float32) for array in scaled])


def logits_layer(model: keras.Model) -> tuple[keras.layers.Dense, bool]:
    """Return the `Dense` layer of a classifier that computes its logits, and whether softmax comes.

    Raises:
        ValueError: If the model does not end in one with a bias, linear or softmax, followed by
            softmax at most.
    """
    softmax = False
    for layer in reversed(model.layers):
        if isinstance(layer, keras.Model):
            dense, inside = logits_layer(layer)
            return dense, softmax or inside
        softmax = softmax or _is_softmax(layer)
        if isinstance(layer, keras.layers.Dense) and layer.use_bias and _keeps_logits(layer):
            return layer, softmax
        if not _follows_logits(layer):
            raise ValueError(
                "temperature scaling needs a model that ends in Dense logits, with a bias and "
                f"followed by softmax at most; found {type(layer).__name__} {layer.name!r}"
            )
    raise ValueError("temperature scaling needs a model with layers, received none")


def _follows_logits(layer):
    if isinstance(layer, keras.layers.Activation):
        # Linear: a layer that only lifts half precision to float32.
        return _keeps_logits(layer)
    return _is_softmax(layer)


def _is_softmax(layer):
    activation = getattr(layer, "activation", None)
    return isinstance(layer, keras.layers.Softmax) or activation is keras.activations.softmax


def _keeps_logits(layer):
    return layer.activation in (keras.activations.linear, keras.activations.softmax)


class TemperatureScaling(keras.callbacks.Callback):
    """Fit a temperature on held-out images when training ends, and store it in the model.

    Afterwards `softmax` of the model's logits, or its probabilities if it ends in softmax, are the
    calibrated ones; the predicted classes are those from before. Name it after the callbacks that
    restore or average weights when training ends. Training on goes from the scaled weights.

    Args:
        images: `tf.data.Dataset` of batches of images alone, in a fixed order, not trained on.
        labels: True class indices in that order, integers of shape `(images,)`.
        from_logits: Whether the model gives logits rather than probabilities.

    Attributes:
        fit: The `TemperatureFit`, after training. A fit at a bound, for want of mistakes to learn
            from, is not stored.

    Raises:
        ValueError: If the labels are not such integers; when training begins, if the model does not
            end in `Dense` logits, `from_logits` is not true of it or labels are no classes of it;
            when it ends, if there is not one label a prediction.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(2)])
        >>> model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        >>> x, y = np.eye(2), np.array([0, 1])
        >>> held_out = tf.data.Dataset.from_tensors(np.array([[1.0, 0.2], [0.3, 1.0], [1.0, 0.9]]))
        >>> scaling = TemperatureScaling(held_out, [0, 1, 1])
        >>> history = model.fit(x, y, verbose=0, callbacks=[scaling])
        >>> scaling.fit.temperature > 0
        True

    Source:
        Guo et al., "On Calibration of Modern Neural Networks", 2017, section 4.2.
    """

    def __init__(self, images, labels, *, from_logits=True):
        super().__init__()
        self.images = images
        self.labels = np.asarray(labels)
        if not len(self.labels):
            raise ValueError("TemperatureScaling needs held-out images, received no labels")
        check_indices(self.labels)
        self.from_logits = from_logits
        self.fit: TemperatureFit | None = None

    def on_train_begin(self, logs=None):
        """Look whether the model can take a temperature, before time is spent."""
        check_model(self.model, self.labels)
        _, softmax = logits_layer(self.model)
        if softmax == self.from_logits:
            raise contradicts("TemperatureScaling", self.from_logits)

    def on_train_end(self, logs=None):
        """Fit, and store."""
        outputs = np.asarray(self.model.predict(self.images, verbose=0), np.float64)
        if not self.from_logits:
            outputs = np.log(np.maximum(outputs, np.finfo(np.float64).tiny))
        self.fit = fit_temperature(outputs, self.labels)
        if not self.fit.at_bound:
            scale_logits(self.model, 1.0 / self.fit.temperature)
