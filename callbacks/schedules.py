"""Learning-rate schedules: a warmup, then a decay."""

import keras
import numpy as np
from keras import ops

from callbacks._arguments import whole

DECAYS = ("cosine", "linear", "constant")


def warmup_decay(
    step: float, peak: float, steps: int, *, warmup: float, final: float, decay: str
) -> float:
    """Return the learning rate of one step; the reference in NumPy for `WarmupDecay`.

    With `w = round(warmup * steps)` warmup steps, step `t < w` runs at `peak * (t + 1) / w`. After
    it, with `p = (t - w) / (steps - w)`, the share of the peak is
    `final + (1 - final) * (1 + cos(pi * p)) / 2` for `"cosine"` and `final + (1 - final) * (1 - p)`
    for `"linear"`.

    Example:
        >>> [round(warmup_decay(t, 1.0, 10, warmup=0.2, final=0.0, decay="linear"), 3)
        ...  for t in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.125]
    """
    warmup_steps = round(warmup * steps)
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = min((step - warmup_steps) / max(steps - warmup_steps, 1), 1.0)
    shape = {"cosine": (1 + np.cos(np.pi * progress)) / 2, "linear": 1 - progress, "constant": 1.0}
    return float(peak * (final + (1 - final) * shape[decay]))


@keras.saving.register_keras_serializable(package="keras_recipes")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warmup to a peak, then a cosine or linear decay, by the optimizer's own step.

    A schedule inside the optimizer, unlike a callback, is restored with `optimizer.iterations`.

    Args:
        peak: Highest learning rate, positive.
        steps: Steps of the whole run, positive.
        warmup: Share of the steps that the warmup takes, in [0, 1).
        final: Rate reached after the last step, as a share of the peak, in [0, 1].
        decay: `"cosine"`, `"linear"` or `"constant"`.
        hold: Calls of the optimizer for each step, its `gradient_accumulation_steps`, 1 or more.

    Raises:
        ValueError: For a value out of its range.

    Example:
        >>> schedule = WarmupDecay(0.1, steps=100, warmup=0.1)
        >>> round(float(schedule(9)), 4), round(float(schedule(55)), 4)
        (0.1, 0.05)

    Source:
        Goyal et al., "Accurate, Large Minibatch SGD", 2017 (linear warmup); Loshchilov and Hutter,
        "SGDR", 2017, equation 5 (cosine, without restarts).
    """

    def __init__(
        self,
        peak,
        steps,
        *,
        warmup=0.0,
        final=0.0,
        decay="cosine",
        hold=1,
        name="warmup_decay",
    ):
        if not peak > 0:
            raise ValueError(f"peak must be positive, received: {peak!r}")
        if not steps > 0:
            raise ValueError(f"steps must be positive, received: {steps!r}")
        if not 0 <= warmup < 1:
            raise ValueError(f"warmup must be at least 0 and below 1, received: {warmup!r}")
        if not 0 <= final <= 1:
            raise ValueError(f"final must be between 0 and 1, received: {final!r}")
        if decay not in DECAYS:
            raise ValueError(f"decay must be one of {DECAYS}, received: {decay!r}")
        self.peak = peak
        self.steps = steps
        self.warmup = warmup
        self.final = final
        self.decay = decay
        self.hold = whole("hold", hold, 1)
        self.name = name

    def __call__(self, step):
        """Return the learning rate of `step` (counted from 0), a float32 scalar."""
        if self.hold > 1:
            step = ops.floor_divide(step, self.hold)
        step = ops.cast(step, "float32")
        warmup_steps = float(round(self.warmup * self.steps))
        decay_steps = max(self.steps - warmup_steps, 1.0)
        progress = ops.clip((step - warmup_steps) / decay_steps, 0.0, 1.0)
        if self.decay == "cosine":
            shape = 0.5 * (1.0 + ops.cos(np.pi * progress))
        elif self.decay == "linear":
            shape = 1.0 - progress
        else:
            shape = ops.ones_like(progress)
        rising = (step + 1.0) / max(warmup_steps, 1.0)
        falling = self.final + (1.0 - self.final) * shape
        return self.peak * ops.where(step < warmup_steps, rising, falling)

    def get_config(self):
        """Return every argument."""
        return {
            "peak": self.peak,
            "steps": self.steps,
            "warmup": self.warmup,
            "final": self.final,
            "decay": self.decay,
            "hold": self.hold,
            "name": self.name,
        }
