"""Learning rates that come again: cosine cycles, and the rate of weight averaging."""

import keras
import numpy as np
from keras import ops

from callbacks._arguments import whole

Schedule = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable(package="keras_recipes")
class CosineCycles(Schedule):
    """Fall from a peak along half a cosine, cycle after cycle: each ends in a good minimum.

    Step `t`, counted from 0, of cycles of `n` steps runs at
    `final + (peak - final) * (1 + cos(pi * (t mod n) / n)) / 2`.

    Args:
        peak: Rate at the start of each cycle, positive.
        cycle_steps: Steps of one cycle, an integer of at least 1: for `T` steps in `M` cycles
            `ceil(T / M)`, which should be whole epochs for `SnapshotEnsemble`.
        final: Rate that a cycle falls to, from 0 to `peak`.
        name: Of the schedule.

    Raises:
        ValueError: For a value out of its range.

    Example:
        >>> rate = CosineCycles(0.2, cycle_steps=4)
        >>> [round(float(rate(step)), 4) for step in range(6)]
        [0.2, 0.1707, 0.1, 0.0293, 0.2, 0.1707]

    Source:
        Huang et al., "Snapshot Ensembles: Train 1, Get M for Free", 2017, equation 2.
    """

    def __init__(self, peak, cycle_steps, *, final=0.0, name="cosine_cycles"):
        if not peak > 0:
            raise ValueError(f"peak must be positive, received: {peak!r}")
        cycle_steps = whole("cycle_steps", cycle_steps, 1)
        if not 0 <= final <= peak:
            raise ValueError(f"final must be between 0 and peak, received: {final!r}")
        self.peak = peak
        self.cycle_steps = cycle_steps
        self.final = final
        self.name = name

    def __call__(self, step):
        """Return the learning rate of `step`, a float32 scalar."""
        # Whole numbers, since float32 counts no further than 2**24.
        within = ops.cast(ops.mod(ops.cast(step, "int64"), self.cycle_steps), "float32")
        shape = 0.5 * (1.0 + ops.cos(np.pi / self.cycle_steps * within))
        return self.final + (self.peak - self.final) * shape

    def get_config(self):
        """Return every argument."""
        return {
            "peak": self.peak,
            "cycle_steps": self.cycle_steps,
            "final": self.final,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="keras_recipes")
class AveragingRate(Schedule):
    """Another schedule up to a step, then the rate at which weights are averaged.

    From `start` on the rate is constant; or, with `final`, falls in a straight line from `rate` to
    `final` within each cycle of `n` steps: `(1 - p) * rate + p * final` with
    `p = ((t - start) mod n + 1) / n`, so that the last step of a cycle runs at `final`.

    Args:
        before: Rate of the steps before `start`: a positive number, or another schedule.
        start: Step, counted from 0, at which averaging begins: for
            `StochasticWeightAverage(start=e)`, `e * steps_per_epoch`.
        rate: The constant rate, or that at the start of a cycle; positive.
        final: Rate at the end of a cycle, positive; default: constant.
        cycle_steps: Steps of a cycle, `every * steps_per_epoch`; with `final`.
        name: Of the schedule.

    Raises:
        ValueError: For a value out of its range.

    Example:
        >>> rate = AveragingRate(0.1, start=2, rate=0.05, final=0.01, cycle_steps=2)
        >>> [round(float(rate(step)), 4) for step in range(6)]
        [0.1, 0.1, 0.03, 0.01, 0.03, 0.01]

    Source:
        Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018,
        section 3.1.
    """

    def __init__(self, before, start, rate, *, final=None, cycle_steps=None, name="averaging_rate"):
        if not isinstance(before, Schedule) and not before > 0:
            raise ValueError(f"before must be positive or a schedule, received: {before!r}")
        if not start >= 0:
            raise ValueError(f"start must be 0 or more, received: {start!r}")
        if not rate > 0:
            raise ValueError(f"rate must be positive, received: {rate!r}")
        if (final is None) != (cycle_steps is None):
            raise ValueError("final and cycle_steps belong together: give both or neither")
        if final is not None:
            if not final > 0:
                raise ValueError(f"final must be positive, received: {final!r}")
            cycle_steps = whole("cycle_steps", cycle_steps, 1)
        self.before = before
        self.start = start
        self.rate = rate
        self.final = final
        self.cycle_steps = cycle_steps
        self.name = name

    def __call__(self, step):
        """Return the learning rate of `step`, a float32 scalar."""
        step = ops.cast(step, "int64")
        before = self.before(step) if isinstance(self.before, Schedule) else self.before
        after = self.rate
        if self.final is not None:
            within = ops.cast(ops.mod(step - self.start, self.cycle_steps), "float32")
            share = (within + 1.0) / self.cycle_steps
            after = (1.0 - share) * self.rate + share * self.final
        return ops.where(step < self.start, ops.cast(before, "float32"), after)

    def get_config(self):
        """Return every argument."""
        before = self.before
        if isinstance(before, Schedule):
            before = keras.optimizers.schedules.serialize(before)
        return {
            "before": before,
            "start": self.start,
            "rate": self.rate,
            "final": self.final,
            "cycle_steps": self.cycle_steps,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        """Make the schedule again, the one before it included."""
        config = dict(config)
        if isinstance(config["before"], dict):
            config["before"] = keras.optimizers.schedules.deserialize(config["before"])
        return cls(**config)
