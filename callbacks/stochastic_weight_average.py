"""Stochastic weight averaging: the mean of the weights that the end of training walks through."""

import contextlib
from collections.abc import Iterable, Iterator

import keras
import numpy as np

from callbacks._arguments import whole
from callbacks.normalization_statistics import Reestimation


def is_averaged(epoch: int, start: int, every: int) -> bool:
    """Return whether the weights at the end of `epoch`, counted from 1, enter the average.

    Example:
        >>> [epoch for epoch in range(1, 10) if is_averaged(epoch, start=3, every=2)]
        [3, 5, 7, 9]
    """
    return epoch >= start and (epoch - start) % every == 0


class StochasticWeightAverage(keras.callbacks.Callback):
    """Average the weights at the ends of epochs; validate on the average; end on the average.

    From epoch `start` on, every validation that `fit` runs sees the averaged weights, and so does
    any code inside `with average.swapped_in():`, as with `WeightAverage`: give it to `Validation`
    and `EarlyStopping` as `average`, and name it before them. Training goes on with the raw
    weights. Batch normalisation gets statistics of its own for the averaged weights, computed anew
    by `reestimate_normalization` whenever the average changes, since neither the last nor averaged
    ones fit them. When training ends the model holds what was validated; if it ends before `start`,
    that is the raw weights. Half-precision weights are averaged in float32. Another `fit` with the
    same callback begins again.

    The rate of learning decides how far apart the averaged weights are: give the optimizer
    `AveragingRate` (constant, or falling within each cycle of `every` epochs), since Keras lets no
    callback change the rate of an optimizer that has a schedule.

    Args:
        start: Epoch, counted from 1, whose last weights are the first of the average; 1 or more.
        data: Training batches for the statistics, as for `reestimate_normalization`; needed for a
            model with batch normalisation. Use images augmented as in training.
        every: Epochs from one averaged state to the next, 1 or more: the length of a cycle.
        batches: Batches used for the statistics, 1 or more; default: all of `data`. This is the
            cost: one forward pass over them for each averaged state.

    Attributes:
        averaged: How many states the average is of.

    Raises:
        ValueError: For a value out of its range; when training begins, if the model has batch
            normalisation and there is no `data`.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> average = StochasticWeightAverage(start=2)
        >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), epochs=4, verbose=0,
        ...                     callbacks=[average])
        >>> average.averaged
        3

    Source:
        Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018,
        algorithm 1, where the weights of `start` are the pretrained ones; there the statistics are
        computed once, at the end.
    """

    def __init__(
        self,
        start: int,
        data: Iterable | None = None,
        *,
        every: int = 1,
        batches: int | None = None,
    ):
        super().__init__()
        if batches is not None and batches < 1:
            raise ValueError(f"batches must be 1 or more, or None, received: {batches!r}")
        self.start = whole("start", start, 1)
        self.data = data
        self.every = whole("every", every, 1)
        self.batches = batches
        self._weights = None
        self._raw = None
        self._epoch = None
        self._due = False
        self._restored = False
        self._begin()

    def _begin(self):
        self.averaged = 0
        # The averaged weights, those of batch normalisation's statistics re-estimated.
        self._averages = None

    def on_train_begin(self, logs=None):
        """Look whether the statistics can be computed, before time is spent."""
        # Raw weights are left where the validation of an earlier fit was cut short.
        self._raw = None
        if not self._restored:
            self._begin()
        self._restored = False
        self._reestimation = Reestimation(self.model)
        self._statistics = {
            id(statistic)
            for layer in self._reestimation.layers
            for statistic in (layer.moving_mean, layer.moving_variance)
        }
        if self._statistics and self.data is None:
            raise ValueError(
                "data must be given: the model has batch normalisation, whose statistics have to "
                "be computed for the averaged weights"
            )
        # Noted once, so that the averages keep to their weights whatever is added meanwhile.
        self._weights = [
            weight for weight in self.model.weights if keras.backend.is_float_dtype(weight.dtype)
        ]

    def on_epoch_begin(self, epoch, logs=None):
        """Note that the end of this epoch is to come."""
        self._epoch = epoch + 1
        self._due = is_averaged(self._epoch, self.start, self.every)

    def on_test_begin(self, logs=None):
        """Validate on the average (`fit` calls this before its validation)."""
        self._take()
        if self._averages is not None and self._raw is None:
            self._swap_in()

    def on_test_end(self, logs=None):
        """Go back to the raw weights."""
        if self._raw is not None:
            self._swap_out()

    def on_epoch_end(self, epoch, logs=None):
        """Take in the weights of this epoch, unless its validation has done so."""
        self._take()

    def _take(self):
        """Take the present weights into the average, once an epoch, if it is their turn."""
        if not self._due:
            return
        self._due = False
        weights = [_wide(weight) for weight in self._weights]
        if self._averages is None:
            self._averages = weights
        else:
            share = 1.0 / (self.averaged + 1)
            self._averages = [
                (average + (weight - average) * share).astype(weight.dtype)
                for average, weight in zip(self._averages, weights, strict=True)
            ]
        self.averaged += 1
        if self._statistics:
            self._reestimate()

    def _reestimate(self):
        self._swap_in()
        try:
            self._reestimation.run(self.data, self.batches)
            self._averages = [
                _wide(weight) if id(weight) in self._statistics else average
                for weight, average in zip(self._weights, self._averages, strict=True)
            ]
        finally:
            self._swap_out()

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Let the model hold the averaged weights inside the block, the raw ones after it.

        Before there is an average the block sees the raw weights.
        """
        if self._averages is None:
            yield
            return
        self._swap_in()
        try:
            yield
        finally:
            self._swap_out()

    def _swap_in(self):
        self._raw = [weight.numpy() for weight in self._weights]
        for weight, average in zip(self._weights, self._averages, strict=True):
            weight.assign(average)

    def _swap_out(self):
        for weight, raw in zip(self._weights, self._raw, strict=True):
            weight.assign(raw)
        self._raw = None

    def on_train_end(self, logs=None):
        """Leave the averaged weights in the model, if there are any."""
        for weight, average in zip(self._weights, self._averages or [], strict=False):
            weight.assign(average)

    def state(self) -> tuple[dict, list[np.ndarray]]:
        """Return what a resumed run needs: JSON values, and arrays."""
        return {"averaged": self.averaged}, list(self._averages or [])

    def restore(self, values: dict, arrays: list[np.ndarray]) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.averaged = values["averaged"]
        self._averages = list(arrays) or None
        self._restored = True


def _wide(weight):
    """Return a weight as an array in which the average of half-precision ones can be kept."""
    return weight.numpy().astype(keras.backend.result_type(weight.dtype, "float32"))
