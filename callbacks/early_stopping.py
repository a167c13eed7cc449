"""Early stopping that cannot keep a diverged epoch and says what it did."""

import difflib
import math

import keras
import numpy as np

# A metric whose name holds one of these grows as the model gets better.
_GROWING = ("acc", "auc", "precision", "recall", "f1", "fbeta", "iou", "r2", "kappa")


def better_direction(monitor: str) -> str:
    """Return `"max"` or `"min"` from the name of a metric.

    Example:
        >>> better_direction("val_accuracy"), better_direction("val_loss")
        ('max', 'min')
    """
    return "max" if any(word in monitor.lower() for word in _GROWING) else "min"


class EarlyStopping(keras.callbacks.Callback):
    """Stop when a measure no longer improves; end on the weights of the best epoch.

    Unlike the stock callback: a measure that does not exist raises after the first epoch instead
    of warning for ever; a value that is not finite never becomes the best; the best weights are
    restored whether or not training stopped early; with `average`, they are the averaged ones,
    those that were measured; and its state can be saved and restored.

    Args:
        monitor: Name in the epoch's logs.
        patience: Epochs without improvement before stopping, or `None` to only keep the best.
        min_delta: Least change that counts as improvement, 0 or more.
        mode: `"min"`, `"max"`, or `"auto"` to infer it from the name.
        restore_best_weights: Put the best epoch's weights into the model when training ends.
        min_epochs: Epochs that run whatever happens, 0 or more: patience counts from there, such as
            after the phase in which the head of a network trains alone. The best is kept from the
            first epoch on.
        average: A `WeightAverage` named before this callback, or `None`.

    Attributes:
        best: Best finite value seen, or `None`.
        best_epoch: Its epoch counted from 1, or `None`.
        stopped_epoch: The epoch counted from 1 after which it stopped training, or `None`.
        reason: A sentence that says what was done, after training.

    Raises:
        ValueError: For a wrong argument; or after the first epoch if `monitor` is not in the logs.

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
    ):
        super().__init__()
        if patience is not None and patience < 1:
            raise ValueError(f"patience must be 1 or more, or None, received: {patience!r}")
        if not min_delta >= 0:
            raise ValueError(f"min_delta must be 0 or more, received: {min_delta!r}")
        if mode not in ("auto", "min", "max"):
            raise ValueError(f"mode must be 'auto', 'min' or 'max', received: {mode!r}")
        if not min_epochs >= 0:
            raise ValueError(f"min_epochs must be 0 or more, received: {min_epochs!r}")
        self.monitor = monitor
        self.patience = patience
        self.min_delta = min_delta
        self.mode = better_direction(monitor) if mode == "auto" else mode
        self.restore_best_weights = restore_best_weights
        self.min_epochs = min_epochs
        self.average = average
        self.best = None
        self.best_epoch = None
        self.stopped_epoch = None
        self.reason = None
        self._wait = 0
        self._best_weights = None

    def improves(self, value: float) -> bool:
        """Whether `value` is better than the best by more than `min_delta`."""
        if not math.isfinite(value):
            return False
        if self.best is None:
            return True
        gain = value - self.best if self.mode == "max" else self.best - value
        return gain > self.min_delta

    def on_epoch_end(self, epoch, logs=None):
        """Compare, remember, perhaps stop."""
        value = self._value(logs or {})
        if self.improves(value):
            self.best, self.best_epoch, self._wait = value, epoch + 1, 0
            if self.restore_best_weights:
                self._best_weights = self._measured_weights()
            return
        if epoch < self.min_epochs:
            return
        self._wait += 1
        if self.patience is not None and self._wait >= self.patience:
            self.stopped_epoch = epoch + 1
            self.model.stop_training = True

    def _value(self, logs):
        if self.monitor not in logs:
            known = sorted(logs)
            close = difflib.get_close_matches(self.monitor, known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"EarlyStopping monitors {self.monitor!r}, which training does not report "
                f"(it reports {', '.join(known)}){hint}"
            )
        return float(logs[self.monitor])

    def _measured_weights(self):
        if self.average is None:
            return self.model.get_weights()
        with self.average.swapped_in():
            return self.model.get_weights()

    def on_train_end(self, logs=None):
        """Restore the best epoch and say so."""
        if self.best_epoch is None:
            self.reason = f"{self.monitor} was never finite; the last weights are kept"
            return
        if self.restore_best_weights:
            self.model.set_weights(self._best_weights)
        stopped = (
            f"stopped after epoch {self.stopped_epoch}: {self._wait} epochs without improvement; "
            if self.stopped_epoch
            else ""
        )
        kept = "kept" if self.restore_best_weights else "best was"
        self.reason = f"{stopped}{kept} epoch {self.best_epoch} with {self.monitor} {self.best:.4g}"

    def state(self) -> tuple[dict, list[np.ndarray]]:
        """Return what a resumed run needs: JSON values, and arrays."""
        values = {
            "best": self.best,
            "best_epoch": self.best_epoch,
            "stopped_epoch": self.stopped_epoch,
            "wait": self._wait,
        }
        return values, list(self._best_weights or [])

    def restore(self, values: dict, arrays: list[np.ndarray]) -> None:
        """Take back what `state` gave; call it before `fit`."""
        self.best = values["best"]
        self.best_epoch = values["best_epoch"]
        self.stopped_epoch = values["stopped_epoch"]
        self._wait = values["wait"]
        self._best_weights = list(arrays) or None
