"""A learning rate that falls in steps, after a warmup."""

import math
from collections.abc import Sequence

import keras
from keras import ops


def step_decay(
    step: int,
    peak: float,
    boundaries: Sequence[float],
    *,
    factor: float,
    warmup: float,
    steps_per_epoch: int,
) -> float:
    """Return the learning rate of one step; the reference in plain Python for `StepDecay`.

    With `w = round(warmup * steps_per_epoch)`, step `t < w` runs at `peak * (t + 1) / w`. After
    it, the rate is `peak * factor ** k`, where `k` counts the boundaries with
    `round(boundary * steps_per_epoch) <= t`.

    Example:
        >>> [round(step_decay(t, 1.0, [3, 4], factor=0.1, warmup=1, steps_per_epoch=2), 3)
        ...  for t in range(9)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.01]
    """
    warmup_steps = round(warmup * steps_per_epoch)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    passed = sum(round(boundary * steps_per_epoch) <= step for boundary in boundaries)
    return peak * factor**passed


@keras.saving.register_keras_serializable(package="keras_recipes")
class StepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup to a peak, which is multiplied by a factor at each boundary.

    `step_decay` has the formula.

    Args:
        peak: Highest learning rate, positive.
        boundaries: When the rate falls, rising, positive: steps, or epochs if `steps_per_epoch` is
            given. The step with the number of a boundary, counted from 0, is the first at the
            lower rate.
        factor: Of the rate at each boundary, above 0 and below 1.
        warmup: Length of the warmup in the same unit, 0 or more, at most the first boundary.
        steps_per_epoch: Steps of an epoch if the unit is epochs, or `None`.

    Raises:
        ValueError: For a value out of its range.

    Example:
        >>> schedule = StepDecay(0.1, [30, 60, 80], warmup=5, steps_per_epoch=100)
        >>> [round(float(schedule(epoch * 100)), 5) for epoch in (0, 2.5, 5, 30, 60, 80)]
        [0.0002, 0.0502, 0.1, 0.01, 0.001, 0.0001]

    Source:
        He et al., "Deep residual learning", 2015, section 3.4 (a tenth at each plateau); Goyal et
        al., "Accurate, Large Minibatch SGD", 2017, section 5.1 (at 30, 60 and 80 epochs, warmup 5).
    """

    def __init__(
        self, peak, boundaries, *, factor=0.1, warmup=0, steps_per_epoch=None, name="step_decay"
    ):
        boundaries = list(boundaries)
        if not 0 < peak < math.inf:
            raise ValueError(f"peak must be positive, received: {peak!r}")
        if not boundaries or not all(
            low < high for low, high in zip([0, *boundaries], boundaries, strict=False)
        ):
            raise ValueError(f"boundaries must be positive and rising, received: {boundaries!r}")
        if not 0 < factor < 1:
            raise ValueError(f"factor must be above 0 and below 1, received: {factor!r}")
        if not 0 <= warmup <= boundaries[0]:
            raise ValueError(
                f"warmup must be between 0 and the first boundary ({boundaries[0]!r}), "
                f"received: {warmup!r}"
            )
        if steps_per_epoch is not None and not steps_per_epoch >= 1:
            raise ValueError(
                f"steps_per_epoch must be 1 or more, or None, received: {steps_per_epoch!r}"
            )
        self.peak = peak
        self.boundaries = boundaries
        self.factor = factor
        self.warmup = warmup
        self.steps_per_epoch = steps_per_epoch
        self.name = name

    def __call__(self, step):
        """Return the learning rate of `step` (counted from 0), a float32 scalar."""
        unit = self.steps_per_epoch or 1
        warmup_steps = round(self.warmup * unit)
        # Whole numbers: float32 could not tell large steps apart.
        step = ops.cast(step, "int64")
        places = ops.convert_to_tensor([round(b * unit) for b in self.boundaries], "int64")
        passed = ops.sum(ops.cast(step >= places, "int32"))
        rates = [self.peak * self.factor**count for count in range(len(self.boundaries) + 1)]
        falling = ops.take(ops.convert_to_tensor(rates, "float32"), passed)
        rising = self.peak * ops.cast(step + 1, "float32") / max(warmup_steps, 1)
        return ops.where(step < warmup_steps, rising, falling)

    def get_config(self):
        """Return every argument."""
        return {
            "peak": self.peak,
            "boundaries": self.boundaries,
            "factor": self.factor,
            "warmup": self.warmup,
            "steps_per_epoch": self.steps_per_epoch,
            "name": self.name,
        }
