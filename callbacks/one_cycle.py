"""The one-cycle policy: the learning rate up and down once, the momentum down and up."""

import math

import keras
import numpy as np
from keras import ops

from callbacks._optimizers import inner_optimizer

ANNEALS = ("cosine", "linear")


def cycle_position(
    step: float, steps: int, *, warmup: float, annihilation: float, anneal: str
) -> float:
    """Return how far up the cycle a step is: 0 at its ends, 1 at its top.

    With `last = steps - 1`, `top = warmup * last` and `end = (1 - annihilation) * last`, the way
    up is `u = step / top`, the way down `u = (end - step) / (end - top)`, cut to [0, 1]. The
    position is `u` for `"linear"` and `(1 - cos(pi * u)) / 2` for `"cosine"`.

    Example:
        >>> [cycle_position(t, 11, warmup=0.4, annihilation=0.2, anneal="linear")
        ...  for t in (0, 2, 4, 6, 8, 10)]
        [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]
    """
    last = max(steps - 1, 1)
    top, end = warmup * last, (1 - annihilation) * last
    way = step / top if step < top else (end - step) / (end - top)
    way = min(max(way, 0.0), 1.0)
    return way if anneal == "linear" else (1 - math.cos(math.pi * way)) / 2


def one_cycle(
    step: float,
    peak: float,
    steps: int,
    *,
    warmup: float,
    start: float,
    final: float,
    annihilation: float,
    anneal: str,
) -> float:
    """Return the learning rate of one step; the reference in NumPy for `OneCycle`.

    With `c = cycle_position(step)`, the share of the peak is `low + (1 - low) * c`. On the way up
    `low` is `start`. On the way down it is `final`; or, with an annihilation phase, it is `start`
    again, and that phase goes from `start` to `final`, by the same curve.

    Example:
        >>> [round(one_cycle(t, 1.0, 11, warmup=0.4, start=0.1, final=0.0, annihilation=0.2,
        ...                  anneal="linear"), 3) for t in (0, 2, 4, 6, 8, 9, 10)]
        [0.1, 0.55, 1.0, 0.55, 0.1, 0.05, 0.0]
    """
    last = max(steps - 1, 1)
    top, end = warmup * last, (1 - annihilation) * last
    position = cycle_position(step, steps, warmup=warmup, annihilation=annihilation, anneal=anneal)
    if step < top or (annihilation and step < end):
        return peak * (start + (1 - start) * position)
    if not annihilation:
        return peak * (final + (1 - final) * position)
    way = min(max((last - step) / (last - end), 0.0), 1.0)
    share = way if anneal == "linear" else (1 - math.cos(math.pi * way)) / 2
    return peak * (final + (start - final) * share)


@keras.saving.register_keras_serializable(package="keras_recipes")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """One cycle: up from a low learning rate to a high one, then down to almost nothing.

    Step 0 runs at `start * peak`, step `warmup * (steps - 1)` at `peak`, step `steps - 1`, the
    last one, at `final * peak`; `one_cycle` has the formula. The momentum that belongs to it is
    cycled by the callback `OneCycleMomentum`.

    Args:
        peak: Highest learning rate, positive.
        steps: Steps of the whole run, 2 or more.
        warmup: Share of the steps on the way up, above 0.
        start: Rate of the first step as a share of the peak, in [0, 1].
        final: Rate of the last step as a share of the peak, in [0, 1].
        annihilation: Share of the steps, at the end, of a phase of its own that goes from
            `start` to `final`, 0 or more: then the way down ends at `start`. 0 for no such phase:
            the way down ends at `final`.
        anneal: `"cosine"` or `"linear"`.

    Raises:
        ValueError: For a value out of its range, or if `warmup + annihilation` is not below 1.

    Example:
        >>> schedule = OneCycle(0.1, steps=101, warmup=0.3, start=0.04, final=0.0)
        >>> [round(float(schedule(step)), 4) for step in (0, 15, 30, 65, 100)]
        [0.004, 0.052, 0.1, 0.05, 0.0]

    Source:
        Smith and Topin, "Super-Convergence", 2018, section 3: `OneCycle(peak, steps, warmup=0.45,
        annihilation=0.1, start=0.1, final=0.001, anneal="linear")` is its policy, two legs of
        equal length and a short phase far below. The defaults (30 % up, cosine, two phases) are
        those that fastai made common.
    """

    def __init__(
        self,
        peak,
        steps,
        *,
        warmup=0.3,
        start=0.04,
        final=4e-6,
        annihilation=0.0,
        anneal="cosine",
        name="one_cycle",
    ):
        if not 0 < peak < math.inf:
            raise ValueError(f"peak must be positive, received: {peak!r}")
        if not steps >= 2:
            raise ValueError(f"steps must be 2 or more, received: {steps!r}")
        if not 0 < warmup < 1:
            raise ValueError(f"warmup must be above 0 and below 1, received: {warmup!r}")
        if not 0 <= annihilation < 1:
            raise ValueError(f"annihilation must be 0 or more, below 1, received: {annihilation!r}")
        if not warmup + annihilation < 1:
            raise ValueError(
                "warmup + annihilation must be below 1 to leave steps for the way down, "
                f"received: {warmup!r} + {annihilation!r}"
            )
        for share, value in (("start", start), ("final", final)):
            if not 0 <= value <= 1:
                raise ValueError(f"{share} must be between 0 and 1, received: {value!r}")
        if anneal not in ANNEALS:
            raise ValueError(f"anneal must be one of {ANNEALS}, received: {anneal!r}")
        self.peak = peak
        self.steps = steps
        self.warmup = warmup
        self.start = start
        self.final = final
        self.annihilation = annihilation
        self.anneal = anneal
        self.name = name

    def _corners(self):
        """Return the steps of the top, of the end of the way down, and the last."""
        last = max(self.steps - 1, 1)
        return self.warmup * last, (1 - self.annihilation) * last, float(last)

    def _curve(self, way):
        way = ops.clip(way, 0.0, 1.0)
        return way if self.anneal == "linear" else 0.5 * (1.0 - ops.cos(np.pi * way))

    def position(self, step):
        """Return how far up the cycle `step` is, in [0, 1], a float32 scalar."""
        step = ops.cast(step, "float32")
        top, end, _ = self._corners()
        return self._curve(ops.minimum(step / top, (end - step) / (end - top)))

    def __call__(self, step):
        """Return the learning rate of `step` (counted from 0), a float32 scalar."""
        position = self.position(step)
        step = ops.cast(step, "float32")
        top, end, last = self._corners()
        from_start = self.start + (1.0 - self.start) * position
        if self.annihilation:
            tail = self._curve((last - step) / (last - end))
            rest = self.final + (self.start - self.final) * tail
            return self.peak * ops.where(step < end, from_start, rest)
        rest = self.final + (1.0 - self.final) * position
        return self.peak * ops.where(step < top, from_start, rest)

    def get_config(self):
        """Return every argument."""
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "start": self.start,
            "final": self.final,
            "annihilation": self.annihilation,
            "anneal": self.anneal,
            "name": self.name,
        }


class _Following(float):
    """A number that reads as a constant, and that a training step computes from the step.

    Optimizers take no schedule of their momentum: they check it as a number, save it as a number,
    and make a tensor of it where they compute. It stays the number that it was for the first two,
    and is `value()` for the third, traced like the learning rate of a schedule.
    """

    def __new__(cls, number, value):
        made = super().__new__(cls, number)
        made.value = value
        return made

    def __tf_tensor__(self, dtype=None, name=None):
        value = self.value()
        return value if dtype is None else ops.cast(value, dtype)

    def __rsub__(self, other):
        return other - self.value()

    def __reduce__(self):
        return float, (float(self),)


class OneCycleMomentum(keras.callbacks.Callback):
    """Cycle the momentum against the learning rate of a `OneCycle`, while `fit` runs.

    The momentum is `high - (high - low) * position`, with the schedule's `position` of the step:
    high where the learning rate is low, low at its peak, high in an annihilation phase. It is
    computed inside the training step from the optimizer's own step count: exact with
    `steps_per_execution`, nothing is traced again as it changes, and a resumed run goes on where it
    was. It is the `momentum` of SGD or the `beta_1` of Adam and AdamW (whose bias correction takes
    the momentum of the step, as in PyTorch). Afterwards it is what it was; a model saved meanwhile
    holds that, too.

    Args:
        schedule: The `OneCycle` that the optimizer runs.
        low: Momentum at the peak of the learning rate, above 0 and below `high`.
        high: Momentum at the ends, below 1.

    Raises:
        ValueError: If a value is out of its range; when training begins, if SGD has no momentum.
        TypeError: If `schedule` is no `OneCycle`; when training begins, for another optimizer.

    Example:
        >>> schedule = OneCycle(0.1, steps=8)
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(schedule, momentum=0.9), loss="mse")
        >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=1, verbose=0,
        ...                     callbacks=[OneCycleMomentum(schedule)])
        >>> model.optimizer.momentum
        0.9

    Source:
        Smith, "A disciplined approach to neural network hyper-parameters: Part 1", 2018, section
        4.3 (cyclical momentum, 0.95 to 0.85).
    """

    def __init__(self, schedule, *, low=0.85, high=0.95):
        super().__init__()
        if not isinstance(schedule, OneCycle):
            raise TypeError(f"schedule must be a OneCycle, received: {schedule!r}")
        if not 0 < low < high < 1:
            raise ValueError(f"low and high must rise between 0 and 1, received: {low!r}, {high!r}")
        self.schedule = schedule
        self.low = low
        self.high = high
        self._changed = None

    def momentum(self, step):
        """Return the momentum of one step, a float32 scalar tensor."""
        return self.high - (self.high - self.low) * self.schedule.position(step)

    def on_train_begin(self, logs=None):
        """Let the optimizer follow the cycle; the training step is traced with it."""
        self._follow()

    def on_epoch_begin(self, epoch, logs=None):
        """Follow a new optimizer, such as `GradualUnfreezing` gives."""
        if inner_optimizer(self.model.optimizer) is not self._changed[0]:
            self._restore()
            self._follow()

    def _follow(self):
        optimizer = inner_optimizer(self.model.optimizer)
        name = _momentum_name(optimizer)
        # Plain, since an optimizer that was made from the settings of another has the cycled one's.
        before = float(getattr(optimizer, name))
        if not before > 0:
            raise ValueError(
                "OneCycleMomentum needs an SGD that was made with a momentum above 0, "
                f"received: {before!r}"
            )
        self._changed = optimizer, name, before
        setattr(optimizer, name, _Following(before, lambda: self.momentum(_step_of(optimizer))))
        self.model.make_train_function(force=True)

    def on_train_end(self, logs=None):
        """Put the constant momentum back."""
        self._restore()
        self.model.make_train_function(force=True)

    def _restore(self):
        optimizer, name, before = self._changed
        setattr(optimizer, name, before)


def _momentum_name(optimizer):
    if isinstance(optimizer, keras.optimizers.SGD):
        return "momentum"
    if isinstance(optimizer, keras.optimizers.Adam):
        return "beta_1"
    raise TypeError(
        "OneCycleMomentum cycles the momentum of SGD, Adam and AdamW, "
        f"received: {type(optimizer).__name__}"
    )


def _step_of(optimizer):
    """Return the step that a schedule of the learning rate is given.

    With `gradient_accumulation_steps` that counts batches, `optimizer.iterations` updates, and an
    update happens in the last batch of its own.
    """
    batches = optimizer.gradient_accumulation_steps or 1
    return ops.cast(optimizer.iterations, "float32") * batches + (batches - 1)
