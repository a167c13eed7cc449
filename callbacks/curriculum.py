"""A curriculum: how strongly images are augmented changes as training goes on."""

import math

import keras

SHAPES = ("linear", "cosine", "step")


def curriculum_strength(
    time: float, over: float, *, shape: str, start: float, end: float, stairs: int = 4
) -> float:
    """Return the strength at a time that begins at 0.

    With `p = min(time / over, 1)` the share of the way from `start` to `end` is `p` for `"linear"`,
    `(1 - cos(pi * p)) / 2` for `"cosine"`, and `floor(p * stairs) / stairs` for `"step"`.

    Example:
        >>> [curriculum_strength(t, 4, shape="linear", start=0.2, end=1.0) for t in (0, 2, 4, 9)]
        [0.2, 0.6, 1.0, 1.0]
        >>> [curriculum_strength(t, 4, shape="step", start=0, end=1, stairs=2) for t in range(5)]
        [0.0, 0.0, 0.5, 0.5, 1.0]
    """
    progress = min(time / over, 1.0) if over > 0 else 1.0
    share = {
        "linear": progress,
        "cosine": (1 - math.cos(math.pi * progress)) / 2,
        # A hundredth of a millionth, so that 3 * (1 / 3) is a whole stair.
        "step": math.floor(progress * stairs + 1e-8) / stairs,
    }[shape]
    # This way round, both ends are met exactly.
    return (1.0 - share) * start + share * end


class Curriculum(keras.callbacks.Callback):
    """Move the strength of an augmentation by a schedule, once an epoch or at every step.

    A dataset sees the change at once, nothing is traced or compiled again; batches that it has
    prefetched keep the strength that they were made with. With `every="epoch"` and a dataset that
    `fit` goes through once an epoch none are left from the epoch before, and a run repeats exactly.

    When training ends, the strength is again what it was before.

    Args:
        target: Anything with an attribute `strength`, a number in [0, 1] that can be set: an
            `augment.Pipeline`.
        schedule: `"linear"`, `"cosine"` or `"step"`, see `curriculum_strength`; or a function from
            the time, counted from 0 in epochs or steps, to a strength.
        start: Strength at first, in [0, 1]; not for a function, and so below.
        end: Strength at last, in [0, 1]. It may be below `start`, to end on images as they are.
        over: Epochs or steps after which `end` is reached, above 0; `None` for the last of `fit`.
        stairs: For `"step"`, how many equal stairs lead up, at least 1.
        every: `"epoch"` sets it when an epoch begins, `"step"` before each step, of which the first
            stands for all of an execution with `steps_per_execution`.

    Attributes:
        time: Epochs or steps done before the current one.

    Raises:
        ValueError: For a value out of its range, or when training begins, if `over` is left out and
            `fit` does not know its number of steps.
        TypeError: If `target` has no strength.

    Example:
        >>> class Pipeline:
        ...     strength = 1.0
        >>> pipeline, seen = Pipeline(), []
        >>> model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> look = keras.callbacks.LambdaCallback(
        ...     on_epoch_end=lambda epoch, logs: seen.append(pipeline.strength))
        >>> history = model.fit(keras.ops.ones((4, 1)), keras.ops.ones((4, 1)), epochs=4, verbose=0,
        ...                     callbacks=[Curriculum(pipeline, over=2), look])
        >>> seen, pipeline.strength
        ([0.0, 0.5, 1.0, 1.0], 1.0)

    Source:
        Bengio et al., "Curriculum Learning", 2009; for augmentation, Tan and Le, "EfficientNetV2:
        Smaller Models and Faster Training", 2021, section 4 (progressive learning).
    """

    def __init__(
        self,
        target,
        schedule="linear",
        *,
        start=0.0,
        end=1.0,
        over=None,
        stairs=4,
        every="epoch",
    ):
        super().__init__()
        if not hasattr(target, "strength"):
            raise TypeError(
                "target must have a strength, as augment.Pipeline has, received: "
                f"{type(target).__name__}"
            )
        if not callable(schedule) and schedule not in SHAPES:
            raise ValueError(
                f"schedule must be one of {SHAPES} or a function, received: {schedule!r}"
            )
        for name, value in (("start", start), ("end", end)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be between 0 and 1, received: {value!r}")
        if over is not None and not over > 0:
            raise ValueError(f"over must be above 0, or None, received: {over!r}")
        if not stairs >= 1 or stairs != int(stairs):
            raise ValueError(f"stairs must be a whole number of 1 or more, received: {stairs!r}")
        if every not in ("epoch", "step"):
            raise ValueError(f"every must be 'epoch' or 'step', received: {every!r}")
        self.target = target
        self.schedule = schedule
        self.start = start
        self.end = end
        self.over = over
        self.stairs = stairs
        self.every = every
        self.time = 0
        # Steps done when the epoch began, and how many of it are done where a resumed run begins.
        self._begun = self._skipped = 0
        self._before = None
        self._restored = False

    def strength_at(self, time: float) -> float:
        """Return the strength at a time, in epochs or steps from 0."""
        if callable(self.schedule):
            return float(self.schedule(time))
        return curriculum_strength(
            time,
            self._length(),
            shape=self.schedule,
            start=self.start,
            end=self.end,
            stairs=self.stairs,
        )

    def _length(self):
        if self.over is not None:
            return self.over
        epochs, steps = self.params.get("epochs"), self.params.get("steps")
        if self.every == "epoch":
            return epochs - 1
        if steps is None:
            raise ValueError(
                "over must be given, since fit does not know how many steps an epoch has: the "
                "number of steps after which the end is reached, received: None"
            )
        return epochs * steps - 1

    def on_train_begin(self, logs=None):
        """Begin again, unless a state was restored; find out whether the schedule works."""
        if not self._restored:
            self.time = self._begun = 0
        self._restored = False
        # There is one left where an earlier fit was cut short.
        self._before = self.target.strength if self._before is None else self._before
        self.strength_at(self.time)

    def on_epoch_begin(self, epoch, logs=None):
        """Set the strength of the epoch."""
        if self.every == "epoch":
            self.time = epoch
            self.target.strength = self.strength_at(epoch)
        else:
            self._skipped = self.time - self._begun

    def on_train_batch_begin(self, batch, logs=None):
        """Set the strength of the step."""
        if self.every == "step":
            self.target.strength = self.strength_at(self.time)

    def on_train_batch_end(self, batch, logs=None):
        """Count the steps; one call may stand for several steps of `steps_per_execution`."""
        if self.every == "step":
            done = self._skipped + batch + 1
            # The last execution of an epoch may hold fewer; Keras numbers it as if it did not.
            self.time = self._begun + min(done, self.params.get("steps") or done)

    def on_epoch_end(self, epoch, logs=None):
        """Note where the next epoch begins."""
        self._begun = self.time

    def on_train_end(self, logs=None):
        """Put the strength back."""
        self.target.strength = self._before
        self._before = None

    def state(self) -> tuple[dict, list]:
        """Return what a resumed run needs: JSON values, and no arrays."""
        return {"time": self.time, "begun": self._begun}, []

    def restore(self, values: dict, arrays: list) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.time, self._begun = values["time"], values["begun"]
        self._restored = True
