"""Early stopping that cannot keep a diverged epoch and says what it did."""

import math

import keras
import numpy as np

from callbacks._monitoring import Monitored, better_direction
from callbacks.stopping_criteria import check_class_counts, standard_error


class EarlyStopping(keras.callbacks.Callback):
    """Stop when a measure no longer improves; end on the weights of the best epoch.

    Unlike the stock callback: a measure that does not exist raises, after the first batch or, where
    that cannot tell, the first epoch, instead of warning for ever; a value that is not finite never
    becomes the best; the best weights are restored whether or not training stopped early; with
    `average`, they are the averaged ones, those that were measured; and its state can be saved and
    restored. Another `fit` with the same callback begins again.

    Args:
        monitor: Name in the epoch's logs.
        patience: Epochs without improvement before stopping, or `None` to only keep the best.
        min_delta: Least change that counts as improvement, 0 or more; or `"standard_error"` for
            that of the best value so far, a share of `validation_labels` such as an accuracy.
        mode: `"min"`, `"max"`, or `"auto"` to infer it from the name.
        restore_best_weights: Put the best epoch's weights into the model when training ends.
        min_epochs: Epochs that run whatever happens, 0 or more: patience counts from there, such as
            after the phase in which the head of a network trains alone. The best is kept from the
            first epoch on.
        average: A `WeightAverage` named before this callback, or `None`.
        criterion: A criterion of Prechelt's beside patience, on the logs' `loss` and `val_loss`:
            `GeneralizationLoss`, `ProgressQuotient` or `RisingStrips`; or `None`. Epochs of which
            one of the two is not finite do not count.
        guards: `Bound`s, all of which an epoch must keep to become the best. Stopping is left to
            `monitor`: epochs that improve it count as progress whether or not they keep them.
        validation_labels: True classes of the validation images, integers, to check and to count
            them; or `None`.
        min_images_per_class: Refuse `validation_labels` with a class of fewer images.
        added: Names that callbacks of your own add to the logs of an epoch. What the model and the
            callbacks of this package report is known.

    Attributes:
        best: Value of the epoch that would be restored, or `None`.
        best_epoch: That epoch counted from 1, or `None`.
        stopped_epoch: The epoch counted from 1 after which it stopped training, or `None`.
        reason: A sentence that says what was done, after training.

    Raises:
        ValueError: For a wrong argument; if training can report no `monitor` or a guard's, after
            the first batch; if an epoch, such as one without validation, reports none, at its end.

    Example:
        >>> stopping = EarlyStopping("loss", patience=3)
        >>> model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile(loss="mse")
        >>> history = model.fit(np.ones((8, 2)), np.ones((8, 1)), verbose=0, callbacks=[stopping])
        >>> stopping.best_epoch
        1
    """

    def __init__(
        self,
        monitor="val_loss",
        *,
        patience=None,
        min_delta=0.0,
        mode="auto",
        restore_best_weights=True,
        min_epochs=0,
        average=None,
        criterion=None,
        guards=(),
        validation_labels=None,
        min_images_per_class=0,
        added=(),
    ):
        super().__init__()
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be 1 or more, or None, received: {patience!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', received: {mode!r}")
        if not min_epochs >= 0:
            raise ValueError(f"min_epochs must be 0 or more, received: {min_epochs!r}")
        if validation_labels is not None:
            check_class_counts(validation_labels, min_images_per_class)
        elif min_images_per_class:
            raise ValueError("min_images_per_class needs validation_labels to count")
        _check_min_delta(min_delta, validation_labels)
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = better_direction(monitor) if mode == "auto" else mode
        self.restore_best_weights = restore_best_weights
        self.min_epochs = min_epochs
        self.average = average
        self.criterion = criterion
        self.guards = tuple(guards)
        self.added = tuple(added)
        self._images = None if validation_labels is None else len(validation_labels)
        names = (monitor, *(guard.monitor for guard in self.guards))
        self._monitored = Monitored("EarlyStopping", names, added)
        self._restored = False
        self._begin()

    def _begin(self):
        self.best = None
        self.best_epoch = None
        self.stopped_epoch = None
        self.reason = None
        # The best value for patience, which guards do not touch.
        self._reached = None
        self._wait = 0
        self._verdict = None
        self._losses = {"loss": [], "val_loss": []}
        self._best_weights = None

    def improves(self, value: float, best: float | None) -> bool:
        """Whether `value` is better than `best` by more than `min_delta`."""
        if not math.isfinite(value):
            return False
        if best is None:
            return True
        gain = value - best if self.mode == "max" else best - value
        least = self.min_delta
        return gain > (standard_error(best, self._images) if least == "standard_error" else least)

    def on_train_begin(self, logs=None):
        """Begin again, unless a state was restored."""
        if not self._restored:
            self._begin()
        self._restored = False

    def on_train_batch_end(self, batch, logs=None):
        """Look, once, whether what is monitored can exist at all."""
        self._monitored.check(logs)

    def on_epoch_end(self, epoch, logs=None):
        """Compare, remember, perhaps stop."""
        logs = logs or {}
        value = self._monitored.value(self.monitor, logs)
        kept = all(guard.holds(self._monitored.value(guard.monitor, logs)) for guard in self.guards)
        if kept and self.improves(value, self.best):
            self.best, self.best_epoch = value, epoch + 1
            if self.restore_best_weights:
                self._best_weights = self._measured_weights()
        if self.improves(value, self._reached):
            self._reached, self._wait = value, 0
        elif epoch >= self.min_epochs:
            self._wait += 1
        self._judge(epoch, logs)

    def _judge(self, epoch, logs):
        """Stop if patience has run out or the criterion says so."""
        if self.criterion is not None:
            newest = {name: self._monitored.value(name, logs) for name in self._losses}
            if all(map(math.isfinite, newest.values())):
                for name, loss in newest.items():
                    self._losses[name].append(loss)
                if epoch >= self.min_epochs:
                    self._verdict = self.criterion.verdict(*self._losses.values())
        if self.patience is not None and self._wait >= self.patience:
            self._verdict = f"{self._wait} epochs without improvement"
        if self._verdict:
            self.stopped_epoch = epoch + 1
            self.model.stop_training = True

    def _measured_weights(self):
        if self.average is None:
            return self.model.get_weights()
        with self.average.swapped_in():
            return self.model.get_weights()

    def on_train_end(self, logs=None):
        """Restore the best epoch and say so."""
        stopped = (
            f"stopped after epoch {self.stopped_epoch}: {self._verdict}; "
            if self.stopped_epoch
            else ""
        )
        if self.best_epoch is None:
            why = (
                f"{self.monitor} was never finite"
                if self._reached is None
                else f"no epoch kept {' and '.join(map(str, self.guards))}"
            )
            self.reason = f"{stopped}{why}; the last weights are kept"
            return
        if self.restore_best_weights:
            self.model.set_weights(self._best_weights)
        kept = "kept" if self.restore_best_weights else "best was"
        self.reason = f"{stopped}{kept} epoch {self.best_epoch} with {self.monitor} {self.best:.4g}"
        if self.guards:
            self.reason += f", the best that kept {' and '.join(map(str, self.guards))}"

    def state(self) -> tuple[dict, list[np.ndarray]]:
        """Return what a resumed run needs: JSON values, and arrays."""
        values = {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "reached": self._reached,
            "wait": self._wait,
            "verdict": self._verdict,
            "losses": self._losses,
        }
        return values, list(self._best_weights or [])

    def restore(self, values: dict, arrays: list[np.ndarray]) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.best = values["best"]
        self.best_epoch = values["best_epoch"]
        self.stopped_epoch = values["stopped_epoch"]
        self._reached = values["reached"]
        self._wait = values["wait"]
        self._verdict = values["verdict"]
        self._losses = {name: list(losses) for name, losses in values["losses"].items()}
        self._best_weights = list(arrays) or None
        self._restored = True


def _check_min_delta(min_delta, validation_labels):
    if isinstance(min_delta, str):
        if min_delta != "standard_error":
            raise ValueError(
                f"min_delta must be a number or 'standard_error', received: {min_delta!r}"
            )
        if validation_labels is None:
            raise ValueError("min_delta='standard_error' needs validation_labels to count")
    elif not min_delta >= 0:
        raise ValueError(f"min_delta must be 0 or more, received: {min_delta!r}")
