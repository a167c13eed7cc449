"""Statistics of batch normalisation computed anew, exactly, from training batches."""

import itertools
import math
from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from callbacks._layers import walk

# What a layer needs to have to be handled as batch normalisation.
_STATISTICS = ("moving_mean", "moving_variance", "momentum")
# Impossible variances, halved by each use of a layer at momentum 0.5; the second for float16.
_MARK, _SMALL_MARK = 1e30, 2.0**15


class PooledMoments:
    """Mean and variance of values that come in batches, as if they had come at once; float64.

    Args:
        size: Number of channels.

    Attributes:
        count: Weight of the batches so far.
        mean: Shape `(size,)`.

    Example:
        >>> pooled = PooledMoments(1)
        >>> pooled.add(2, np.array([1.0]), np.array([1.0]))  # the values 0 and 2
        >>> pooled.add(1, np.array([4.0]), np.array([0.0]))  # the value 4
        >>> float(pooled.mean[0]), round(float(pooled.variance[0]), 4)
        (2.0, 2.6667)

    Source:
        Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances", 1979, equations 2.1.
    """

    def __init__(self, size):
        self.count = 0.0
        self.mean = np.zeros(size)
        self._squares = np.zeros(size)

    def add(self, count: float, mean: np.ndarray, variance: np.ndarray) -> None:
        """Take in a batch by its number of values, mean, and variance (divided by the number)."""
        mean, variance = np.asarray(mean, np.float64), np.asarray(variance, np.float64)
        total = self.count + count
        difference = mean - self.mean
        self.mean = self.mean + difference * (count / total)
        self._squares += count * variance + difference**2 * (self.count * count / total)
        self.count = total

    @property
    def variance(self) -> np.ndarray:
        """Variance (divided by the number of values), shape `(size,)`."""
        return self._squares / self.count


def normalization_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the batch normalisations of a model, nested ones included.

    Those are `keras.layers.BatchNormalization`, what derives from it, and any layer that has
    `moving_mean`, `moving_variance` and `momentum`.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.BatchNormalization()])
        >>> len(normalization_layers(model))
        1
    """
    return [
        layer
        for layer in walk(model)
        if all(getattr(layer, name, None) is not None for name in _STATISTICS)
    ]


def reestimate_normalization(
    model: keras.Model, data: Iterable, *, batches: int | None = None
) -> int:
    """Set the statistics of batch normalisation to the exact ones over training batches.

    What training leaves in `moving_mean` and `moving_variance` is an average that forgets, over
    weights that have changed since. Here mean and variance are pooled over all the batches at the
    present weights: as of one large batch, with the spread of the means between batches. One pass
    over the data serves all layers: as in training, each layer of it sees what the layers before
    give when they normalise by the batch, so with several layers the batches should be of the size
    that was trained on. Dropout drops, as in training.

    Layers in inference mode (`trainable=False`) and layers that the model does not use are left
    alone. Nothing else of the model changes: weights, random generators and other states are what
    they were.

    Args:
        model: A built model.
        data: `tf.data.Dataset` or other iterable of batches as for `fit`: inputs, or tuples that
            begin with them; floating point or integer as the model takes them.
        batches: How many batches to use, 1 or more; default: all.

    Returns:
        The number of layers that were set.

    Raises:
        ValueError: If there is no batch, or no end of them; for a layer that is used at several
            places (its statistics belong to none of them) or that renormalises. The model is left
            as it was.

    Example:
        >>> layer = keras.layers.BatchNormalization()
        >>> model = keras.Sequential([keras.layers.Input((1,)), layer])
        >>> data = tf.data.Dataset.from_tensor_slices([[0.0], [2.0], [4.0]]).batch(2)
        >>> reestimate_normalization(model, data)
        1
        >>> float(layer.moving_mean[0]), round(float(layer.moving_variance[0]), 4)
        (2.0, 2.6667)

    Source:
        Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018,
        section 3.2. `torch.optim.swa_utils.update_bn` takes the plain mean of the variances of the
        batches, without the spread between them.
    """
    return Reestimation(model).run(data, batches)


class Reestimation:
    """`reestimate_normalization` of one model again and again, traced once.

    Args:
        model: A built model.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self.layers = normalization_layers(model)
        # The traced forward pass, by shapes and by the layers that move.
        self._traced = {}

    def run(self, data: Iterable, batches: int | None = None) -> int:
        """Set the statistics; arguments, result and errors of `reestimate_normalization`."""
        _check_data(data, batches)
        for layer in self.layers:
            if getattr(layer, "renorm", False):
                raise ValueError(
                    f"layer {layer.name!r} renormalises: its statistics cannot be pooled"
                )
        if not self.layers:
            return 0
        states = [variable for variable in self.model.variables if not variable.trainable]
        before = [variable.numpy() for variable in states]
        momenta = [layer.momentum for layer in self.layers]
        pooled = {}
        try:
            pooled = self._pool(itertools.islice(data, batches))
        finally:
            for variable, value in zip(states, before, strict=True):
                variable.assign(value)
            for layer, momentum in zip(self.layers, momenta, strict=True):
                layer.momentum = momentum
        for layer, moments in pooled.items():
            layer.moving_mean.assign(moments.mean)
            layer.moving_variance.assign(moments.variance)
        return len(pooled)

    def _pool(self, data):
        """Return the moments of each layer that has any, over all batches."""
        pooled = None
        for batch in data:
            inputs = batch[0] if isinstance(batch, tuple | list) else batch
            inputs = keras.tree.map_structure(tf.convert_to_tensor, inputs)
            if pooled is None:
                used = self._used(inputs)
                pooled = {layer: PooledMoments(layer.moving_mean.shape) for layer in used}
                # At momentum 0 the moving statistics are those of the batch.
                self._set_momentum(0.0)
            self._forward(inputs, used)
            count = len(keras.tree.flatten(inputs)[0])
            for layer, moments in pooled.items():
                moments.add(count, layer.moving_mean.numpy(), layer.moving_variance.numpy())
        if pooled is None:
            raise ValueError("data must hold at least one batch, received none")
        return pooled

    def _used(self, inputs):
        """Return the layers that one training step updates; raise if it updates one repeatedly."""
        before = [layer.moving_variance.numpy() for layer in self.layers]
        for layer in self.layers:
            mark = _SMALL_MARK if layer.moving_variance.dtype == "float16" else _MARK
            layer.moving_variance.assign(np.full(layer.moving_variance.shape, mark))
        marks = [layer.moving_variance.numpy() for layer in self.layers]
        self._set_momentum(0.5)
        self.model(inputs, training=True)
        used = []
        for layer, mark, variance in zip(self.layers, marks, before, strict=True):
            marked = layer.moving_variance.numpy()
            # A layer in inference mode goes on to normalise by it.
            layer.moving_variance.assign(variance)
            if (marked == mark).all():
                continue
            # Of the channel that the variance of the batch has moved least. It may be as large as
            # the mark of float16, or, in a diverged model, no number.
            shrunk = (mark / marked).max()
            uses = max(1, round(math.log2(shrunk))) if shrunk > 1 else 1
            if uses > 1:
                raise ValueError(
                    f"layer {layer.name!r} is used at {uses} places of the model: "
                    "no statistics are right for all of them"
                )
            used.append(layer)
        return used

    def _set_momentum(self, momentum):
        for layer in self.layers:
            layer.momentum = momentum

    def _forward(self, inputs, used):
        """Run the model in training mode; a layer's momentum is the one that it was traced with."""
        specs = keras.tree.map_structure(
            lambda tensor: tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype), inputs
        )
        key = (str(specs), tuple(map(id, used)))
        if key not in self._traced:
            function = tf.function(lambda values: self.model(values, training=True))
            self._traced[key] = function.get_concrete_function(specs)
        self._traced[key](inputs)


def _check_data(data, batches):
    if batches is not None and batches < 1:
        raise ValueError(f"batches must be 1 or more, or None, received: {batches!r}")
    endless = (
        isinstance(data, tf.data.Dataset) and data.cardinality() == tf.data.INFINITE_CARDINALITY
    )
    if batches is None and endless:
        raise ValueError("batches must be given: the data has no end")
