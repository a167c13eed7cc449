"""Exponential moving average of the weights, validated and kept."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from callbacks._layers import frozen_weights
from callbacks._optimizers import inner_optimizer


def average_decay(decay: float, step: int) -> float:
    """Return the decay of one step: held low early on, so that the start is forgotten soon.

    `min(decay, (1 + step) / (10 + step))`, step counted from 0.

    Example:
        >>> average_decay(0.999, 0), average_decay(0.999, 100_000)
        (0.1, 0.999)
    """
    return min(decay, (1 + step) / (10 + step))


class WeightAverage(keras.callbacks.Callback):
    """Average the weights over the steps; validate on the average; end on the average.

    Every `model.evaluate` that `fit` runs for its validation sees the averaged weights, and so does
    any code inside `with average.swapped_in():`. Training goes on with the raw ones. When training
    ends, the model holds the averaged weights, those that were validated. (Stock Keras ends on raw
    weights when its averaging meets early stopping.) Batch-normalisation statistics are averaged
    like the weights that they belong to. Weights of frozen layers stay what they are, to the bit.
    Half-precision weights are averaged in float32. Another `fit` with the same callback begins
    again.

    Args:
        decay: Decay of one step, in [0, 1); the average remembers about `1 / (1 - decay)` steps.

    Raises:
        ValueError: If `decay` is out of range.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0,
        ...                     callbacks=[WeightAverage(0.99)])

    Source:
        Polyak and Juditsky, 1992; the warm start follows `tf.train.ExponentialMovingAverage`.
    """

    def __init__(self, decay=0.999):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, received: {decay!r}")
        self.decay = decay
        self.steps = 0
        self._averages = None
        self._update = None
        self._raw = None
        self._frozen = None
        self._restored = False

    def on_train_begin(self, logs=None):
        """Start from the weights of the model, unless a state was restored."""
        # Raw weights are left where the validation of an earlier fit was cut short.
        self._raw = None
        if not self._restored:
            self.steps = 0
            self._averages = [_average(weight) for weight in self._weights()]
        self._restored = False
        self._make_update()
        self._iterations = int(self.model.optimizer.iterations.numpy())

    def on_epoch_begin(self, epoch, logs=None):
        """Take note of a new optimizer, and of what was frozen or unfrozen."""
        self._iterations = int(self.model.optimizer.iterations.numpy())
        if frozen_weights(self.model) != self._frozen:
            self._make_update()

    def _make_update(self):
        # The average of a weight that stands still would be off by rounding, so it is left alone.
        self._frozen = frozen_weights(self.model)
        pairs = [
            (average, weight)
            for average, weight in zip(self._averages, self._weights(), strict=True)
            if id(weight) not in self._frozen
        ]

        @tf.function
        def update(kept):
            for average, weight in pairs:
                share = tf.cast(kept, average.dtype)
                # weight.value, not the half-precision copy that a layer's scope would give
                now = tf.cast(weight.value, average.dtype)
                average.assign(share * average + (1.0 - share) * now)

        self._update = update

    def _weights(self):
        return [
            weight for weight in self.model.weights if keras.backend.is_float_dtype(weight.dtype)
        ]

    def on_train_batch_end(self, batch, logs=None):
        """Take in the weights; one call may stand for several steps of `steps_per_execution`."""
        iterations = int(self.model.optimizer.iterations.numpy())
        if iterations == self._iterations and self._accumulates():
            return  # the gradient is still being gathered
        kept = 1.0
        for _ in range(max(iterations - self._iterations, 1)):
            kept *= average_decay(self.decay, self.steps)
            self.steps += 1
        self._iterations = iterations
        self._update(tf.constant(kept, tf.float32))

    def _accumulates(self):
        return inner_optimizer(self.model.optimizer).gradient_accumulation_steps is not None

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Let the model hold the averaged weights inside the block, the raw ones after it."""
        self._swap_in()
        try:
            yield
        finally:
            self._swap_out()

    def _swap_in(self):
        weights = self._weights()
        self._raw = [weight.numpy() for weight in weights]
        for weight, average in zip(weights, self._averages, strict=True):
            weight.assign(average)

    def _swap_out(self):
        for weight, raw in zip(self._weights(), self._raw, strict=True):
            weight.assign(raw)
        self._raw = None

    def on_test_begin(self, logs=None):
        """Validate on the average (`fit` calls this before its validation)."""
        if self._averages is not None and self._raw is None:
            self._swap_in()

    def on_test_end(self, logs=None):
        """Go back to the raw weights."""
        if self._raw is not None:
            self._swap_out()

    def on_train_end(self, logs=None):
        """Leave the averaged weights in the model."""
        for weight, average in zip(self._weights(), self._averages, strict=True):
            weight.assign(average)

    def state(self) -> tuple[dict, list[np.ndarray]]:
        """Return what a resumed run needs: JSON values, and arrays."""
        return {"steps": self.steps}, [average.numpy() for average in self._averages]

    def restore(self, values: dict, arrays: list[np.ndarray]) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.steps = values["steps"]
        self._averages = [tf.Variable(array, trainable=False) for array in arrays]
        self._restored = True


def _average(weight):
    dtype = keras.backend.result_type(weight.dtype, "float32")
    return tf.Variable(tf.cast(weight.value, dtype), trainable=False)
