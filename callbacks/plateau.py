"""Lower the learning rate, whatever sets it, when a measure stands still."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from callbacks._monitoring import Monitored, better_direction
from callbacks._optimizers import inner_optimizer, settings


@dataclass(frozen=True)
class Plateau:
    """What is remembered from epoch to epoch.

    Attributes:
        best: Best finite value so far, or `None`.
        wait: Epochs without improvement that have been counted.
        cooling: Epochs that are still not to be counted.
    """

    best: float | None = None
    wait: int = 0
    cooling: int = 0


def next_plateau(
    plateau: Plateau, value: float, *, mode: str, min_delta: float, patience: int, cooldown: int
) -> tuple[Plateau, bool]:
    """Take in the value of an epoch; return what to remember and whether to lower the rate.

    A value that is not finite improves nothing. The `cooldown` epochs after a reduction are not
    counted. (In the stock callback of Keras one less is not.)

    Example:
        >>> plateau, lowered = Plateau(), []
        >>> for loss in (3, 2, 2, 2, 2, 2, 2):
        ...     plateau, lower = next_plateau(
        ...         plateau, loss, mode="min", min_delta=0, patience=2, cooldown=1)
        ...     lowered.append(lower)
        >>> lowered
        [False, False, False, True, False, False, True]
    """
    best, cooling = plateau.best, max(plateau.cooling - 1, 0)
    gain = 0.0 if best is None else (value - best if mode == "max" else best - value)
    if math.isfinite(value) and (best is None or gain > min_delta):
        return Plateau(value, 0, cooling), False
    if plateau.cooling:
        return Plateau(best, 0, cooling), False
    if plateau.wait + 1 >= patience:
        return Plateau(best, 0, cooldown), True
    return Plateau(best, plateau.wait + 1, 0), False


@keras.saving.register_keras_serializable(package="keras_recipes")
class Scaled(keras.optimizers.schedules.LearningRateSchedule):
    """Another schedule times a factor that can be changed while training runs.

    The factor is a variable, which the training step reads: changing it traces nothing again. It
    is saved with the schedule, so that a model from a `.keras` file goes on at the same rate.

    Args:
        schedule: The `LearningRateSchedule` to scale.
        factor: Where the factor begins, 0 or more.

    Example:
        >>> schedule = Scaled(keras.optimizers.schedules.CosineDecay(0.1, 100))
        >>> _ = schedule.factor.assign(0.5)
        >>> round(float(schedule(50)), 4)
        0.025
    """

    def __init__(self, schedule, factor=1.0, *, name="scaled"):
        if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
            raise TypeError(f"schedule must be a LearningRateSchedule, received: {schedule!r}")
        if not 0 <= factor < math.inf:
            raise ValueError(f"factor must be 0 or more, received: {factor!r}")
        self.schedule = schedule
        self.factor = keras.Variable(factor, trainable=False, dtype="float32", name="factor")
        self.name = name

    def __call__(self, step):
        """Return the learning rate of `step` (counted from 0), a float scalar."""
        rate = self.schedule(step)
        return rate * ops.cast(self.factor.value, getattr(rate, "dtype", "float32"))

    def get_config(self):
        """Return every argument, the factor as it is now."""
        return {
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "factor": float(ops.convert_to_numpy(self.factor.value)),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Return the schedule of a configuration."""
        inner = keras.saving.deserialize_keras_object(
            config["schedule"], custom_objects=custom_objects
        )
        return cls(**{**config, "schedule": inner})


class ReduceOnPlateau(keras.callbacks.Callback):
    """Multiply the learning rate by a factor when a measure no longer improves.

    The rate may be a number or any schedule: a schedule runs on, inside a `Scaled` that the
    optimizer is given, and the factor acts on top of it. (The stock callback raises a TypeError.)
    Put the schedule into a `Scaled` to see it in the optimizer that you make; it comes to the same.
    What was reduced stays so when training ends, in the model and in its `.keras` file, and further
    reductions go on from there; but another `fit` with the same callback waits for a plateau of its
    own. The rate of each epoch goes into its logs as `learning_rate`.

    Unlike the stock callback: a monitor that does not exist raises, after the first batch or, where
    that cannot tell, the first epoch, instead of warning for ever; a value that is not finite never
    becomes the best; all epochs of the cooldown count as such; and its state can be saved and
    restored.

    Args:
        monitor: Name in the epoch's logs.
        factor: Of the rate at each reduction, above 0 and below 1.
        patience: Epochs without improvement before a reduction, 1 or more.
        min_delta: Least change that counts as improvement, 0 or more.
        mode: `"min"`, `"max"`, or `"auto"` to infer it from the name.
        cooldown: Epochs after a reduction that do not count as without improvement, 0 or more.
        minimum: Least share of the original rate that is left of it, in [0, 1].
        say: Receives a line about each reduction, or `None`.
        added: Names that callbacks of your own add to the logs of an epoch.

    Attributes:
        factor_now: What is left of the original rate, in [0, 1].
        reductions: For each of this `fit`, a dictionary of its `epoch` (counted from 1) and
            `factor`, the share that was left after it.
        reason: A sentence that says what was done, after training.

    Raises:
        ValueError: For a wrong argument; if training can report no `monitor`, after the first
            batch; if an epoch, such as one without validation, reports none, at its end.
        TypeError: When training begins, if the rate is neither a number nor a schedule.

    Example:
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> rate = keras.optimizers.schedules.CosineDecay(0.0, 100)
        >>> model.compile(keras.optimizers.SGD(rate), loss="mse")
        >>> reduce = ReduceOnPlateau("loss", patience=2, say=print)
        >>> history = model.fit(np.ones((8, 2)), np.zeros((8, 1)), epochs=3, verbose=0,
        ...                     callbacks=[reduce])
        epoch 3: loss has not improved for 2 epochs: learning rate times 0.1, now 0
        >>> round(reduce.factor_now, 6)
        0.1
    """

    def __init__(
        self,
        monitor="val_loss",
        *,
        factor=0.1,
        patience=10,
        min_delta=0.0,
        mode="auto",
        cooldown=0,
        minimum=0.0,
        say: Callable[[str], None] | None = print,
        added=(),
    ):
        super().__init__()
        if not 0 < factor < 1:
            raise ValueError(f"factor must be above 0 and below 1, received: {factor!r}")
        if not patience >= 1:
            raise ValueError(f"patience must be 1 or more, received: {patience!r}")
        if not min_delta >= 0:
            raise ValueError(f"min_delta must be 0 or more, received: {min_delta!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', received: {mode!r}")
        if not cooldown >= 0:
            raise ValueError(f"cooldown must be 0 or more, received: {cooldown!r}")
        if not 0 <= minimum <= 1:
            raise ValueError(f"minimum must be between 0 and 1, received: {minimum!r}")
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = better_direction(monitor) if mode == "auto" else mode
        self.cooldown = cooldown
        self.minimum = minimum
        self.say = say
        self.added = tuple(added)
        self.factor_now = 1.0
        self._optimizer = None
        # The schedule of the optimizer, or None for a plain number.
        self._scaled = None
        # The newest rate that was seen or set.
        self._last = None
        self._restored = False
        self._monitored = Monitored("ReduceOnPlateau", [monitor], added)
        self._begin()

    def _begin(self):
        self.reductions = []
        self.reason = None
        self._plateau = Plateau()

    def on_train_begin(self, logs=None):
        """Get hold of the learning rate; begin again, unless a state was restored."""
        if not self._restored:
            self._begin()
            if inner_optimizer(self.model.optimizer) is not self._optimizer:
                self.factor_now = 1.0
        self._follow()

    def on_epoch_begin(self, epoch, logs=None):
        """Get hold of that of a new optimizer, such as `GradualUnfreezing` gives."""
        self._follow()

    def _follow(self):
        if inner_optimizer(self.model.optimizer) is not self._optimizer:
            self._attach()

    def _attach(self):
        optimizer = inner_optimizer(self.model.optimizer)
        with self.model.distribute_strategy.scope():
            rate = settings(optimizer)["learning_rate"]
            self._scaled = _scaled(rate)
        self._optimizer = optimizer
        if self._scaled is not None:
            if self._restored:
                self._scaled.factor.assign(self.factor_now)
            self.factor_now = float(ops.convert_to_numpy(self._scaled.factor.value))
            optimizer.learning_rate = self._scaled
            # The step may have been traced with the schedule alone.
            self.model.make_train_function(force=True)
        elif not self._restored and rate != self._last:
            # Not the reduced rate, carried over: this one is whole.
            self.factor_now = 1.0
        self._restored, self._last = False, self._rate()

    def on_train_batch_end(self, batch, logs=None):
        """Look, once, whether what is monitored can exist at all."""
        self._monitored.check(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Compare, remember, perhaps reduce."""
        logs = {} if logs is None else logs
        value = self._monitored.value(self.monitor, logs)
        logs["learning_rate"] = self._last = self._rate()
        self._plateau, due = next_plateau(
            self._plateau,
            value,
            mode=self.mode,
            min_delta=self.min_delta,
            patience=self.patience,
            cooldown=self.cooldown,
        )
        if due and self.factor_now > self.minimum:
            self._reduce(epoch)

    def _rate(self):
        return float(np.asarray(ops.convert_to_numpy(self._optimizer.learning_rate)))

    def _reduce(self, epoch):
        before = self.factor_now
        self.factor_now = max(before * self.factor, self.minimum)
        if self._scaled is None:
            self._optimizer.learning_rate = self._rate() * self.factor_now / before
        else:
            self._scaled.factor.assign(self.factor_now)
        self._last = self._rate()
        self.reductions.append({"epoch": epoch + 1, "factor": self.factor_now})
        if self.say:
            self.say(
                f"epoch {epoch + 1}: {self.monitor} has not improved for {self.patience} epochs: "
                f"learning rate times {self.factor_now / before:.3g}, now {self._rate():.3g}"
            )

    def on_train_end(self, logs=None):
        """Say what was done."""
        if not self.reductions:
            self.reason = f"{self.monitor} kept improving: the learning rate was not reduced"
            return
        after = ", ".join(str(one["epoch"]) for one in self.reductions)
        self.reason = (
            f"reduced the learning rate after epoch {after}, to {self.factor_now:.3g} of what it "
            "would be"
        )

    def state(self) -> tuple[dict, list]:
        """Return what a resumed run needs: JSON values, and no arrays."""
        values = {
            "best": self._plateau.best,
            "wait": self._plateau.wait,
            "cooling": self._plateau.cooling,
            "factor_now": self.factor_now,
            "reductions": self.reductions,
        }
        return values, []

    def restore(self, values: dict, arrays: list) -> None:
        """Take back what `state` gave; call it before `fit`.

        A plain rate comes back with the optimizer, among whose variables it is.
        """
        self._plateau = Plateau(values["best"], values["wait"], values["cooling"])
        self.factor_now = values["factor_now"]
        self.reductions = list(values["reductions"])
        self._optimizer = None
        self._restored = True


def _scaled(rate):
    """Return a schedule in a `Scaled` if it is in none yet, and `None` for a number."""
    if isinstance(rate, float):
        return None
    if isinstance(rate, Scaled):
        return rate
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        raise TypeError(
            "ReduceOnPlateau takes a learning rate that is a number or a LearningRateSchedule, "
            f"received: {rate!r}"
        )
    return Scaled(rate)
