"""The callback that writes history.jsonl."""

import math
import time

import keras


class History(keras.callbacks.Callback):
    """Write one line an epoch: measures, learning rate, seconds, images a second.

    Args:
        run: The `recipes.run.Run` to write to.
        validation: The `callbacks.Validation` whose recall by class is recorded.
        images_per_epoch: Training images an epoch.
        count_trainable: Whether to write how many parameters are trainable, which changes in a run
            that unfreezes.

    Attributes:
        epochs: The lines so far, a dictionary an epoch; a resumed run's earlier ones included.
    """

    def __init__(self, run, validation, images_per_epoch, count_trainable=False):
        super().__init__()
        self.run = run
        self.validation = validation
        self.images_per_epoch = images_per_epoch
        self.count_trainable = count_trainable
        self.epochs = []

    def on_epoch_begin(self, epoch, logs=None):
        """Note the time."""
        self._started = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        """Note when training, as opposed to validation, was last at work."""
        self._trained = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        """Write the line."""
        training_seconds = self._trained - self._started
        self.epochs.append(
            {
                "epoch": epoch + 1,
                **{name: float(value) for name, value in (logs or {}).items()},
                "val_recall": self.validation.recall,
                **self._trainable(),
                "learning_rate": float(self.model.optimizer.learning_rate),
                "seconds": round(time.perf_counter() - self._started, 3),
                "images_per_second": round(self.images_per_epoch / training_seconds, 1),
            }
        )
        self.run.write_history(self.epochs)

    def _trainable(self):
        if not self.count_trainable:
            return {}
        weights = self.model.trainable_weights
        return {"trainable_parameters": sum(math.prod(weight.shape) for weight in weights)}

    def state(self):
        """Return what a resumed run needs: JSON values, and no arrays."""
        return {"epochs": self.epochs}, []

    def restore(self, values, arrays):
        """Take back what `state` gave."""
        self.epochs = values["epochs"]
