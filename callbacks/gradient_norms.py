"""Norms of the gradients, in all and by layer, and warnings when they explode or vanish."""

import math
import statistics
import warnings
from collections.abc import Sequence

import keras
import numpy as np

from callbacks._arguments import whole
from callbacks._gradient_tap import Tap

# Measurements before the median is trusted, and in a row before a layer counts as vanishing.
_ENOUGH = 10
# Stands for the norm of a layer that was not trained at the time.
_UNTRAINED = -1.0


def explodes(norm: float, before: Sequence[float], factor: float) -> bool:
    """Return whether a norm is above `factor` times the median of the finite ones before it.

    A norm that is not finite always does, another only once there are 10 to compare it with.

    Example:
        >>> explodes(9.0, [1.0] * 10, 8), explodes(9.0, [1.0] * 9, 8), explodes(float("nan"), [], 8)
        (True, False, True)
    """
    if not math.isfinite(norm):
        return True
    finite = [one for one in before if math.isfinite(one)]
    return len(finite) >= _ENOUGH and norm > factor * statistics.median(finite)


def vanishing_layers(norms: np.ndarray, sizes: Sequence[int], threshold: float) -> np.ndarray:
    """Return which layers learn next to nothing in all of some measurements.

    Of each layer the root mean square of its gradient is taken, `norm / sqrt(size)`, since large
    layers have large norms. It vanishes where it is at most `threshold` times that of the layer
    with the largest.

    Args:
        norms: Shape `(measurements, layers)`.
        sizes: Number of weights of each layer.
        threshold: Share of the largest.

    Returns:
        Truth values of shape `(layers,)`; all false if a norm is not finite.

    Example:
        >>> norms = np.array([[1e-9, 2.0], [1e-8, 1.0]])
        >>> vanishing_layers(norms, [4, 4], 1e-6).tolist()
        [True, False]
    """
    norms = np.asarray(norms, np.float64)
    if not norms.size or not np.isfinite(norms).all():
        return np.zeros(norms.shape[1], bool)
    rows = norms / np.sqrt(sizes)
    largest = rows.max(axis=1, keepdims=True)
    return ((rows <= threshold * largest) & (largest > 0)).all(axis=0)


class GradientNorms(keras.callbacks.Callback):
    """Log the norms of the gradients that `fit` computes; warn when they explode or vanish.

    While training runs, the optimizer's `apply` first notes the norms of what it is given in a
    variable, inside the compiled step, every `every` steps, and then does what it always does:
    the weights come out the same to the bit. Batch by batch nothing is read back but these few
    numbers. Works with `jit_compile`, several steps an execution, and a `train_step` of one's own
    that calls `optimizer.apply` or `apply_gradients`.

    The norms are those of the gradient of the loss: with loss scaling divided by the scale; under a
    distribution strategy of the sum over the replicas, which costs a second sum over the
    replicas; with `gradient_accumulation_steps` of each batch; and always *before* the optimizer
    clips. So they tell where to set `clipnorm` (norm of each variable) or `global_clipnorm` (what
    is logged as `gradient_norm`): somewhat above the median of healthy training. With
    `global_clipnorm=c` the update uses `min(gradient_norm, c)`, and steps are clipped where the
    logged norm is above `c`; an explosion is reported although it is clipped.

    Into the logs of each epoch: `gradient_norm`, the median over its finite measurements, and
    `gradient_norm_max`; with `by_layer` also `gradient_norm/` and each layer's name, its median.

    Args:
        every: Steps from one measurement to the next, 1 or more.
        explosion: Warn when the global norm is not finite, or above this factor times the median
            of the `window` measurements before it (10 at least); above 1.
        vanishing: Warn when the root mean square of a layer's gradient is at most this share of the
            largest of any layer in 10 measurements in a row; 0 for exact zeros alone, or `None`.
        window: Measurements that the running median looks back on, 10 or more.
        by_layer: Whether the norm of each layer goes into the logs, too.

    Attributes:
        history: `"step"`: numbers of the measured steps, from 1, counted in `fit`s of this
            callback; `"global"`: norm of the whole gradient; `"layers"`: name of each layer (its
            path in the model) to a list of norms, `None` where it was not trained.
        events: For each thing worth a warning a dictionary of `step`, `kind` (`"explosion"`,
            `"not finite"`, `"vanishing"` or, with a dynamic loss scale, `"skipped"`, which is no
            cause for alarm), `layer` (`None` for the whole) and `norm`. Each kind is warned of once
            for each layer, as a `UserWarning`.

    Raises:
        ValueError: For a wrong argument; when training begins, if the model is not built.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(
        ...     1, kernel_initializer="zeros", name="line")])
        >>> model.compile("sgd", loss="mse")
        >>> norms = GradientNorms(every=1)
        >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0, callbacks=[norms])
        >>> [round(norm, 4) for norm in norms.history["layers"]["line"]]  # 2 sqrt(3)
        [3.4641]

    Source:
        Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks",
        2013, section 3.2 (clipping by the norm, its threshold from the average norm).
    """

    def __init__(self, *, every=10, explosion=10.0, vanishing=1e-6, window=100, by_layer=False):
        super().__init__()
        if not explosion > 1:
            raise ValueError(f"explosion must be above 1, received: {explosion!r}")
        if vanishing is not None and not 0 <= vanishing < 1:
            raise ValueError(
                f"vanishing must be at least 0 and below 1, or None, received: {vanishing!r}"
            )
        if not window >= _ENOUGH:
            raise ValueError(f"window must be {_ENOUGH} or more, received: {window!r}")
        self.every = whole("every", every, 1)
        self.explosion = explosion
        self.vanishing = vanishing
        self.window = window
        self.by_layer = by_layer
        self.events = []
        # Names of all layers that were ever trained; rows may end before the newest of them.
        self._layers = []
        self._sizes = []
        self._steps = []
        self._norms = []
        self._step = 0
        self._warned = set()
        # The epoch under way, and how much was measured before it.
        self._epoch = None
        self._first = 0
        self._restored = False
        self._tap = None

    @property
    def history(self) -> dict:
        """What was measured so far."""
        table = self._padded(self._norms)
        columns = (
            [None if one == _UNTRAINED else one for one in column] for column in table.T.tolist()
        )
        return {
            "step": list(self._steps),
            "global": [_global(row) for row in table],
            "layers": dict(zip(self._layers, columns, strict=True)),
        }

    def _padded(self, rows):
        """Return rows, of which old ones may lack newer layers, as a table."""
        table = np.full((len(rows), len(self._layers)), _UNTRAINED)
        for place, row in enumerate(rows):
            table[place, : len(row)] = row
        return table

    def on_train_begin(self, logs=None):
        """Listen to the optimizer."""
        if not self.model.built:
            raise ValueError(
                "model must be built to measure its gradients: give it an Input, or call it once"
            )
        if not self._restored:
            self._epoch = None
        self._restored = False
        self._attach()

    def on_epoch_begin(self, epoch, logs=None):
        """Listen to a new optimizer, such as `GradualUnfreezing` gives."""
        if self._tap.optimizer is not self.model.optimizer:
            self._collect()
            self._attach()
        self._batches = 0
        if epoch != self._epoch:  # it is the same where a run is resumed inside
            self._epoch, self._first = epoch, len(self._steps)

    def _attach(self):
        if self._tap is not None:  # also when a `fit` was cut short
            self._tap.detach()
        with self.model.distribute_strategy.scope():
            self._tap = Tap(self.model, self.every, self._step)
        self._batches = 0
        for name, size in self._tap.sizes.items():
            if name not in self._layers:
                self._layers.append(name)
                self._sizes.append(size)
        self.model.make_train_function(force=True)

    def on_train_batch_end(self, batch, logs=None):
        """Read what was noted, once there must be something."""
        if batch + 1 - self._batches >= self.every:
            self._batches = batch + 1
            self._collect()

    def on_epoch_end(self, epoch, logs=None):
        """Read the rest; add to the logs."""
        self._collect()
        self._epoch = None
        table = self._padded(self._norms[self._first :])
        if logs is None or not len(table):
            return
        norms = [_global(row) for row in table]
        logs["gradient_norm"] = _median(norms)
        logs["gradient_norm_max"] = float(np.max(norms))
        if self.by_layer:
            for name, column in zip(self._layers, table.T, strict=True):
                logs[f"gradient_norm/{name}"] = _median(column[column != _UNTRAINED])

    def on_train_end(self, logs=None):
        """Leave the optimizer as it was."""
        self._collect()
        self._tap.detach()
        self._tap = None
        self.model.make_train_function(force=True)

    def _collect(self):
        self._step, found = self._tap.read()
        for step, scale, norms in found:
            row = np.full(len(self._layers), _UNTRAINED)
            for name, norm in zip(self._tap.sizes, norms, strict=True):
                row[self._layers.index(name)] = norm
            self._judge(step, scale, row)
            self._steps.append(step)
            self._norms.append(row)

    def _judge(self, step, scale, row):
        """Look for an explosion now, and for layers that have been vanishing."""
        norm = _global(row)
        if not math.isfinite(norm):
            # A dynamic loss scale is found by raising it until something overflows.
            dynamic = isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)
            broken = self._layers[int(np.flatnonzero(~np.isfinite(row))[0])]
            skipped = dynamic and scale > 1
            self._note(step, *(("skipped", None) if skipped else ("not finite", broken)), norm)
            return
        if explodes(norm, list(map(_global, self._norms[-self.window :])), self.explosion):
            self._note(step, "explosion", None, norm)
        if self.vanishing is not None and len(self._norms) + 1 >= _ENOUGH:
            rows = self._padded([*self._norms[1 - _ENOUGH :], row])
            trained = np.flatnonzero((rows != _UNTRAINED).all(axis=0))
            sizes = np.array(self._sizes)[trained]
            gone = vanishing_layers(rows[:, trained], sizes, self.vanishing)
            for place in trained[gone]:
                self._note(step, "vanishing", self._layers[place], float(row[place]))

    def _note(self, step, kind, layer, norm):
        self.events.append({"step": step, "kind": kind, "layer": layer, "norm": norm})
        if kind == "skipped" or (kind, layer) in self._warned:
            return
        self._warned.add((kind, layer))
        warnings.warn(f"step {step}: {self._message(kind, layer, norm)}", stacklevel=2)

    def _message(self, kind, layer, norm):
        if kind == "not finite":
            return f"the gradient is not finite, first in layer {layer!r}"
        if kind == "explosion":
            return (
                f"the norm of the gradient is {norm:.3g}, more than {self.explosion:g} times its "
                "running median: lower the learning rate, or clip with global_clipnorm"
            )
        return (
            f"the gradient of layer {layer!r} has vanished: its norm is {norm:.3g}, "
            f"for {_ENOUGH} measurements at most {self.vanishing:g} of that of other layers "
            "by root mean square"
        )

    def state(self) -> tuple[dict, list[np.ndarray]]:
        """Return what a resumed run needs: JSON values, and arrays."""
        if self._tap is not None:
            self._collect()
        values = {
            "epoch": self._epoch,
            "first": self._first,
            "layers": self._layers,
            "sizes": self._sizes,
            "step": self._step,
            "warned": sorted(self._warned, key=str),
            # As text: JSON has no infinity.
            "events": [{**event, "norm": repr(event["norm"])} for event in self.events],
        }
        return values, [np.array(self._steps, np.int64), self._padded(self._norms)]

    def restore(self, values: dict, arrays: list[np.ndarray]) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self._restored = True
        self._epoch, self._first = values["epoch"], values["first"]
        self._layers, self._sizes = list(values["layers"]), list(values["sizes"])
        self._step = values["step"]
        self._warned = {tuple(one) for one in values["warned"]}
        self.events = [{**event, "norm": float(event["norm"])} for event in values["events"]]
        self._steps, self._norms = arrays[0].tolist(), list(arrays[1])


def _global(row):
    """Return the norm of all layers together; those that were not trained do not count."""
    row = np.asarray(row, np.float64)
    return float(np.sqrt(np.square(row[row != _UNTRAINED]).sum()))


def _median(norms):
    norms = np.asarray(norms)
    norms = norms[np.isfinite(norms)]
    return float(np.median(norms)) if len(norms) else math.nan
